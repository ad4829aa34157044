// Convolution layers over x [n, channels, spatial...]. Parameters have PyTorch's names, shapes and default
// initial values. Kernel, stride, padding and dilation have one entry for all spatial axes, or one each:
//
//   nn::Conv2d(16, 32, {3}, {.stride = {2}, .padding = {1}})
#pragma once

#include "engine/ops.h"
#include "nn/module.h"

namespace stithy::nn {

// weight [out, in / groups, kernel...], bias [out]; both uniform in +-1 / sqrt(in / groups * kernel). Throws
// Error when a size is below 1 or the groups do not divide the channels.
class Conv : public Module {
 public:
  Conv(int axes, int64_t in, int64_t out, const Shape& kernel, const ConvOptions& options, bool bias);
  Tensor forward(const Tensor& x) override;
  std::string describe() const override;
  Variable weight, bias;

 private:
  ConvOptions options_;
};

// weight [in, out / groups, kernel...], bias [out]; both uniform in +-1 / sqrt(out / groups * kernel).
class ConvTranspose : public Module {
 public:
  ConvTranspose(int axes, int64_t in, int64_t out, const Shape& kernel, const ConvOptions& options,
                const Shape& output_padding, bool bias);
  Tensor forward(const Tensor& x) override;
  std::string describe() const override;
  Variable weight, bias;

 private:
  ConvOptions options_;
  Shape output_padding_;
};

template <int kSpatialAxes>
struct ConvOver : Conv {
  ConvOver(int64_t in, int64_t out, const Shape& kernel, const ConvOptions& options = {},
           bool with_bias = true)
      : Conv(kSpatialAxes, in, out, kernel, options, with_bias) {}
};
using Conv1d = ConvOver<1>;
using Conv2d = ConvOver<2>;
using Conv3d = ConvOver<3>;

template <int kSpatialAxes>
struct ConvTransposeOver : ConvTranspose {
  ConvTransposeOver(int64_t in, int64_t out, const Shape& kernel, const ConvOptions& options = {},
                    const Shape& output_padding = {0}, bool with_bias = true)
      : ConvTranspose(kSpatialAxes, in, out, kernel, options, output_padding, with_bias) {}
};
using ConvTranspose1d = ConvTransposeOver<1>;
using ConvTranspose2d = ConvTransposeOver<2>;
using ConvTranspose3d = ConvTransposeOver<3>;

}  // namespace stithy::nn

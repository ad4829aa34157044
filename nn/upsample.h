// Layers that make images of another size; the ops in engine/ops_vision.h say what they compute.
#pragma once

#include "engine/ops_vision.h"
#include "nn/module.h"

namespace stithy::nn {

// [n, channels, ...] to a size, or by a factor, of all spatial axes or of each.
class Upsample : public Module {
 public:
  explicit Upsample(const Shape& size, Interpolation mode = Interpolation::nearest,
                    bool align_corners = false)
      : size_(size), mode_(mode), align_corners_(align_corners) {}
  explicit Upsample(double factor, Interpolation mode = Interpolation::nearest, bool align_corners = false)
      : factor_(factor), mode_(mode), align_corners_(align_corners) {}
  Tensor forward(const Tensor& x) override;
  std::string describe() const override;

 private:
  Shape size_;
  double factor_ = 0;
  Interpolation mode_;
  bool align_corners_;
};

// [n, channels factor^2, height, width] to [n, channels, height factor, width factor].
class PixelShuffle : public Module {
 public:
  explicit PixelShuffle(int64_t factor) : factor_(factor) {}
  Tensor forward(const Tensor& x) override { return pixel_shuffle(x, factor_); }
  std::string describe() const override;

 private:
  int64_t factor_;
};

// What PixelShuffle does, back.
class PixelUnshuffle : public Module {
 public:
  explicit PixelUnshuffle(int64_t factor) : factor_(factor) {}
  Tensor forward(const Tensor& x) override { return pixel_unshuffle(x, factor_); }
  std::string describe() const override;

 private:
  int64_t factor_;
};

}  // namespace stithy::nn

// What the vision models are made of. Images are x [n, channels, height, width].
#pragma once

#include <optional>

#include "nn/conv.h"
#include "nn/init.h"
#include "nn/layers.h"
#include "nn/norm.h"

namespace stithy::nn {

struct SquareConvOptions {
  int64_t kernel = 3, stride = 1, groups = 1;
};
// A convolution without bias, padded by kernel / 2: at stride 1 an odd kernel keeps the size.
Conv2d square_conv(int64_t in, int64_t out, const SquareConvOptions& options = {});

// square_conv, batch norm and activation, named "0", "1" and "2" (torchvision's Conv2dNormActivation).
struct ConvNormActivation : Sequential {
  ConvNormActivation(int64_t in, int64_t out, const SquareConvOptions& options = {},
                     const std::optional<Function>& activation = Relu());
};

// The mean of each channel: [n, c, h, w] -> [n, c].
Tensor global_avgpool(const Tensor& x);

// Layer i of `layers` alone, under the name that it has below the model, where `layers` are called `name`.
Tensor call_layer(const std::string& name, const Sequential& layers, size_t i, const Tensor& x);

// Zeroes whole elements of the batch with probability p and scales the others by 1 / (1 - p), in training
// mode only: the branch of a residual block is left out, "row" mode of Huang et al. 2016. Throws Error when p
// is not in [0, 1).
class StochasticDepth : public Module {
 public:
  explicit StochasticDepth(float p);
  Tensor forward(const Tensor& x) override;
  std::string describe() const override;

 private:
  float p_;
};

// Channels times a width, rounded to a multiple of 8, but not down by more than 10 % (Sandler et al. 2018).
int64_t scaled_channels(int64_t channels, double width);
// Throws Error, named `model`, unless all are at least 1.
void check_sizes(const char* model, std::initializer_list<int64_t> sizes);

// Initial values of all layers of a kind below `model`. Biases become zero.
// Convolutions, transposed ones included: He et al. 2015, normal with variance 2 / fan.
void init_convs_kaiming(const Module& model, init::Fan fan);
// Linear layers, and with `embeddings` these, too.
void init_linears_normal(const Module& model, double deviation, bool embeddings = false);

}  // namespace stithy::nn

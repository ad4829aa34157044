#include "nn/models/efficientnet.h"

#include <algorithm>
#include <cmath>

#include "engine/core/error.h"
#include "nn/models/blocks.h"

namespace stithy::nn {
namespace {

// Squeeze and excitation (Hu et al. 2017): each channel times a factor that the means of all channels give.
class SqueezeExcitation : public Module {
 public:
  SqueezeExcitation(int64_t channels, int64_t squeezed) {
    fc1_ = child("fc1", Conv2d(channels, squeezed, {1}));
    fc2_ = child("fc2", Conv2d(squeezed, channels, {1}));
  }
  Tensor forward(const Tensor& x) override { return x * sigmoid(fc2_(silu(fc1_(mean(x, {2, 3}, true))))); }
  std::string describe() const override { return "SqueezeExcitation"; }

 private:
  Child<Conv2d> fc1_, fc2_;
};

struct Stage {
  int64_t expansion, kernel, stride, channels, blocks;
};
constexpr Stage kStages[] = {{1, 3, 1, 16, 1},  {6, 3, 2, 24, 2},  {6, 5, 2, 40, 2}, {6, 3, 2, 80, 3},
                             {6, 5, 1, 112, 3}, {6, 5, 2, 192, 4}, {6, 3, 1, 320, 1}};  // table 1

// MobileNetV2's block with squeeze and excitation.
class MbConv : public Module {
 public:
  MbConv(int64_t in, int64_t out, int64_t stride, const Stage& stage, float skipped)
      : residual_(stride == 1 && in == out) {
    const int64_t hidden = in * stage.expansion;
    Sequential layers;
    if (stage.expansion != 1) layers.add(ConvNormActivation(in, hidden, {.kernel = 1}, Silu()));
    layers.add(ConvNormActivation(hidden, hidden,
                                  {.kernel = stage.kernel, .stride = stride, .groups = hidden}, Silu()));
    layers.add(SqueezeExcitation(hidden, std::max<int64_t>(1, in / 4)));
    layers.add(ConvNormActivation(hidden, out, {.kernel = 1}, std::nullopt));
    block_ = child("block", std::move(layers));
    depth_ = child("stochastic_depth", StochasticDepth(skipped));
  }
  Tensor forward(const Tensor& x) override { return residual_ ? x + depth_(block_(x)) : block_(x); }
  std::string describe() const override { return "MBConv"; }

 private:
  bool residual_;
  Child<Sequential> block_;
  Child<StochasticDepth> depth_;
};

}  // namespace

EfficientNet::EfficientNet(const EfficientNetOptions& options) {
  check_sizes("EfficientNet", {options.channels, options.classes});
  if (!(options.width > 0) || !(options.depth > 0))
    throw Error("EfficientNet",
                cat("width and depth must be above 0, got ", options.width, " and ", options.depth));
  const auto blocks_of = [&](const Stage& stage) {
    return static_cast<int64_t>(std::ceil(static_cast<double>(stage.blocks) * options.depth));
  };
  int64_t total = 0, number = 0;
  for (const Stage& stage : kStages) total += blocks_of(stage);
  int64_t in = scaled_channels(32, options.width);
  Sequential stages{ConvNormActivation(options.channels, in, {.stride = 2}, Silu())};
  for (const Stage& stage : kStages) {
    const int64_t out = scaled_channels(stage.channels, options.width), blocks = blocks_of(stage);
    Sequential layers;
    for (int64_t i = 0; i < blocks; ++i) {
      const float skipped =
          options.stochastic_depth * static_cast<float>(number++) / static_cast<float>(total);
      layers.add(MbConv(in, out, i == 0 ? stage.stride : 1, stage, skipped));
      in = out;
    }
    stages.add(std::move(layers));
  }
  stages.add(ConvNormActivation(in, 4 * in, {.kernel = 1}, Silu()));
  layers = child("features", std::move(stages));
  Linear linear(4 * in, options.classes);
  const double bound = 1 / std::sqrt(static_cast<double>(options.classes));
  linear.weight.set(init::uniform(linear.weight.shape(), -bound, bound));
  linear.bias.set(Array(linear.bias.shape(), DType::f32));
  classifier = child("classifier", Sequential{Dropout(options.dropout), linear});
  init_convs_kaiming(*this, init::Fan::out);
}

Tensor EfficientNet::features(const Tensor& x) { return global_avgpool(layers(x)); }

}  // namespace stithy::nn

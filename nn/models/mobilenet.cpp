#include "nn/models/mobilenet.h"

#include <algorithm>

#include "engine/core/error.h"
#include "nn/models/blocks.h"

namespace stithy::nn {
namespace {

// A residual block that is wide inside: 1x1 to `expansion` times the channels, 3x3 a channel, 1x1 without an
// activation.
class InvertedResidual : public Module {
 public:
  InvertedResidual(int64_t in, int64_t out, int64_t stride, int64_t expansion)
      : residual_(stride == 1 && in == out) {
    const int64_t hidden = in * expansion;
    Sequential layers;
    if (expansion != 1) layers.add(ConvNormActivation(in, hidden, {.kernel = 1}, Relu6()));
    layers.add(ConvNormActivation(hidden, hidden, {.stride = stride, .groups = hidden}, Relu6()));
    layers.add(square_conv(hidden, out, {.kernel = 1}));
    layers.add(BatchNorm2d(out));
    conv_ = child("conv", std::move(layers));
  }
  Tensor forward(const Tensor& x) override { return residual_ ? x + conv_(x) : conv_(x); }
  std::string describe() const override { return "InvertedResidual"; }

 private:
  bool residual_;
  Child<Sequential> conv_;
};

struct Stage {
  int64_t expansion, channels, blocks, stride;
};
constexpr Stage kStages[] = {{1, 16, 1, 1}, {6, 24, 2, 2},  {6, 32, 3, 2}, {6, 64, 4, 2},
                             {6, 96, 3, 1}, {6, 160, 3, 2}, {6, 320, 1, 1}};  // table 2

}  // namespace

MobileNetV2::MobileNetV2(const MobileNetV2Options& options) {
  check_sizes("MobileNetV2", {options.channels, options.classes});
  if (!(options.width > 0)) throw Error("MobileNetV2", cat("the width must be above 0, got ", options.width));
  int64_t in = scaled_channels(32, options.width);
  const int64_t last = scaled_channels(1280, std::max(1.0, options.width));
  Sequential blocks{ConvNormActivation(options.channels, in, {.stride = 2}, Relu6())};
  for (const Stage& stage : kStages)
    for (int64_t i = 0; i < stage.blocks; ++i) {
      const int64_t out = scaled_channels(stage.channels, options.width);
      blocks.add(InvertedResidual(in, out, i == 0 ? stage.stride : 1, stage.expansion));
      in = out;
    }
  blocks.add(ConvNormActivation(in, last, {.kernel = 1}, Relu6()));
  layers = child("features", std::move(blocks));
  classifier = child("classifier", Sequential{Dropout(options.dropout), Linear(last, options.classes)});
  init_convs_kaiming(*this, init::Fan::out);
  init_linears_normal(*this, 0.01);
}

Tensor MobileNetV2::features(const Tensor& x) { return global_avgpool(layers(x)); }

}  // namespace stithy::nn

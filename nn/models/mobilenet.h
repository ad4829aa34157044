// MobileNetV2 (Sandler et al. 2018), with torchvision's names.
#pragma once

#include "nn/layers.h"

namespace stithy::nn {

struct MobileNetV2Options {
  int64_t channels = 3, classes = 1000;
  double width = 1;  // multiplies every layer's channels; the last ones never get fewer
  float dropout = 0.2f;
};

// x [n, channels, height, width] -> logits [n, classes]. 3,504,872 parameters.
class MobileNetV2 : public Module {
 public:
  explicit MobileNetV2(const MobileNetV2Options& options = {});
  Tensor forward(const Tensor& x) override { return classifier(features(x)); }
  std::string describe() const override { return "MobileNetV2"; }
  // What `classifier` takes, the means of the last layer's channels: [n, 1280 max(1, width)].
  Tensor features(const Tensor& x);

  Child<Sequential> layers;  // "features"
  Child<Sequential> classifier;
};

}  // namespace stithy::nn

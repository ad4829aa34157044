// EfficientNet (Tan and Le 2019), with torchvision's names.
#pragma once

#include "nn/layers.h"

namespace stithy::nn {

struct EfficientNetOptions {
  int64_t channels = 3, classes = 1000;
  double width = 1, depth = 1;  // multiply every layer's channels and every stage's blocks
  float dropout = 0.2f;
  float stochastic_depth = 0.2f;  // blocks are left out with probabilities from 0 to nearly this
};

// x [n, channels, height, width] -> logits [n, classes]. The default is B0: 5,288,548 parameters.
class EfficientNet : public Module {
 public:
  explicit EfficientNet(const EfficientNetOptions& options = {});
  Tensor forward(const Tensor& x) override { return classifier(features(x)); }
  std::string describe() const override { return "EfficientNet"; }
  // What `classifier` takes, the means of the last layer's channels: [n, 1280 width].
  Tensor features(const Tensor& x);

  Child<Sequential> layers;  // "features"
  Child<Sequential> classifier;
};

}  // namespace stithy::nn

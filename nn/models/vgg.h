// VGG (Simonyan and Zisserman 2014), with and without batch norm, with torchvision's names.
#pragma once

#include "nn/layers.h"

namespace stithy::nn {

struct VggOptions {
  bool batch_norm = false;
  int64_t channels = 3, classes = 1000;
  int64_t width = 64;     // channels of the first layers
  int64_t pooled = 7;     // the classifier takes means over pooled x pooled windows
  int64_t hidden = 4096;  // of the classifier
  float dropout = 0.5f;
};

// x [n, channels, height, width], at least 32 x 32 -> logits [n, classes].
//
//   depth                          11           13           16           19
//   parameters            132,863,336  133,047,848  138,357,544  143,667,240
//   with batch norm       132,868,840  133,053,736  138,365,992  143,678,248
class Vgg : public Module {
 public:
  // Throws Error for another depth than these.
  explicit Vgg(int depth, const VggOptions& options = {});
  Tensor forward(const Tensor& x) override { return classifier(features(x)); }
  std::string describe() const override;
  // What `classifier` takes: [n, 8 width pooled^2].
  Tensor features(const Tensor& x);

  Child<Sequential> layers;  // "features"
  Child<Sequential> classifier;

 private:
  int depth_;
  int64_t pooled_;
};

}  // namespace stithy::nn

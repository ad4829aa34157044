// Deep residual networks (He et al. 2015, "Deep Residual Learning for Image Recognition"): for ImageNet with
// torchvision's names, and for CIFAR (section 4.2) with those of akamaster/pytorch_resnet_cifar10.
#pragma once

#include "nn/conv.h"
#include "nn/layers.h"
#include "nn/norm.h"

namespace stithy::nn {

struct ResNetOptions {
  int64_t channels = 3, classes = 1000;
  int64_t width = 64;  // channels of the first stage
  // The last batch norm of each block starts at zero, so that blocks start as the identity (Goyal et al.
  // 2017).
  bool zero_init_residual = false;
};

// x [n, channels, height, width] -> logits [n, classes]. The stride of a bottleneck is in its 3x3
// convolution, as in torchvision and not as in the paper. Convolutions start as He et al. 2015 with the
// outputs' fan.
//
//   depth                    18          34          50         101         152
//   parameters       11,689,512  21,797,672  25,557,032  44,549,160  60,192,808
class ResNet : public Module {
 public:
  // Throws Error for another depth than these.
  explicit ResNet(int depth, const ResNetOptions& options = {});
  Tensor forward(const Tensor& x) override { return fc(features(x)); }
  std::string describe() const override;
  // What fc classifies, the means of the last stage's channels: [n, 8 width], or [n, 32 width] from depth 50.
  Tensor features(const Tensor& x);

  Child<Conv2d> conv1;
  Child<BatchNorm2d> bn1;
  Child<Sequential> layer1, layer2, layer3, layer4;
  Child<Linear> fc;

 private:
  int depth_;
};

// The path past a block's convolutions where its size changes (He et al. 2015, section 3.3).
enum class Shortcut : uint8_t {
  pad,      // option A: every other pixel, and zeros for the channels that are new; no parameters
  project,  // option B: a convolution 1x1 and batch norm
};
struct CifarResNetOptions {
  int64_t channels = 3, classes = 10;
  int64_t width = 16;
  Shortcut shortcut = Shortcut::pad;  // the paper's choice for CIFAR
};

// x [n, channels, height, width] -> logits [n, classes]; three stages of (depth - 2) / 6 blocks. Weights
// start as He et al. 2015 with the inputs' fan.
//
//   depth                         20       32       44       56        110
//   parameters, option A     269,722  464,154  658,586  853,018  1,727,962
//   parameters, option B     272,474  466,906  661,338  855,770  1,730,714
class CifarResNet : public Module {
 public:
  // Throws Error unless the depth is 6 n + 2.
  explicit CifarResNet(int depth, const CifarResNetOptions& options = {});
  Tensor forward(const Tensor& x) override { return linear(features(x)); }
  std::string describe() const override;
  // What `linear` classifies: [n, 4 width].
  Tensor features(const Tensor& x);

  Child<Conv2d> conv1;
  Child<BatchNorm2d> bn1;
  Child<Sequential> layer1, layer2, layer3;
  Child<Linear> linear;

 private:
  int depth_;
};

}  // namespace stithy::nn

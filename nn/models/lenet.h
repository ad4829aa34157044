// LeNet-5 (LeCun et al. 1998) as it is trained today: ReLU, max pooling and a full connection between the two
// convolutions, with the names of PyTorch's tutorial.
#pragma once

#include "nn/conv.h"
#include "nn/layers.h"

namespace stithy::nn {

struct LeNetOptions {
  int64_t channels = 1, classes = 10;
  int64_t padding = 0;  // of the first convolution: 2 for images of 28 x 28
};

// [n, channels, 32, 32], or with padding 2 [n, channels, 28, 28] -> logits [n, classes]. 61,706 parameters.
class LeNet : public Module {
 public:
  explicit LeNet(const LeNetOptions& options = {});
  Tensor forward(const Tensor& x) override { return fc3(features(x)); }
  std::string describe() const override { return "LeNet"; }
  // What fc3 classifies: [n, 84].
  Tensor features(const Tensor& x);

  Child<Conv2d> conv1, conv2;
  Child<Linear> fc1, fc2, fc3;
};

}  // namespace stithy::nn

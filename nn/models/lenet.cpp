#include "nn/models/lenet.h"

#include "engine/core/error.h"
#include "engine/ops_vision.h"
#include "nn/models/blocks.h"

namespace stithy::nn {

LeNet::LeNet(const LeNetOptions& options) {
  check_sizes("LeNet", {options.channels, options.classes});
  conv1 = child("conv1", Conv2d(options.channels, 6, {5}, {.padding = {options.padding}}));
  conv2 = child("conv2", Conv2d(6, 16, {5}));
  fc1 = child("fc1", Linear(16 * 5 * 5, 120));
  fc2 = child("fc2", Linear(120, 84));
  fc3 = child("fc3", Linear(84, options.classes));
}

Tensor LeNet::features(const Tensor& x) {
  Tensor y = maxpool(relu(conv1(x)), {2}).y;
  y = maxpool(relu(conv2(y)), {2}).y;
  if (y.dim(2) != 5 || y.dim(3) != 5)
    throw Error(describe(),
                cat("images of ", x.dim(2), " x ", x.dim(3), " give ", y.shape(),
                    " before the first fully connected layer, which takes [n, 16, 5, 5]"),
                "give images of 32 x 32, or of 28 x 28 with padding 2");
  return relu(fc2(relu(fc1(flatten(y, 1)))));
}

}  // namespace stithy::nn

#include "nn/models/resnet.h"

#include <array>

#include "engine/core/error.h"
#include "engine/ops_vision.h"
#include "nn/models/blocks.h"

namespace stithy::nn {
namespace {

struct BlockOptions {
  Shortcut shortcut = Shortcut::project;
  std::string projection = "downsample";  // its name
  bool zero_init = false;
};
struct ConvOfBlock {
  int64_t out;
  SquareConvOptions options;
};

// relu(shortcut(x) + f(x)), f being convolutions with batch norm, and ReLU between them.
class ResidualBlock : public Module {
 public:
  ResidualBlock(int64_t in, const std::vector<ConvOfBlock>& convs, const BlockOptions& options) {
    int64_t channels = in;
    for (const auto& [out, conv] : convs) {
      const std::string number = std::to_string(convs_.size() + 1);
      convs_.push_back(child("conv" + number, square_conv(channels, out, conv)));
      norms_.push_back(child("bn" + number, BatchNorm2d(out)));
      stride_ *= conv.stride;
      channels = out;
    }
    if (options.zero_init) norms_.back()->weight.set(init::constant({channels}, 0));
    new_channels_ = channels - in;
    if (options.shortcut == Shortcut::project && (stride_ != 1 || new_channels_ != 0))
      projection_ = child(options.projection,
                          ConvNormActivation(in, channels, {.kernel = 1, .stride = stride_}, std::nullopt));
  }
  Tensor forward(const Tensor& x) override {
    Tensor y = x;
    for (size_t i = 0; i < convs_.size(); ++i) {
      y = norms_[i](convs_[i](y));
      if (i + 1 < convs_.size()) y = relu(y);
    }
    return relu(y + (projection_ ? projection_(x) : padded(x)));
  }
  std::string describe() const override { return convs_.size() == 2 ? "BasicBlock" : "Bottleneck"; }

 private:
  Tensor padded(const Tensor& x) const {
    Tensor y = x;
    if (stride_ > 1) y = slice(slice(y, 2, 0, x.dim(2), stride_), 3, 0, x.dim(3), stride_);
    const int64_t before = new_channels_ / 2;
    return new_channels_ == 0 ? y : pad(y, {0, before, 0, 0}, {0, new_channels_ - before, 0, 0});
  }

  std::vector<Child<Conv2d>> convs_;
  std::vector<Child<BatchNorm2d>> norms_;
  Child<ConvNormActivation> projection_;
  int64_t stride_ = 1, new_channels_ = 0;
};

ResidualBlock basic_block(int64_t in, int64_t width, int64_t stride, const BlockOptions& options) {
  return ResidualBlock(in, {{width, {.stride = stride}}, {width, {}}}, options);
}
ResidualBlock bottleneck(int64_t in, int64_t width, int64_t stride, const BlockOptions& options) {
  return ResidualBlock(in, {{width, {.kernel = 1}}, {width, {.stride = stride}}, {4 * width, {.kernel = 1}}},
                       options);
}

using MakeBlock = ResidualBlock (*)(int64_t in, int64_t width, int64_t stride, const BlockOptions& options);

// `in` becomes the channels that the stage gives.
Sequential stage(int64_t& in, int64_t width, int64_t blocks, int64_t stride, const BlockOptions& options,
                 MakeBlock make_block) {
  Sequential layers;
  for (int64_t i = 0; i < blocks; ++i) {
    layers.add(make_block(in, width, i == 0 ? stride : 1, options));
    in = make_block == bottleneck ? 4 * width : width;
  }
  return layers;
}

std::array<int64_t, 4> blocks_of(int depth) {
  switch (depth) {
    case 18: return {2, 2, 2, 2};
    case 34:
    case 50: return {3, 4, 6, 3};
    case 101: return {3, 4, 23, 3};
    case 152: return {3, 8, 36, 3};
    default: throw Error("ResNet", cat("there is none of depth ", depth), "one of 18, 34, 50, 101 and 152");
  }
}

}  // namespace

ResNet::ResNet(int depth, const ResNetOptions& options) : depth_(depth) {
  const std::array<int64_t, 4> blocks = blocks_of(depth);
  check_sizes("ResNet", {options.channels, options.classes, options.width});
  const int64_t width = options.width;
  const BlockOptions block{.zero_init = options.zero_init_residual};
  const MakeBlock make_block = depth < 50 ? basic_block : bottleneck;
  int64_t channels = width;
  conv1 = child("conv1", square_conv(options.channels, width, {.kernel = 7, .stride = 2}));
  bn1 = child("bn1", BatchNorm2d(width));
  layer1 = child("layer1", stage(channels, width, blocks[0], 1, block, make_block));
  layer2 = child("layer2", stage(channels, 2 * width, blocks[1], 2, block, make_block));
  layer3 = child("layer3", stage(channels, 4 * width, blocks[2], 2, block, make_block));
  layer4 = child("layer4", stage(channels, 8 * width, blocks[3], 2, block, make_block));
  fc = child("fc", Linear(channels, options.classes));
  init_convs_kaiming(*this, init::Fan::out);
}

Tensor ResNet::features(const Tensor& x) {
  const Tensor y = maxpool(relu(bn1(conv1(x))), {3}, {.stride = {2}, .padding = {1}}).y;
  return global_avgpool(layer4(layer3(layer2(layer1(y)))));
}

std::string ResNet::describe() const { return cat("ResNet(", depth_, ")"); }

CifarResNet::CifarResNet(int depth, const CifarResNetOptions& options) : depth_(depth) {
  if (depth < 8 || (depth - 2) % 6 != 0)
    throw Error("CifarResNet", cat("a depth of ", depth, " is not 6 n + 2"),
                "the paper's are 20, 32, 44, 56, 110");
  check_sizes("CifarResNet", {options.channels, options.classes, options.width});
  const int64_t blocks = (depth - 2) / 6, width = options.width;
  const BlockOptions block{.shortcut = options.shortcut, .projection = "shortcut"};
  int64_t channels = width;
  conv1 = child("conv1", square_conv(options.channels, width));
  bn1 = child("bn1", BatchNorm2d(width));
  layer1 = child("layer1", stage(channels, width, blocks, 1, block, basic_block));
  layer2 = child("layer2", stage(channels, 2 * width, blocks, 2, block, basic_block));
  layer3 = child("layer3", stage(channels, 4 * width, blocks, 2, block, basic_block));
  linear = child("linear", Linear(channels, options.classes));
  init_convs_kaiming(*this, init::Fan::in);
  linear->weight.set(init::kaiming_normal(linear->weight.shape()));
}

Tensor CifarResNet::features(const Tensor& x) {
  return global_avgpool(layer3(layer2(layer1(relu(bn1(conv1(x)))))));
}

std::string CifarResNet::describe() const { return cat("CifarResNet(", depth_, ")"); }

}  // namespace stithy::nn

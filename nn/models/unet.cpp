#include "nn/models/unet.h"

#include <algorithm>
#include <cmath>

#include "engine/core/error.h"
#include "engine/ops_vision.h"
#include "nn/models/blocks.h"

namespace stithy::nn {
namespace {

Sequential double_conv(int64_t in, int64_t out) {
  return Sequential{square_conv(in, out),  BatchNorm2d(out), Relu(),
                    square_conv(out, out), BatchNorm2d(out), Relu()};
}

// [2 size, size]: values at twice as many places as weighted means of the two nearest pixels; pixels have
// their values at their middles, and the ends repeat.
Array interpolation(int64_t size) {
  Array weights({2 * size, size}, DType::f32);
  for (int64_t i = 0; i < 2 * size; ++i) {
    const double place = std::max(0.0, (static_cast<double>(i) + 0.5) / 2 - 0.5);
    const auto first = static_cast<int64_t>(place);
    const double share = place - std::floor(place);
    const int64_t second = std::min(first + 1, size - 1);
    weights.set(i * size + first, weights.at(i * size + first) + 1 - share);
    weights.set(i * size + second, weights.at(i * size + second) + share);
  }
  return weights;
}

// Bilinear interpolation is linear along each axis: a product with a matrix, whose gradient is a product too.
Tensor upsample(const Tensor& x) {
  const Tensor tall = matmul(Tensor(interpolation(x.dim(2))), x);
  return matmul(tall, transpose(Tensor(interpolation(x.dim(3)))));
}

}  // namespace

UNet::UNet(const UNetOptions& options) {
  check_sizes("UNet", {options.channels, options.classes, options.width, options.depth});
  Sequential down, up, across;
  int64_t in = options.channels, out = options.width;
  for (int64_t level = 0; level < options.depth; ++level) {
    down.add(double_conv(in, out));
    in = out;
    out *= 2;
  }
  encoder = child("encoder", std::move(down));
  bottleneck = child("bottleneck", double_conv(in, out));
  for (int64_t level = 0; level < options.depth; ++level) {
    in = out;
    out /= 2;
    if (options.up == UpConvolution::transposed)
      up.add(ConvTranspose2d(in, out, {2}, {.stride = {2}}));
    else
      up.add(Sequential{Function("Upsample", upsample), Conv2d(in, out, {3}, {.padding = {1}})});
    across.add(double_conv(in, out));
  }
  upconv = child("upconv", std::move(up));
  decoder = child("decoder", std::move(across));
  head = child("head", Conv2d(out, options.classes, {1}));
  init_convs_kaiming(*this, init::Fan::in);
}

Tensor UNet::features(const Tensor& x) {
  const size_t depth = encoder->size();
  const int64_t multiple = int64_t{1} << depth;
  if (x.rank() != 4 || x.dim(2) % multiple != 0 || x.dim(3) % multiple != 0)
    throw Error(describe(),
                cat("the input's shape ", x.shape(), " is not [n, channels, height, width] with sizes that ",
                    multiple, " divides"),
                cat("pad the images; the ", depth, " levels halve them as many times"));
  std::vector<Tensor> levels;
  Tensor y = x;
  for (size_t level = 0; level < depth; ++level) {
    levels.push_back(call_layer("encoder", *encoder, level, y));
    y = maxpool(levels.back(), {2}).y;
  }
  y = bottleneck(y);
  for (size_t level = 0; level < depth; ++level) {
    const Tensor up = call_layer("upconv", *upconv, level, y);
    y = call_layer("decoder", *decoder, level, concat(std::vector{levels[depth - 1 - level], up}, 1));
  }
  return y;
}

}  // namespace stithy::nn

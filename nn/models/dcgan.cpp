#include "nn/models/dcgan.h"

#include "engine/core/error.h"
#include "nn/models/blocks.h"

namespace stithy::nn {
namespace {

struct Sizes {
  int64_t smallest;   // image: 4 or 7
  int64_t doublings;  // from it to the whole image
};
Sizes sizes_of(const char* model, const DcganOptions& options) {
  check_sizes(model, {options.image, options.channels, options.latent, options.width});
  int64_t size = options.image, doublings = 0;
  while (size % 2 == 0 && size > 4) {
    size /= 2;
    ++doublings;
  }
  if ((size != 4 && size != 7) || doublings < 2)
    throw Error(
        model,
        cat("images of ", options.image, " x ", options.image, " are not 4 or 7 doubled twice or more"),
        "28, 32, 64 and 128 are such sizes");
  return {size, doublings};
}

const ConvOptions kHalf{.stride = {2}, .padding = {1}};  // of a kernel of 4

void init_normal(const Module& model) {
  const auto draw = [](Variable weight, double mean) {
    weight.set(init::normal(weight.shape(), mean, 0.02));
  };
  for (const auto& [name, module] : model.named_modules()) {
    if (const auto* conv = dynamic_cast<const Conv*>(module)) draw(conv->weight, 0);
    if (const auto* conv = dynamic_cast<const ConvTranspose*>(module)) draw(conv->weight, 0);
    if (const auto* bn = dynamic_cast<const BatchNorm*>(module)) draw(bn->weight, 1);
  }
}

}  // namespace

DcganGenerator::DcganGenerator(const DcganOptions& options) : latent_(options.latent) {
  const Sizes sizes = sizes_of("DcganGenerator", options);
  int64_t channels = options.width << (sizes.doublings - 1);
  Sequential layers{ConvTranspose2d(latent_, channels, {sizes.smallest}, {}, {0}, false),
                    BatchNorm2d(channels), Relu()};
  for (int64_t i = 1; i < sizes.doublings; ++i) {
    layers.add(ConvTranspose2d(channels, channels / 2, {4}, kHalf, {0}, false));
    channels /= 2;
    layers.add(BatchNorm2d(channels)).add(Relu());
  }
  layers.add(ConvTranspose2d(channels, options.channels, {4}, kHalf, {0}, false)).add(Tanh());
  main = child("main", std::move(layers));
  init_normal(*this);
}

Tensor DcganGenerator::forward(const Tensor& z) {
  if (z.rank() < 1 || z.numel() != z.dim(0) * latent_)
    throw Error(describe(), cat("the input's shape ", z.shape(), " is not [n, ", latent_, "]"));
  return main(reshape(z, {z.dim(0), latent_, 1, 1}));
}

DcganDiscriminator::DcganDiscriminator(const DcganOptions& options) {
  const Sizes sizes = sizes_of("DcganDiscriminator", options);
  int64_t channels = options.width;
  Sequential layers{Conv2d(options.channels, channels, {4}, kHalf, false), LeakyRelu(0.2f)};
  for (int64_t i = 1; i < sizes.doublings; ++i) {
    layers.add(Conv2d(channels, 2 * channels, {4}, kHalf, false));
    channels *= 2;
    layers.add(BatchNorm2d(channels)).add(LeakyRelu(0.2f));
  }
  layers.add(Conv2d(channels, 1, {sizes.smallest}, {}, false));
  main = child("main", std::move(layers));
  init_normal(*this);
}

Tensor DcganDiscriminator::features(const Tensor& x) {
  Tensor y = x;
  for (size_t i = 0; i + 1 < main->size(); ++i) y = call_layer("main", *main, i, y);
  return flatten(y, 1);
}

}  // namespace stithy::nn

// DCGAN (Radford et al. 2015): a generator of images and a discriminator, with the names and the initial
// values of PyTorch's example: N(0, 0.02) for convolutions, N(1, 0.02) for the weights of batch norm.
//
// Both are parts of one model, and one Trainer trains each by its own loss, in one program:
//
//   struct Gan : nn::Module {
//     nn::Child<nn::DcganGenerator> generator = child("generator", nn::DcganGenerator());
//     nn::Child<nn::DcganDiscriminator> discriminator = child("discriminator", nn::DcganDiscriminator());
//     Tensor forward(const Tensor& z) override { return generator(z); }
//   } gan;
//   nn::Trainer trainer(gan, [&](std::span<const Tensor> batch) {
//     const nn::BceWithLogits bce;
//     const Tensor real = gan.discriminator(batch[0]);
//     const Tensor fake = gan.discriminator(gan.generator(normal({batch[0].dim(0), 100})));
//     return nn::StepOutputs{
//         .loss = bce(real, ones(real.shape())) + bce(fake, zeros(fake.shape())),
//         .part_losses = {{"generator.*", bce(fake, ones(fake.shape()))}}};
//   }, nn::Adam({.lr = 2e-4f, .beta1 = 0.5f}));
#pragma once

#include "nn/layers.h"

namespace stithy::nn {

struct DcganOptions {
  int64_t image = 64;  // height and width: 4 or 7, doubled twice or more: 28, 32, 64, 128 ...
  int64_t channels = 3;
  int64_t latent = 100;
  int64_t width = 64;  // channels next to the image; each halving of the image doubles them
};

// z [n, latent] or [n, latent, 1, 1], standard normal -> images [n, channels, image, image] in [-1, 1].
// 3,576,704 parameters. Throws Error for another size of images.
class DcganGenerator : public Module {
 public:
  explicit DcganGenerator(const DcganOptions& options = {});
  Tensor forward(const Tensor& z) override;
  std::string describe() const override { return "DcganGenerator"; }

  Child<Sequential> main;

 private:
  int64_t latent_;
};

// Images [n, channels, image, image] -> logits [n] of being real: the loss is BceWithLogits, where PyTorch's
// example ends in a sigmoid. 2,765,568 parameters. Throws Error for another size of images.
class DcganDiscriminator : public Module {
 public:
  explicit DcganDiscriminator(const DcganOptions& options = {});
  Tensor forward(const Tensor& x) override { return flatten(main(x), 0); }
  std::string describe() const override { return "DcganDiscriminator"; }
  // What the last convolution takes, flat: [n, channels of the smallest image times its pixels].
  Tensor features(const Tensor& x);

  Child<Sequential> main;
};

}  // namespace stithy::nn

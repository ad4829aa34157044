// A convolutional variational autoencoder (Kingma and Welling 2013, "Auto-Encoding Variational Bayes").
#pragma once

#include "nn/layers.h"

namespace stithy::nn {

struct VaeOptions {
  int64_t image = 28;  // height and width, a multiple of 4
  int64_t channels = 1;
  int64_t width = 32;  // channels after the first convolution; the second doubles them
  int64_t latent = 20;
};

struct VaeOutputs {
  Tensor logits;      // of the reconstruction, [n, channels, image, image]
  Tensor mu, logvar;  // of the latent variable's distribution, [n, latent]
};

// Images [n, channels, image, image] in [0, 1] -> their reconstructions in [0, 1]. 258,025 parameters, which
// start as PyTorch's layers do.
class Vae : public Module {
 public:
  // Throws Error when 4 does not divide the size of the image.
  explicit Vae(const VaeOptions& options = {});
  Tensor forward(const Tensor& x) override { return sigmoid(outputs(x).logits); }
  std::string describe() const override { return "Vae"; }

  // The latent variable is a sample, mu + exp(logvar / 2) times `noise` [n, latent]. Where none is given it
  // is drawn, standard normal, in training, and zero in evaluation.
  VaeOutputs outputs(const Tensor& x, const Tensor& noise = {});
  // The encoder's output, from which mu and logvar come: [n, 2 width (image / 4)^2].
  Tensor features(const Tensor& x) { return encoder(x); }
  // z [n, latent] -> logits; sigmoid(decode(normal({n, latent}))) draws new images.
  Tensor decode(const Tensor& z) { return decoder(z); }

  Child<Sequential> encoder;
  Child<Linear> mu, logvar;
  Child<Sequential> decoder;
};

// KL(N(mu, exp(logvar)) || N(0, 1)), in nats, a mean over the batch. f32 [].
Tensor latent_divergence(const VaeOutputs& outputs);

// The negative evidence lower bound, a mean over the batch: the binary cross entropy of the reconstruction,
// summed over the image, and `beta` times latent_divergence() (beta: Higgins et al. 2017). f32 [].
//
//   nn::Trainer trainer(vae, [&](std::span<const Tensor> batch) {
//     return nn::StepOutputs{.loss = nn::elbo_loss(vae.outputs(batch[0]), batch[0])};
//   }, nn::Adam());
Tensor elbo_loss(const VaeOutputs& outputs, const Tensor& x, float beta = 1);

}  // namespace stithy::nn

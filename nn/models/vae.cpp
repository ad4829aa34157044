#include "nn/models/vae.h"

#include "engine/core/error.h"
#include "nn/loss.h"
#include "nn/models/blocks.h"

namespace stithy::nn {

Vae::Vae(const VaeOptions& options) {
  check_sizes("Vae", {options.image, options.channels, options.width, options.latent});
  if (options.image % 4 != 0)
    throw Error("Vae", cat("images of ", options.image, " x ", options.image, " cannot be halved twice"),
                "pad them to a multiple of 4");
  const ConvOptions half{.stride = {2}, .padding = {1}};
  const int64_t width = options.width, small = options.image / 4, flat = 2 * width * small * small;
  encoder = child("encoder", Sequential{Conv2d(options.channels, width, {4}, half), Relu(),
                                        Conv2d(width, 2 * width, {4}, half), Relu(), Flatten()});
  mu = child("mu", Linear(flat, options.latent));
  logvar = child("logvar", Linear(flat, options.latent));
  const Function unflatten("Unflatten", [=](const Tensor& x) {
    return reshape(x, {x.dim(0), 2 * width, small, small});
  });
  decoder = child("decoder", Sequential{Linear(options.latent, flat), Relu(), unflatten,
                                        ConvTranspose2d(2 * width, width, {4}, half), Relu(),
                                        ConvTranspose2d(width, options.channels, {4}, half)});
}

VaeOutputs Vae::outputs(const Tensor& x, const Tensor& noise) {
  const Tensor encoded = features(x);
  VaeOutputs out{.logits = {}, .mu = mu(encoded), .logvar = logvar(encoded)};
  Tensor z = out.mu;
  if (training() || noise.defined())
    z = z + exp(out.logvar * 0.5f) * (noise.defined() ? noise : normal(z.shape()));
  out.logits = decode(z);
  return out;
}

Tensor latent_divergence(const VaeOutputs& outputs) {
  return sum(exp(outputs.logvar) + square(outputs.mu) - 1.0f - outputs.logvar) *
         (0.5f / static_cast<float>(outputs.mu.dim(0)));
}

Tensor elbo_loss(const VaeOutputs& outputs, const Tensor& x, float beta) {
  const Tensor reconstruction = BceWithLogits{.reduction = Reduction::sum}(outputs.logits, x);
  return reconstruction * (1 / static_cast<float>(x.dim(0))) + beta * latent_divergence(outputs);
}

}  // namespace stithy::nn

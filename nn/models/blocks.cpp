#include "nn/models/blocks.h"

#include <algorithm>

#include "engine/core/error.h"

namespace stithy::nn {

namespace {
void zero(Variable bias) {
  if (bias.defined()) bias.set(Array(bias.shape(), DType::f32));
}
}  // namespace

Conv2d square_conv(int64_t in, int64_t out, const SquareConvOptions& options) {
  return Conv2d(in, out, {options.kernel},
                {.stride = {options.stride}, .padding = {options.kernel / 2}, .groups = options.groups},
                false);
}

ConvNormActivation::ConvNormActivation(int64_t in, int64_t out, const SquareConvOptions& options,
                                       const std::optional<Function>& activation) {
  add(square_conv(in, out, options));
  add(BatchNorm2d(out));
  if (activation) add(*activation);
}

Tensor global_avgpool(const Tensor& x) { return mean(x, {2, 3}); }

Tensor call_layer(const std::string& name, const Sequential& layers, size_t i, const Tensor& x) {
  const ScopeGuard scope(name);
  return layers[i](x);
}

StochasticDepth::StochasticDepth(float p) : p_(p) {
  if (!(p >= 0 && p < 1)) throw Error("StochasticDepth", cat("the probability must be in [0, 1), got ", p));
}
Tensor StochasticDepth::forward(const Tensor& x) {
  if (!training() || p_ == 0) return x;
  Shape rows = Shape::filled(x.rank(), 1);
  rows[0] = x.dim(0);
  return x * (bernoulli(rows, 1 - p_) * (1 / (1 - p_)));
}
std::string StochasticDepth::describe() const { return cat("StochasticDepth(", p_, ")"); }

int64_t scaled_channels(int64_t channels, double width) {
  const double wanted = static_cast<double>(channels) * width;
  const int64_t rounded = std::max<int64_t>(8, static_cast<int64_t>(wanted + 4) / 8 * 8);
  return static_cast<double>(rounded) < 0.9 * wanted ? rounded + 8 : rounded;
}

void check_sizes(const char* model, std::initializer_list<int64_t> sizes) {
  for (const int64_t size : sizes)
    if (size < 1) throw Error(model, cat("sizes must be at least 1, got ", size));
}

void init_convs_kaiming(const Module& model, init::Fan fan) {
  const auto draw = [fan](Variable weight, const Variable& bias) {
    weight.set(init::kaiming_normal(weight.shape(), 0, fan));
    zero(bias);
  };
  for (const auto& [name, module] : model.named_modules()) {
    if (const auto* conv = dynamic_cast<const Conv*>(module)) draw(conv->weight, conv->bias);
    if (const auto* conv = dynamic_cast<const ConvTranspose*>(module)) draw(conv->weight, conv->bias);
  }
}

void init_linears_normal(const Module& model, double deviation, bool embeddings) {
  const auto draw = [deviation](Variable weight) { weight.set(init::normal(weight.shape(), 0, deviation)); };
  for (const auto& [name, module] : model.named_modules()) {
    if (const auto* linear = dynamic_cast<const Linear*>(module)) {
      draw(linear->weight);
      zero(linear->bias);
    }
    if (const auto* table = dynamic_cast<const Embedding*>(module); table && embeddings) draw(table->weight);
  }
}

}  // namespace stithy::nn

#include "nn/position.h"

#include <cmath>

#include "engine/core/error.h"
#include "engine/ops.h"
#include "nn/init.h"

namespace stithy::nn {
namespace {

void check_sequence(const Module& layer, const Tensor& x, const Tensor& first) {
  if (x.rank() != 3)
    throw Error(layer.describe(), cat("the input's shape is ", x.shape(), ", not [n, t, size]"));
  if (first.defined() && (first.dtype() != DType::i32 || first.numel() != 1))
    throw Error(layer.describe(),
                cat("the first position is ", first.dtype(), " ", first.shape(), ", not one i32"));
}
Tensor positions(int64_t t, const Tensor& first) {
  return first.defined() ? arange(t) + reshape(first, {}) : arange(t);
}

}  // namespace

PositionalEmbedding::PositionalEmbedding(int64_t count, int64_t size) {
  if (count < 1 || size < 1)
    throw Error("PositionalEmbedding", cat("sizes must be at least 1, got ", count, " and ", size));
  weight = parameter("weight", init::normal({count, size}, 0, 0.02));
}
Tensor PositionalEmbedding::forward(const Tensor& x, const Tensor& first) {
  check_sequence(*this, x, first);
  const int64_t t = x.dim(1);
  if (t > weight.shape()[0] || x.dim(2) != weight.shape()[1])
    throw Error(describe(), cat("has no vectors for an input of shape ", x.shape()));
  return x + (first.defined() ? embedding(weight, positions(t, first)) : slice(weight, 0, 0, t));
}
std::string PositionalEmbedding::describe() const {
  return cat("PositionalEmbedding(", weight.shape()[0], ", ", weight.shape()[1], ")");
}

Tensor SinusoidalPositions::forward(const Tensor& x, const Tensor& first) {
  check_sequence(*this, x, first);
  const int64_t size = x.dim(2);
  Array frequency({size}, DType::f32), is_cosine({size}, DType::boolean);
  for (int64_t i = 0; i < size; ++i) {
    frequency.set(i, std::pow(10000.0, -static_cast<double>(i / 2 * 2) / static_cast<double>(size)));
    is_cosine.set(i, static_cast<double>(i % 2));
  }
  const Tensor angle = unsqueeze(cast(positions(x.dim(1), first), DType::f32), -1) * Tensor(frequency);
  return x + where(is_cosine, cos(angle), sin(angle));
}

Array alibi_slopes(int64_t heads) {
  if (heads < 1) throw Error("alibi_slopes", cat("there must be a head, got ", heads));
  int64_t power = 1;
  while (power * 2 <= heads) power *= 2;
  Array slopes({heads}, DType::f32);
  // Beyond the largest power of two: every other slope of twice as many heads.
  for (int64_t i = 0; i < heads; ++i)
    slopes.set(i, i < power ? std::exp2(-8.0 * static_cast<double>(i + 1) / static_cast<double>(power))
                            : std::exp2(-8.0 * static_cast<double>(2 * (i - power) + 1) /
                                        static_cast<double>(2 * power)));
  return slopes;
}

}  // namespace stithy::nn

// What tells a model of attention where in a sequence an element stands. Sequences are [n, t, size]. Rotary
// embedding is an op: rotary().
#pragma once

#include "nn/module.h"

namespace stithy::nn {

// Adds learned vectors: y = x + weight[position]. weight [count, size], normal with deviation 0.02 (Radford
// et al. 2019). Throws Error for longer sequences.
class PositionalEmbedding : public Module {
 public:
  PositionalEmbedding(int64_t count, int64_t size);
  // The first position is 0, or a scalar i32 in device memory; positions that have no vector give NaN.
  Tensor forward(const Tensor& x, const Tensor& first);
  Tensor forward(const Tensor& x) override { return forward(x, {}); }
  std::string describe() const override;
  Variable weight;
};

// Adds sine and cosine waves (Vaswani et al. 2017): y[p, 2i] = x + sin(p / 10000^(2i / size)), y[p, 2i + 1] =
// x + cos(p / 10000^(2i / size)).
class SinusoidalPositions : public Module {
 public:
  Tensor forward(const Tensor& x, const Tensor& first);  // as PositionalEmbedding
  Tensor forward(const Tensor& x) override { return forward(x, {}); }
  std::string describe() const override { return "SinusoidalPositions"; }
};

// f32 [heads], for Attend::alibi: 2^(-8 i / heads) for i = 1, ..., heads where these are a power of two, else
// as the authors have it (Press et al. 2022). Throws Error without heads.
Array alibi_slopes(int64_t heads);

}  // namespace stithy::nn

// Multi-head attention (Vaswani et al. 2017). Parameters have PyTorch's names, shapes and default initial
// values. Sequences are [n, t, size], batch first.
#pragma once

#include "engine/ops_sequence.h"
#include "nn/layers.h"

namespace stithy::nn {

// Which keys a query sees; engine/ops_sequence.h says more.
struct Attend {
  bool causal = false;
  int64_t window = 0;  // with causal: the last keys that are seen; 0: all
  Tensor lengths;      // i32 [n]: so many keys are no padding
  Tensor key_mask;     // bool [n, tk]: true where a key is no padding, the opposite of PyTorch's
  Tensor mask;   // broadcast to [n, heads, tq, tk]: bool, true where a key is seen; f32, added to the scores
  Tensor alibi;  // f32 [heads]: alibi_slopes()
};

// attention() of a model, which AttentionTrace notes.
Tensor attend(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionOptions& options = {},
              const Tensor& mask = {});
// What attention() multiplies v with, dropout aside: [n, heads, tq, tk], rows that sum to 1. It takes memory
// for all of them: for pictures.
Tensor attention_weights(const Tensor& q, const Tensor& k, const AttentionOptions& options = {},
                         const Tensor& mask = {});

// While one lives, notes the attention_weights() of each attend(). Where nobody fetches them they cost
// nothing.
class AttentionTrace {
 public:
  struct Call {
    std::string path;  // of the layer: "decoder.layers.0.self_attn"
    Tensor weights;
  };
  AttentionTrace();
  ~AttentionTrace();
  AttentionTrace(const AttentionTrace&) = delete;
  const std::vector<Call>& calls() const { return calls_; }

 private:
  friend Tensor attend(const Tensor&, const Tensor&, const Tensor&, const AttentionOptions&, const Tensor&);
  std::vector<Call> calls_;
  AttentionTrace* outer_;
};

struct MultiHeadOptions {
  bool bias = true;
  float dropout = 0;  // of the probabilities, in training
};

// in_proj_weight [3 size, size] (of queries, keys and values, one after another), in_proj_bias [3 size],
// out_proj.weight [size, size], out_proj.bias [size]. Throws Error where heads do not divide size.
class MultiHeadAttention : public Module {
 public:
  MultiHeadAttention(int64_t size, int64_t heads, const MultiHeadOptions& options = {});
  // query [n, tq, size], key and value [n, tk, size] -> [n, tq, size].
  Tensor forward(const Tensor& query, const Tensor& key, const Tensor& value, const Attend& attend = {});
  // Of a sequence to itself.
  Tensor forward(const Tensor& x, const Attend& attend) { return forward(x, x, x, attend); }
  Tensor forward(const Tensor& x) override { return forward(x, x, x); }
  std::string describe() const override;
  Variable in_proj_weight, in_proj_bias;
  Child<Linear> out_proj;

 private:
  int64_t size_, heads_;
  MultiHeadOptions options_;
};

}  // namespace stithy::nn

// LLaMA-style decoders (Touvron et al. 2023, "LLaMA: Open and Efficient Foundation Language Models"): RMS
// norm in front of each block, rotary positions, SwiGLU; with grouped heads as LLaMA 2 and with a sliding
// window as Mistral (Jiang et al. 2023). Parameters have the names of Hugging Face's LlamaForCausalLM.
#pragma once

#include <functional>

#include "nn/layers.h"
#include "nn/norm.h"
#include "nn/transformer.h"

namespace stithy::nn {

struct LlamaOptions {
  int64_t vocabulary = 32000;
  int64_t size = 4096, layers = 32, hidden = 11008;
  int64_t heads = 32, kv_heads = 0;  // 0: as many as heads
  int64_t window = 0;                // a token sees so many, itself included; 0: all before it
  bool tied = false;                 // the logits are made by the words' own embeddings
  float epsilon = 1e-5f;
  float rope_base = 10000;
  float initializer_range = 0.02f;  // the deviation of matrices and embeddings in the beginning
};

// What an attention layer does with the keys and values of the tokens at hand, [n, kv_heads, t, d], turned to
// their positions: gives those that the queries see, in their place. Layers are counted from 0.
struct KeysValues {
  Tensor keys, values;
};
using ExtendCache = std::function<KeysValues(size_t layer, const KeysValues& now)>;

struct LlamaInputs {
  Tensor ids;         // i32 [n, t]
  Tensor positions;   // of the first token, i32 [], or of each, [t] or [n, t] (undefined: from 0)
  Tensor lengths;     // i32 [n]: so many keys are no padding (undefined: all)
  ExtendCache cache;  // undefined: keys and values are those of the ids
};

// model.embed_tokens, model.layers.0.{self_attn.{q_proj, k_proj, v_proj, o_proj}, mlp.{gate_proj, up_proj,
// down_proj}, input_layernorm, post_attention_layernorm}, model.layers.1 ..., model.norm, and lm_head, if it
// is not tied.
class Llama : public Module {
 public:
  // Throws Error for sizes below 1, heads that do not divide the size or leave an odd part of it, and
  // kv_heads that do not divide the heads.
  explicit Llama(const LlamaOptions& options = {});
  // Logits of the next token, [n, t, vocabulary].
  Tensor forward(const LlamaInputs& x) { return logits(states(x)); }
  Tensor forward(const Tensor& ids) override { return forward(LlamaInputs{.ids = ids}); }
  // The normalised states [n, t, size], which logits() maps.
  Tensor states(const LlamaInputs& x);
  Tensor logits(const Tensor& states);
  std::string describe() const override;
  const LlamaOptions& options() const { return options_; }

 private:
  struct Body;
  LlamaOptions options_;
  Child<Body> model_;
  Child<Linear> lm_head_;
};

}  // namespace stithy::nn

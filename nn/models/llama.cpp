#include "nn/models/llama.h"

#include "engine/core/error.h"
#include "nn/attention.h"
#include "nn/models/blocks.h"

namespace stithy::nn {

namespace {

struct SelfAttention : Module {
  explicit SelfAttention(const LlamaOptions& options)
      : o(options),
        q_proj(child("q_proj", Linear(o.size, o.size, false))),
        k_proj(child("k_proj", Linear(o.size, o.size / o.heads * o.kv_heads, false))),
        v_proj(child("v_proj", Linear(o.size, o.size / o.heads * o.kv_heads, false))),
        o_proj(child("o_proj", Linear(o.size, o.size, false))) {}
  Tensor forward(const Tensor& x, size_t layer, const LlamaInputs& in) {
    const auto split = [&](const Tensor& y, int64_t heads) {
      return transpose(reshape(y, {x.dim(0), x.dim(1), heads, o.size / o.heads}), 1, 2);
    };
    const auto turned = [&](const Tensor& y) { return rotary(y, in.positions, {.base = o.rope_base}); };
    const Tensor q = turned(split(q_proj(x), o.heads));
    KeysValues kv{turned(split(k_proj(x), o.kv_heads)), split(v_proj(x), o.kv_heads)};
    if (in.cache) kv = in.cache(layer, kv);
    const Tensor y =
        attend(q, kv.keys, kv.values, {.causal = true, .window = o.window, .lengths = in.lengths});
    return o_proj(reshape(transpose(y, 1, 2), x.shape()));
  }
  LlamaOptions o;
  Child<Linear> q_proj, k_proj, v_proj, o_proj;
};

struct Layer : Module {
  explicit Layer(const LlamaOptions& o)
      : self_attn(child("self_attn", SelfAttention(o))),
        mlp(child("mlp", GatedFeedForward(o.size, o.hidden))),
        input_layernorm(child("input_layernorm", RmsNorm(o.size, o.epsilon))),
        post_attention_layernorm(child("post_attention_layernorm", RmsNorm(o.size, o.epsilon))) {}
  Tensor forward(const Tensor& x, size_t layer, const LlamaInputs& in) {
    const Tensor y = x + self_attn(input_layernorm(x), layer, in);
    return y + mlp(post_attention_layernorm(y));
  }
  Child<SelfAttention> self_attn;
  Child<GatedFeedForward> mlp;
  Child<RmsNorm> input_layernorm, post_attention_layernorm;
};

struct LayerList : Module {
  explicit LayerList(const LlamaOptions& o) {
    for (int64_t i = 0; i < o.layers; ++i) layers.push_back(child(std::to_string(i), Layer(o)));
  }
  Tensor forward(const Tensor& x, const LlamaInputs& in) {
    Tensor y = x;
    for (size_t i = 0; i < layers.size(); ++i) y = layers[i](y, i, in);
    return y;
  }
  std::vector<Child<Layer>> layers;
};

LlamaOptions checked(LlamaOptions o) {
  if (o.kv_heads == 0) o.kv_heads = o.heads;
  check_sizes("Llama", {o.vocabulary, o.size, o.layers, o.hidden, o.heads, o.kv_heads});
  if (o.size % o.heads != 0 || o.size / o.heads % 2 != 0)
    throw Error("Llama", cat(o.heads, " heads do not divide the size ", o.size, " into even parts"),
                "rotary positions turn pairs");
  if (o.heads % o.kv_heads != 0)
    throw Error("Llama", cat(o.kv_heads, " kv_heads do not divide ", o.heads, " heads"));
  return o;
}

}  // namespace

struct Llama::Body : Module {
  explicit Body(const LlamaOptions& o)
      : embed_tokens(child("embed_tokens", Embedding(o.vocabulary, o.size))),
        layers(child("layers", LayerList(o))),
        norm(child("norm", RmsNorm(o.size, o.epsilon))) {}
  Tensor forward(const LlamaInputs& x) { return norm(layers(embed_tokens(x.ids), x)); }
  Child<Embedding> embed_tokens;
  Child<LayerList> layers;
  Child<RmsNorm> norm;
};

Llama::Llama(const LlamaOptions& options) : options_(checked(options)) {
  model_ = child("model", Body(options_));
  if (!options_.tied) lm_head_ = child("lm_head", Linear(options_.size, options_.vocabulary, false));
  init_linears_normal(*this, options_.initializer_range, true);
}

Tensor Llama::states(const LlamaInputs& x) {
  if (x.ids.rank() != 2) throw Error(describe(), cat("the ids' shape is ", x.ids.shape(), ", not [n, t]"));
  return model_(x);
}

Tensor Llama::logits(const Tensor& states) {
  return lm_head_ ? lm_head_(states) : matmul(states, transpose(model_->embed_tokens->weight));
}

std::string Llama::describe() const {
  return cat("Llama(", options_.size, ", ", options_.layers, " layers)");
}

}  // namespace stithy::nn

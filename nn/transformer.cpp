#include "nn/transformer.h"

#include "engine/core/error.h"
#include "nn/init.h"

namespace stithy::nn {
namespace {

MultiHeadAttention attention_of(int64_t size, int64_t heads, const TransformerOptions& options) {
  return MultiHeadAttention(size, heads, {.dropout = options.dropout});
}

// x with what `block` adds to it, normalised before or after.
template <class Block>
Tensor residual(const TransformerOptions& o, bool training, const Tensor& x, const Child<LayerNorm>& norm,
                const Block& block) {
  const auto dropped = [&](const Tensor& y) { return training && o.dropout > 0 ? dropout(y, o.dropout) : y; };
  return o.norm_first ? x + dropped(block(norm(x))) : norm(x + dropped(block(x)));
}

Tensor feed_forward(const TransformerOptions& o, bool training, const Tensor& x, const Child<Linear>& linear1,
                    const Child<Linear>& linear2) {
  const Tensor sums = linear1(x);
  const Tensor y = o.activation == TransformerOptions::Activation::gelu ? gelu(sums) : relu(sums);
  return linear2(training && o.dropout > 0 ? dropout(y, o.dropout) : y);
}

}  // namespace

TransformerEncoderLayer::TransformerEncoderLayer(int64_t size, int64_t heads,
                                                 const TransformerOptions& options)
    : options_(options),
      self_attn_(child("self_attn", attention_of(size, heads, options))),
      linear1_(child("linear1", Linear(size, options.hidden))),
      linear2_(child("linear2", Linear(options.hidden, size))),
      norm1_(child("norm1", LayerNorm(size, options.epsilon))),
      norm2_(child("norm2", LayerNorm(size, options.epsilon))) {}

Tensor TransformerEncoderLayer::forward(const Tensor& x, const Attend& attend) {
  const Tensor y = residual(options_, training(), x, norm1_,
                            [&](const Tensor& in) { return self_attn_(in, in, in, attend); });
  return residual(options_, training(), y, norm2_, [&](const Tensor& in) {
    return feed_forward(options_, training(), in, linear1_, linear2_);
  });
}

TransformerDecoderLayer::TransformerDecoderLayer(int64_t size, int64_t heads,
                                                 const TransformerOptions& options)
    : options_(options),
      self_attn_(child("self_attn", attention_of(size, heads, options))),
      multihead_attn_(child("multihead_attn", attention_of(size, heads, options))),
      linear1_(child("linear1", Linear(size, options.hidden))),
      linear2_(child("linear2", Linear(options.hidden, size))),
      norm1_(child("norm1", LayerNorm(size, options.epsilon))),
      norm2_(child("norm2", LayerNorm(size, options.epsilon))),
      norm3_(child("norm3", LayerNorm(size, options.epsilon))) {}

Tensor TransformerDecoderLayer::forward(const Tensor& x, const Tensor& memory, const Attend& self,
                                        const Attend& cross) {
  Tensor y = residual(options_, training(), x, norm1_,
                      [&](const Tensor& in) { return self_attn_(in, in, in, self); });
  y = residual(options_, training(), y, norm2_,
               [&](const Tensor& in) { return multihead_attn_(in, memory, memory, cross); });
  return residual(options_, training(), y, norm3_, [&](const Tensor& in) {
    return feed_forward(options_, training(), in, linear1_, linear2_);
  });
}

template <class Layer>
TransformerStack<Layer>::TransformerStack(int64_t size, int64_t heads, int64_t layers, bool final_norm,
                                          const TransformerOptions& options) {
  if (layers < 1) throw Error("TransformerStack", cat("there must be a layer, got ", layers));
  ModuleList<Layer> list;
  for (int64_t i = 0; i < layers; ++i) layers_.push_back(list.add(Layer(size, heads, options)));
  child("layers", std::move(list));
  if (final_norm) norm_ = child("norm", LayerNorm(size, options.epsilon));
}
template class TransformerStack<TransformerEncoderLayer>;
template class TransformerStack<TransformerDecoderLayer>;

Transformer::Transformer(int64_t size, int64_t heads, int64_t encoder_layers, int64_t decoder_layers,
                         const TransformerOptions& options)
    : encoder(child("encoder", TransformerEncoder(size, heads, encoder_layers, true, options))),
      decoder(child("decoder", TransformerDecoder(size, heads, decoder_layers, true, options))) {
  for (auto& [name, variable] : named_parameters())
    if (variable.shape().rank() > 1) variable.set(init::xavier_uniform(variable.shape()));
}

Tensor Transformer::forward(const Tensor& source, const Tensor& target, const TransformerAttend& attend) {
  return decoder(target, encoder(source, attend.source), attend.target, attend.memory);
}

GatedFeedForward::GatedFeedForward(int64_t size, int64_t hidden, Gate gate, bool bias)
    : gate_(gate),
      gate_proj_(child("gate_proj", Linear(size, hidden, bias))),
      up_proj_(child("up_proj", Linear(size, hidden, bias))),
      down_proj_(child("down_proj", Linear(hidden, size, bias))) {}
Tensor GatedFeedForward::forward(const Tensor& x) {
  const Tensor g = gate_proj_(x);
  return down_proj_((gate_ == Gate::swiglu ? silu(g) : gelu(g)) * up_proj_(x));
}
std::string GatedFeedForward::describe() const {
  return gate_ == Gate::swiglu ? "GatedFeedForward(SwiGLU)" : "GatedFeedForward(GEGLU)";
}

}  // namespace stithy::nn

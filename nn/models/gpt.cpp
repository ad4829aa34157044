#include "nn/models/gpt.h"

#include <cmath>

#include "engine/core/error.h"
#include "nn/init.h"
#include "nn/loss.h"
#include "nn/models/blocks.h"

namespace stithy::nn {
namespace {

constexpr double kDeviation = 0.02;

Conv1D initialised(int64_t in, int64_t out, double deviation) {
  Conv1D layer(in, out);
  layer.weight.set(init::normal({in, out}, 0, deviation));
  layer.bias.set(init::constant({out}, 0));
  return layer;
}
double deviation_of_last(const GptOptions& options) {
  return kDeviation / std::sqrt(2.0 * static_cast<double>(options.layers));
}

}  // namespace

GptAttention::GptAttention(const GptOptions& options) : options_(options) {
  c_attn = child("c_attn", initialised(options.width, 3 * options.width, kDeviation));
  c_proj = child("c_proj", initialised(options.width, options.width, deviation_of_last(options)));
}

Tensor GptAttention::forward(const Tensor& x, DecodeCache* cache, const std::string& layer) {
  const int64_t heads = options_.heads, size = options_.width / heads;
  std::vector<Tensor> qkv = split(c_attn(x), std::vector<int64_t>(3, options_.width), 2);
  for (Tensor& part : qkv) part = transpose(reshape(part, {x.dim(0), x.dim(1), heads, size}), 1, 2);
  const Tensor y = cache ? cache->attend(layer, qkv[0], qkv[1], qkv[2])
                         : attention(qkv[0], qkv[1], qkv[2],
                                     {.causal = true, .dropout = training() ? options_.dropout : 0});
  const Tensor out = c_proj(reshape(transpose(y, 1, 2), x.shape()));
  return options_.dropout > 0 && training() ? dropout(out, options_.dropout) : out;
}

GptBlock::GptBlock(const GptOptions& options) {
  ln_1 = child("ln_1", LayerNorm(options.width, options.epsilon));
  attn = child("attn", GptAttention(options));
  ln_2 = child("ln_2", LayerNorm(options.width, options.epsilon));
  mlp = child("mlp", GptMlp(options));
}

Tensor GptBlock::forward(const Tensor& x, DecodeCache* cache, const std::string& layer) {
  const Tensor attended = x + attn(ln_1(x), cache, layer);
  return attended + mlp(ln_2(attended));
}

GptMlp::GptMlp(const GptOptions& options) : options_(options) {
  c_fc = child("c_fc", initialised(options.width, 4 * options.width, kDeviation));
  c_proj = child("c_proj", initialised(4 * options.width, options.width, deviation_of_last(options)));
}

Tensor GptMlp::forward(const Tensor& x) {
  const Tensor y = c_proj(gelu(c_fc(x), options_.gelu));
  return options_.dropout > 0 && training() ? dropout(y, options_.dropout) : y;
}

Gpt::Transformer::Transformer(const GptOptions& options) : dropout(options.dropout) {
  const auto table = [&](const char* name, int64_t rows) {
    Embedding embedding(rows, options.width);
    embedding.weight.set(init::normal({rows, options.width}, 0, kDeviation));
    return child(name, std::move(embedding));
  };
  wte = table("wte", options.vocabulary);
  wpe = table("wpe", options.context);
  ModuleList<GptBlock> h;
  for (int64_t i = 0; i < options.layers; ++i) blocks.push_back(h.add(GptBlock(options)));
  child("h", std::move(h));
  ln_f = child("ln_f", LayerNorm(options.width, options.epsilon));
}

Tensor Gpt::Transformer::forward(const Tensor& tokens, DecodeCache* cache) {
  const int64_t t = tokens.dim(1);
  Tensor positions = arange(t);
  if (cache) positions = positions + reshape(cache->position(), {1});
  Tensor x = wte(tokens) + wpe(positions);
  if (dropout > 0 && training()) x = stithy::dropout(x, dropout);
  {
    const ScopeGuard scope("h");
    for (size_t i = 0; i < blocks.size(); ++i) x = blocks[i](x, cache, cat("h.", i));
  }
  return ln_f(x);
}

Gpt::Gpt(const GptOptions& options) : options_(options) {
  check_sizes("Gpt", {options.vocabulary, options.context, options.layers, options.heads, options.width});
  if (options.width % options.heads != 0)
    throw Error("Gpt", cat(options.heads, " heads do not divide the width ", options.width));
  if (!(options.dropout >= 0 && options.dropout < 1))
    throw Error("Gpt", cat("dropout ", options.dropout, " is not in [0, 1)"));
  transformer = child("transformer", Transformer(options));
}

Tensor Gpt::features(const Tensor& tokens, DecodeCache* cache) {
  if (tokens.rank() != 2 || tokens.dtype() != DType::i32)
    throw Error(describe(), cat("tokens are ", tokens.dtype(), " ", tokens.shape(), ", not i32 [n, t]"));
  if (tokens.dim(1) > options_.context)
    throw Error(describe(), cat(tokens.dim(1), " tokens are more than the context of ", options_.context),
                "cut them, or make a model with a larger context");
  return transformer(tokens, cache);
}

Tensor Gpt::forward(const Tensor& tokens) {
  return matmul(features(tokens), stithy::transpose(transformer->wte->weight));
}

Tensor Gpt::loss(const Tensor& tokens, const Tensor& targets) {
  return LinearCrossEntropy{}(features(tokens), transformer->wte->weight, targets);
}

Tensor Gpt::decode(const Tensor& tokens, DecodeCache& cache) {
  const EvaluationMode evaluation(*this);
  const Tensor x = features(tokens, &cache);
  return matmul(squeeze(slice(x, 1, x.dim(1) - 1, x.dim(1)), 1), stithy::transpose(transformer->wte->weight));
}

std::string Gpt::describe() const {
  return cat("Gpt(", options_.layers, " layers, ", options_.heads, " heads, ", options_.width, ")");
}

}  // namespace stithy::nn

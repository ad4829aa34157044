#include "nn/attention.h"

#include <limits>
#include <utility>

#include "engine/core/error.h"
#include "nn/init.h"

namespace stithy::nn {

namespace {
thread_local AttentionTrace* current_trace = nullptr;
}

Tensor attend(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionOptions& options,
              const Tensor& mask) {
  if (current_trace)
    current_trace->calls_.push_back({current_scope(), attention_weights(q, k, options, mask)});
  return attention(q, k, v, options, mask);
}

Tensor attention_weights(const Tensor& q, const Tensor& k, const AttentionOptions& options,
                         const Tensor& mask) {
  AttentionOptions kept = options;
  kept.dropout = 0;
  const Tensor identity = one_hot(arange(k.dim(-2)), k.dim(-2));
  return attention(q, k, expand(identity, {k.dim(0), k.dim(1), k.dim(2), k.dim(2)}), kept, mask);
}

AttentionTrace::AttentionTrace() : outer_(std::exchange(current_trace, this)) {}
AttentionTrace::~AttentionTrace() { current_trace = outer_; }

MultiHeadAttention::MultiHeadAttention(int64_t size, int64_t heads, const MultiHeadOptions& options)
    : size_(size), heads_(heads), options_(options) {
  if (size < 1 || heads < 1 || size % heads != 0)
    throw Error("MultiHeadAttention", cat(heads, " heads do not divide the size ", size));
  if (!(options.dropout >= 0 && options.dropout < 1))
    throw Error("MultiHeadAttention", cat("dropout ", options.dropout, " is not in [0, 1)"));
  in_proj_weight = parameter("in_proj_weight", init::xavier_uniform({3 * size, size}));
  if (options.bias) in_proj_bias = parameter("in_proj_bias", init::constant({3 * size}, 0));
  out_proj = child("out_proj", Linear(size, size, options.bias));
  if (options.bias) out_proj->bias.set(init::constant({size}, 0));
}

Tensor MultiHeadAttention::forward(const Tensor& query, const Tensor& key, const Tensor& value,
                                   const Attend& attend) {
  for (const Tensor* x : {&query, &key, &value})
    if (x->rank() != 3 || x->dim(2) != size_)
      throw Error(describe(), cat("an input has the shape ", x->shape(), " instead of [n, t, ", size_, "]"));
  if (key.shape() != value.shape() || key.dim(0) != query.dim(0))
    throw Error(describe(), cat("queries ", query.shape(), ", keys ", key.shape(), " and values ",
                                value.shape(), " do not fit"));
  // The rows of in_proj for `count` of queries, keys and values, which have one input.
  const auto project = [&](const Tensor& x, const Tensor& weight, const Tensor& bias, size_t count) {
    Tensor y = matmul(x, transpose(weight));
    if (bias.defined()) y = y + bias;
    std::vector<Tensor> parts = split(y, std::vector<int64_t>(count, size_), 2);
    for (Tensor& part : parts)
      part = transpose(reshape(part, {part.dim(0), part.dim(1), heads_, size_ / heads_}), 1, 2);
    return parts;
  };
  std::vector<Tensor> qkv;
  if (query == key && key == value) {
    qkv = project(query, in_proj_weight, options_.bias ? in_proj_bias.tensor() : Tensor(), 3);
  } else {
    const auto by_input = [&](const Tensor& parameter) {
      const std::vector<int64_t> rows = key == value ? std::vector{size_, 2 * size_} : std::vector(3, size_);
      return options_.bias || parameter == in_proj_weight.tensor() ? split(parameter, rows, 0)
                                                                   : std::vector<Tensor>(rows.size());
    };
    const std::vector<Tensor> weights = by_input(in_proj_weight), biases = by_input(in_proj_bias);
    const std::vector<Tensor> inputs{query, key, value};
    for (size_t i = 0; i < weights.size(); ++i)
      for (const Tensor& part : project(inputs[i], weights[i], biases[i], i == 1 && key == value ? 2 : 1))
        qkv.push_back(part);
  }
  Tensor mask = attend.mask;
  if (attend.key_mask.defined()) {
    if (attend.key_mask.dtype() != DType::boolean || attend.key_mask.shape() != Shape{key.dim(0), key.dim(1)})
      throw Error(describe(), cat("a key mask of ", attend.key_mask.dtype(), " ", attend.key_mask.shape(),
                                  " is not bool ", Shape{key.dim(0), key.dim(1)}));
    const Tensor seen = reshape(attend.key_mask, {key.dim(0), 1, 1, key.dim(1)});
    if (!mask.defined())
      mask = seen;
    else if (mask.dtype() == DType::boolean)
      mask = logical_and(mask, seen);
    else
      mask = where(seen, mask, -std::numeric_limits<float>::infinity());
  }
  const AttentionOptions options{.causal = attend.causal,
                                 .window = attend.window,
                                 .dropout = training() ? options_.dropout : 0,
                                 .alibi = attend.alibi,
                                 .lengths = attend.lengths};
  const Tensor y = nn::attend(qkv[0], qkv[1], qkv[2], options, mask);
  return out_proj(reshape(transpose(y, 1, 2), query.shape()));
}

std::string MultiHeadAttention::describe() const {
  return cat("MultiHeadAttention(", size_, ", ", heads_, " heads",
             options_.dropout > 0 ? cat(", dropout ", options_.dropout) : "", ")");
}

}  // namespace stithy::nn

#include "nn/models/lstm_language_model.h"

#include <cmath>

#include "engine/core/error.h"
#include "nn/init.h"
#include "nn/models/blocks.h"

namespace stithy::nn {

LstmLanguageModel::LstmLanguageModel(const LstmLanguageModelOptions& options) : options_(options) {
  check_sizes("LstmLanguageModel", {options.vocabulary, options.embedding, options.hidden, options.layers});
  if (options.tied && options.embedding != options.hidden)
    throw Error("LstmLanguageModel",
                cat("an embedding of ", options.embedding, " cannot be the output's weight after ",
                    options.hidden, " units"),
                "make them equal, or do not tie them");
  embedding = child("embedding", Embedding(options.vocabulary, options.embedding));
  lstm = child("lstm", Lstm(options.embedding, options.hidden,
                            {.layers = options.layers, .batch_first = true, .dropout = options.dropout}));
  if (options.tied) {
    // As a Linear would begin, since it is one.
    const double bound = 1 / std::sqrt(static_cast<double>(options.hidden));
    embedding->weight.set(init::uniform(embedding->weight.shape(), -bound, bound));
  } else {
    output = child("output", Linear(options.hidden, options.vocabulary));
  }
}

LstmLanguageModel::Outputs LstmLanguageModel::forward(const Tensor& tokens, const RecurrentState& state) {
  const auto drop = [&](const Tensor& x) {
    return options_.dropout > 0 && training() ? dropout(x, options_.dropout) : x;
  };
  const RecurrentResult result = lstm(drop(embedding(tokens)), state);
  const Tensor y = drop(result.y);
  return {output ? output(y) : matmul(y, stithy::transpose(embedding->weight)), result.state};
}

Tensor LstmLanguageModel::decode(const Tensor& tokens, DecodeCache& cache) {
  const EvaluationMode evaluation(*this);
  const Shape shape{options_.layers, cache.batch(), options_.hidden};
  const Variable h = cache.state("h", shape, 1), c = cache.state("c", shape, 1);
  const auto [logits, state] = forward(tokens, {h, c});
  cache.keep({assign(h, state.h), assign(c, state.c)});
  return squeeze(slice(logits, 1, logits.dim(1) - 1, logits.dim(1)), 1);
}

}  // namespace stithy::nn

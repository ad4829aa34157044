#include "nn/models/translator.h"

#include <array>
#include <cmath>
#include <memory>

#include "engine/core/error.h"
#include "engine/graph/program.h"
#include "nn/models/blocks.h"

namespace stithy::nn {

Translator::Translator(const TranslatorOptions& options) : dropout_(options.dropout) {
  check_sizes("Translator",
              {options.source_vocabulary, options.target_vocabulary, options.size, options.hidden});
  if (options.shared_embeddings && options.source_vocabulary != options.target_vocabulary)
    throw Error("Translator", cat("vocabularies of ", options.source_vocabulary, " and ",
                                  options.target_vocabulary, " tokens cannot share embeddings"));
  // As the scale asks for that is applied to them.
  const auto make = [&](const char* name, int64_t count) {
    const auto table = child(name, Embedding(count, options.size, options.padding));
    const Array drawn = table->weight.value();
    Array scaled(drawn.shape(), DType::f32);
    const double deviation = 1 / std::sqrt(static_cast<double>(options.size));
    for (int64_t i = 0; i < drawn.numel(); ++i) scaled.set(i, drawn.at(i) * deviation);
    table->weight.set(scaled);
    return table;
  };
  if (options.shared_embeddings) {
    source_embedding = target_embedding = make("embedding", options.source_vocabulary);
  } else {
    source_embedding = make("source_embedding", options.source_vocabulary);
    target_embedding = make("target_embedding", options.target_vocabulary);
  }
  transformer = child(
      "transformer",
      Transformer(options.size, options.heads, options.encoder_layers, options.decoder_layers,
                  {.hidden = options.hidden, .dropout = options.dropout, .norm_first = options.norm_first}));
  if (!options.shared_embeddings) output = child("output", Linear(options.size, options.target_vocabulary));
}

Tensor Translator::embed(const Child<Embedding>& table, const Tensor& tokens) {
  const float scale = std::sqrt(static_cast<float>(table->weight.shape()[1]));
  const Tensor y = SinusoidalPositions()(table(tokens) * scale);
  return training() && dropout_ > 0 ? dropout(y, dropout_) : y;
}

Tensor Translator::encode(const Tensor& source, const Tensor& lengths) {
  const Tensor x = embed(source_embedding, source);
  const ScopeGuard scope("transformer");
  return transformer->encoder(x, Attend{.lengths = lengths});
}

Tensor Translator::decode(const Tensor& states, const Tensor& lengths, const Tensor& target) {
  const Tensor x = embed(target_embedding, target);
  const ScopeGuard scope("transformer");
  return transformer->decoder(x, states, Attend{.causal = true}, Attend{.lengths = lengths});
}

Tensor Translator::logits(const Tensor& decoded) {
  return output ? output(decoded) : matmul(decoded, transpose(target_embedding->weight));
}

Tensor Translator::forward(const Tensor& source, const Tensor& lengths, const Tensor& target) {
  return logits(decode(encode(source, lengths), lengths, target));
}

std::vector<Translation> Translator::translate(const Array& source, const Array& lengths,
                                               const GreedyOptions& options) {
  const EvaluationMode mode(*this);
  const int64_t n = lengths.numel();
  // All steps are one program over as many tokens as there may be; what comes later plays no part.
  Array tokens({n, std::max<int64_t>(1, options.most)}, DType::i32), now({}, DType::i32);
  const Tensor target = input("target", tokens.shape(), DType::i32),
               position = input("position", {}, DType::i32);
  std::unique_ptr<Program> step;
  return decode_greedily("Translator", source, lengths, options, [&](const Array& last, int64_t t) {
    if (!step) {
      Program encoding({encode(source, lengths)});
      encoding.submit();
      const AttentionTrace trace;
      const Tensor decoded = decode(encoding.read(0), lengths, target);
      const Tensor row = reshape(one_hot(position, tokens.shape()[1]), {1, -1});
      const Tensor weights = matmul(row, mean(trace.calls().back().weights, {1}));
      step = std::make_unique<Program>(std::vector{argmax(logits(matmul(row, decoded)), -1), weights});
    }
    for (int64_t i = 0; i < n; ++i) tokens.set(i * tokens.shape()[1] + t, last.at(i));
    now.set(0, static_cast<double>(t));
    step->submit(std::array{Feed{target, &tokens}, Feed{position, &now}});
    return GreedyStep{step->read(0), step->read(1)};
  });
}

}  // namespace stithy::nn

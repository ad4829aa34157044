#include "nn/models/seq2seq.h"

#include <array>
#include <limits>
#include <memory>

#include "engine/core/error.h"
#include "engine/graph/program.h"
#include "nn/models/blocks.h"

namespace stithy::nn {

Seq2Seq::Seq2Seq(const Seq2SeqOptions& options) {
  check_sizes("Seq2Seq", {options.source_vocabulary, options.target_vocabulary, options.embedding,
                          options.hidden, options.layers});
  const int64_t hidden = options.hidden;
  const RecurrentLayers layers{
      .layers = options.layers, .batch_first = true, .dropout = options.layers > 1 ? options.dropout : 0};
  source_embedding =
      child("source_embedding", Embedding(options.source_vocabulary, options.embedding, options.padding));
  encoder = child("encoder", Lstm(options.embedding, hidden, layers));
  target_embedding =
      child("target_embedding", Embedding(options.target_vocabulary, options.embedding, options.padding));
  decoder = child("decoder", Lstm(options.embedding, hidden, layers));
  attention = child("attention", Linear(hidden, hidden, false));
  combine = child("combine", Linear(2 * hidden, hidden, false));
  output = child("output", Linear(hidden, options.target_vocabulary));
  dropout = child("dropout", Dropout(options.dropout));
}

RecurrentResult Seq2Seq::encode(const Tensor& source, const Tensor& lengths) {
  return encoder(dropout(source_embedding(source)), RecurrentState{}, lengths);
}

Seq2Seq::Decoded Seq2Seq::decode(const Tensor& states, const Tensor& lengths, const RecurrentState& state,
                                 const Tensor& target) {
  const RecurrentResult read = decoder(dropout(target_embedding(target)), state);
  Tensor scores = matmul(read.y, transpose(attention(states)));
  if (lengths.defined()) {
    const Tensor seen = less(arange(states.dim(1)), reshape(lengths, {-1, 1, 1}));
    scores = where(seen, scores, full({}, std::numeric_limits<float>::lowest()));
  }
  const Tensor weights = softmax(scores);
  const Tensor context = matmul(weights, states);
  const Tensor combined = tanh(combine(concat(std::vector{context, read.y}, 2)));
  return {{output(dropout(combined)), weights}, read.state};
}

Seq2SeqOutputs Seq2Seq::forward(const Tensor& source, const Tensor& lengths, const Tensor& target) {
  const RecurrentResult encoded = encode(source, lengths);
  return decode(encoded.y, lengths, encoded.state, target).outputs;
}

std::vector<Translation> Seq2Seq::translate(const Array& source, const Array& lengths,
                                            const GreedyOptions& options) {
  const EvaluationMode mode(*this);
  std::array<Array, 2> state;
  std::unique_ptr<Program> step;
  const Tensor last = input("last", {lengths.numel(), 1}, DType::i32);
  std::array<Tensor, 2> inputs;
  return decode_greedily("Seq2Seq", source, lengths, options, [&](const Array& token, int64_t position) {
    if (position == 0) {
      const RecurrentResult encoded = encode(source, lengths);
      Program program({encoded.y, encoded.state.h, encoded.state.c});
      program.submit();
      const Array states = program.read(0);
      state = {program.read(1), program.read(2)};
      inputs = {input("h", state[0].shape()), input("c", state[1].shape())};
      const Decoded next = decode(states, lengths, {inputs[0], inputs[1]}, last);
      step = std::make_unique<Program>(
          std::vector{argmax(next.outputs.logits, -1), next.outputs.weights, next.state.h, next.state.c});
    }
    step->submit(std::array{Feed{last, &token}, Feed{inputs[0], &state[0]}, Feed{inputs[1], &state[1]}});
    state = {step->read(2), step->read(3)};
    return GreedyStep{step->read(0), step->read(1)};
  });
}

}  // namespace stithy::nn

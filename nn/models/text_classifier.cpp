#include "nn/models/text_classifier.h"

#include <utility>

#include "nn/models/blocks.h"
#include "nn/pool.h"

namespace stithy::nn {

TextClassifier::TextClassifier(const char* model, const TextClassifierOptions& options, int64_t features) {
  check_sizes(model, {options.vocabulary, options.size, options.outputs, features});
  Embedding words(options.vocabulary, options.size, 0);
  // Rare words, which learn little, must say little.
  Array vectors = init::uniform({options.vocabulary, options.size}, -0.1, 0.1);
  for (int64_t k = 0; k < options.size; ++k) vectors.set(k, 0);
  words.weight.set(vectors);
  embedding = child("embedding", std::move(words));
  dropout_ = child("dropout", Dropout(options.dropout));
  output = child("output", Linear(features, options.outputs));
}

Tensor TextClassifier::logits(const Tensor& ids, const Tensor& lengths) {
  return output(dropout_(features(dropout_(embedding(ids)), lengths)));
}

MeanTextClassifier::MeanTextClassifier(const TextClassifierOptions& options)
    : TextClassifier("MeanTextClassifier", options, options.size) {}

Tensor MeanTextClassifier::features(const Tensor& words, const Tensor& lengths) {
  return mean_over_time(words, lengths);
}

Array MeanTextClassifier::word_weights() const {
  return matmul(embedding->weight, transpose(output->weight)).eval();
}

LstmTextClassifier::LstmTextClassifier(const TextClassifierOptions& options, int64_t hidden)
    : TextClassifier("LstmTextClassifier", options, hidden) {
  lstm = child("lstm", Lstm(options.size, hidden, {.batch_first = true}));
}

Tensor LstmTextClassifier::features(const Tensor& words, const Tensor& lengths) {
  return squeeze(lstm(words, RecurrentState{}, lengths).state.h, 0);
}

TextCnn::TextCnn(const TextClassifierOptions& options, int64_t filters, const std::vector<int64_t>& widths)
    : TextClassifier("TextCnn", options, filters * static_cast<int64_t>(widths.size())) {
  for (const int64_t width : widths)
    convs.push_back(child(cat("conv", width), Conv1d(options.size, filters, {width}, {.same = true})));
}

Tensor TextCnn::features(const Tensor& words, const Tensor& lengths) {
  const Tensor x = transpose(words, 1, 2);
  std::vector<Tensor> found;
  for (const Child<Conv1d>& conv : convs)
    found.push_back(max_over_time(transpose(relu(conv(x)), 1, 2), lengths));
  return concat(found, 1);
}

}  // namespace stithy::nn

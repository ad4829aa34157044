// Classifiers of texts, from the simplest on. ids i32 [n, t] are words, of which 0 is padding, and lengths
// i32 [n] (undefined: all are t) the words of each text; what stands beyond them counts for nothing. The
// result is logits [n, outputs]: one output is for two classes, by its sigmoid.
#pragma once

#include <vector>

#include "nn/conv.h"
#include "nn/layers.h"
#include "nn/recurrent.h"

namespace stithy::nn {

struct TextClassifierOptions {
  int64_t vocabulary = 10000;
  int64_t size = 64;  // of a word's vector
  int64_t outputs = 1;
  float dropout = 0.5f;  // of the words' vectors and of a text's features, in training
};

// What they share: vectors of words, which start uniform in +-0.1, become the features of a text, from which
// a linear layer tells the class.
class TextClassifier : public Module {
 public:
  Tensor forward(const Tensor& ids) override { return logits(ids); }
  Tensor logits(const Tensor& ids, const Tensor& lengths = {});

  Child<Embedding> embedding;
  Child<Linear> output;

 protected:
  // Throws Error, named `model`, for sizes below 1. Subclasses register what is between the two.
  TextClassifier(const char* model, const TextClassifierOptions& options, int64_t features);
  // words [n, t, size] -> [n, features].
  virtual Tensor features(const Tensor& words, const Tensor& lengths) = 0;

 private:
  Child<Dropout> dropout_;
};

// The mean of the words' vectors (Joulin et al. 2017, "Bag of Tricks for Efficient Text Classification").
class MeanTextClassifier : public TextClassifier {
 public:
  explicit MeanTextClassifier(const TextClassifierOptions& options = {});
  std::string describe() const override { return "MeanTextClassifier"; }
  // What each word adds to the logits, before the division by the number of words: f32 [vocabulary, outputs].
  Array word_weights() const;

 protected:
  Tensor features(const Tensor& words, const Tensor& lengths) override;
};

// The state of an LSTM after the last word.
class LstmTextClassifier : public TextClassifier {
 public:
  explicit LstmTextClassifier(const TextClassifierOptions& options = {}, int64_t hidden = 64);
  std::string describe() const override { return "LstmTextClassifier"; }
  Child<Lstm> lstm;

 protected:
  Tensor features(const Tensor& words, const Tensor& lengths) override;
};

// Convolutions over several neighbouring words, and the largest value of each over time (Kim 2014,
// "Convolutional Neural Networks for Sentence Classification"); zeros stand beyond both ends.
class TextCnn : public TextClassifier {
 public:
  explicit TextCnn(const TextClassifierOptions& options = {}, int64_t filters = 64,
                   const std::vector<int64_t>& widths = {3, 4, 5});
  std::string describe() const override { return "TextCnn"; }
  std::vector<Child<Conv1d>> convs;

 protected:
  Tensor features(const Tensor& words, const Tensor& lengths) override;
};

}  // namespace stithy::nn

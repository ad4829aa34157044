// A language model of LSTMs (Mikolov et al. 2010; Zaremba et al. 2014).
#pragma once

#include "nn/generate.h"
#include "nn/layers.h"
#include "nn/recurrent.h"

namespace stithy::nn {

struct LstmLanguageModelOptions {
  int64_t vocabulary = 8000;
  int64_t embedding = 128, hidden = 128, layers = 2;
  float dropout = 0;  // of embeddings, between layers, and of the last one's outputs
  // The output's weight is that of the embedding (Press and Wolf 2017), whose size is then `hidden`.
  bool tied = false;
};

// Tokens i32 [n, t] -> logits [n, t, vocabulary]: embedding, lstm, output.
class LstmLanguageModel : public Module, public LanguageModel {
 public:
  // Throws Error for sizes below 1, and where the weights are tied for an embedding of another size.
  explicit LstmLanguageModel(const LstmLanguageModelOptions& options = {});
  Tensor forward(const Tensor& tokens) override { return forward(tokens, {}).logits; }
  struct Outputs {
    Tensor logits;
    RecurrentState state;
  };
  Outputs forward(const Tensor& tokens, const RecurrentState& state);
  std::string describe() const override { return "LstmLanguageModel"; }

  int64_t vocabulary() const override { return options_.vocabulary; }
  int64_t context() const override { return 0; }
  Tensor decode(const Tensor& tokens, DecodeCache& cache) override;

  Child<Embedding> embedding;
  Child<Lstm> lstm;
  Child<Linear> output;

 private:
  LstmLanguageModelOptions options_;
};

}  // namespace stithy::nn

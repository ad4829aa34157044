// BERT (Devlin et al. 2018, "BERT: Pre-training of Deep Bidirectional Transformers for Language
// Understanding") and its heads. Parameters have the names of Hugging Face's models of the same names.
#pragma once

#include "nn/layers.h"
#include "nn/norm.h"

namespace stithy::nn {

struct BertOptions {
  int64_t vocabulary = 30522, positions = 512, types = 2;
  int64_t size = 768, layers = 12, heads = 12, hidden = 3072;
  float dropout = 0.1f;            // of embeddings and of what each block adds
  float attention_dropout = 0.1f;  // of the probabilities
  float epsilon = 1e-12f;          // of layer norms
  // The deviation of matrices and embeddings in the beginning. A small network needs more: 0.1 at size 64.
  float initializer_range = 0.02f;
  int32_t padding = 0;
};

struct BertInputs {
  Tensor ids;      // i32 [n, t]
  Tensor lengths;  // i32 [n]: so many are no padding (undefined: all are t)
  Tensor types;    // i32 [n, t]: 0 for the first text, 1 for the second (undefined: zeros)
};

// embeddings.{word_embeddings, position_embeddings, token_type_embeddings, LayerNorm}, encoder.layer.0.
// {attention.self.{query, key, value}, attention.output.{dense, LayerNorm}, intermediate.dense,
// output.{dense, LayerNorm}}, encoder.layer.1 ..., and pooler.dense.
//
//   size, layers       768, 12 (base)   1024, 24 (large)
//   parameters            109,482,240        335,141,888
class BertModel : public Module {
 public:
  // Throws Error for sizes below 1, heads that do not divide the size and a dropout that is not in [0, 1).
  explicit BertModel(const BertOptions& options = {}, bool pooler = true);
  // The last layer's states [n, t, size]. Throws Error for a text of more than `positions` tokens.
  Tensor forward(const BertInputs& x);
  Tensor forward(const Tensor& ids) override { return forward(BertInputs{.ids = ids}); }
  // What tells of a whole text: tanh(pooler.dense(the first token's state)), [n, size]. Throws Error where
  // there is no pooler.
  Tensor pooled(const Tensor& states);
  // The same parameters with a pooler, a new one where there is none, or without.
  BertModel with_pooler(bool on) const;
  const Variable& word_embeddings() const;
  std::string describe() const override;
  const BertOptions& options() const { return options_; }

 private:
  struct Embeddings;
  struct Layers;
  struct Pooler;
  BertOptions options_;
  Child<Embeddings> embeddings_;
  Child<Layers> encoder_;
  Child<Pooler> pooler_;
};

// Which token stands at each place: logits [n, t, vocabulary] by the words' own embeddings, after
// cls.predictions.transform.{dense, LayerNorm}, with cls.predictions.bias. nn/text/masking.h makes the inputs
// and the targets.
class BertForMaskedLM : public Module {
 public:
  explicit BertForMaskedLM(const BertOptions& options = {});
  // On top of `model`, whose parameters it shares; a pooler is left out.
  explicit BertForMaskedLM(const BertModel& model);
  Tensor forward(const BertInputs& x);
  Tensor forward(const Tensor& ids) override { return forward(BertInputs{.ids = ids}); }
  std::string describe() const override { return "BertForMaskedLM"; }
  Child<BertModel> bert;

 private:
  struct Predictions;
  struct Heads;
  Child<Heads> cls_;
};

// The class of a text, or of two: logits [n, classes] of the pooled state.
class BertForSequenceClassification : public Module {
 public:
  BertForSequenceClassification(const BertOptions& options, int64_t classes);
  // On top of `model`, whose parameters it shares; it gets a pooler where it has none.
  BertForSequenceClassification(const BertModel& model, int64_t classes);
  Tensor forward(const BertInputs& x);
  Tensor forward(const Tensor& ids) override { return forward(BertInputs{.ids = ids}); }
  std::string describe() const override { return "BertForSequenceClassification"; }
  Child<BertModel> bert;
  Child<Linear> classifier;

 private:
  Child<Dropout> dropout_;
};

// Where in a text the answer to a question begins, and where it ends.
class BertForQuestionAnswering : public Module {
 public:
  explicit BertForQuestionAnswering(const BertOptions& options = {});
  explicit BertForQuestionAnswering(const BertModel& model);
  struct Outputs {
    Tensor start, end;  // logits [n, t]
  };
  Outputs forward(const BertInputs& x);
  std::string describe() const override { return "BertForQuestionAnswering"; }
  Child<BertModel> bert;
  Child<Linear> qa_outputs;

 private:
  using Module::forward;
};

}  // namespace stithy::nn

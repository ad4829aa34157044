// Sequence to sequence with LSTMs (Sutskever et al. 2014) and the global attention of Luong et al. 2015,
// "Effective Approaches to Attention-based Neural Machine Translation".
#pragma once

#include "nn/layers.h"
#include "nn/models/translation.h"
#include "nn/recurrent.h"

namespace stithy::nn {

struct Seq2SeqOptions {
  int64_t source_vocabulary = 8000, target_vocabulary = 8000;
  int64_t embedding = 256, hidden = 256, layers = 1;
  float dropout = 0;    // of embeddings, between layers, and of what the output takes
  int32_t padding = 0;  // the token that fills up, in both vocabularies
};

struct Seq2SeqOutputs {
  Tensor logits;   // [n, t, target_vocabulary]
  Tensor weights;  // [n, t, s]: how much each target token looks at those of the source
};

// The encoder's states s_j and the decoder's h_t (section 3.1): weights a_t = softmax_j(h_t . W s_j) (the
// "general" score), logits = V tanh(C [sum_j a_tj s_j; h_t]) + b. The decoder starts in the encoder's last
// state. There is no input feeding (section 3.3), so that all positions are one product.
//
// source i32 [n, s], lengths i32 [n] (undefined: all are s), target i32 [n, t]: what the decoder reads, the
// token `begin` first. The loss, the caller's, is of the logits with what comes next.
class Seq2Seq : public Module {
 public:
  // Throws Error for sizes below 1 and a padding that is not in both vocabularies.
  explicit Seq2Seq(const Seq2SeqOptions& options = {});
  Seq2SeqOutputs forward(const Tensor& source, const Tensor& lengths, const Tensor& target);
  std::string describe() const override { return "Seq2Seq"; }

  // The encoder's states [n, s, hidden] and its last one.
  RecurrentResult encode(const Tensor& source, const Tensor& lengths = {});
  struct Decoded {
    Seq2SeqOutputs outputs;
    RecurrentState state;
  };
  Decoded decode(const Tensor& states, const Tensor& lengths, const RecurrentState& state,
                 const Tensor& target);
  // source i32 [n, s], lengths i32 [n]; in evaluation mode.
  std::vector<Translation> translate(const Array& source, const Array& lengths,
                                     const GreedyOptions& options = {});

  Child<Embedding> source_embedding, target_embedding;
  Child<Lstm> encoder, decoder;
  Child<Linear> attention, combine, output;
  Child<Dropout> dropout;

 private:
  using Module::forward;
};

}  // namespace stithy::nn

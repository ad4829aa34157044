// The encoder-decoder Transformer of Vaswani et al. 2017, "Attention Is All You Need", from tokens to tokens.
#pragma once

#include "nn/layers.h"
#include "nn/models/translation.h"
#include "nn/position.h"
#include "nn/transformer.h"

namespace stithy::nn {

struct TranslatorOptions {
  int64_t source_vocabulary = 8000, target_vocabulary = 8000;
  int64_t size = 512, heads = 8, encoder_layers = 6, decoder_layers = 6, hidden = 2048;
  float dropout = 0.1f;
  bool norm_first = false;
  // One matrix embeds both languages and makes the logits (section 3.4): with one vocabulary for both.
  // Otherwise each language has its own, and the output, too.
  bool shared_embeddings = false;
  int32_t padding = 0;  // the token that fills up, in both vocabularies
};

// source i32 [n, s], lengths i32 [n] (undefined: all are s), target i32 [n, t]: what the decoder reads, the
// token `begin` first -> logits [n, t, target_vocabulary]. The loss, the caller's, is of the logits with what
// comes next; the paper smooths its labels by 0.1. Embeddings are scaled by sqrt(size), and sinusoidal
// positions added.
class Translator : public Module {
 public:
  // Throws Error for sizes below 1, and for shared embeddings of two vocabularies.
  explicit Translator(const TranslatorOptions& options = {});
  Tensor forward(const Tensor& source, const Tensor& lengths, const Tensor& target);
  std::string describe() const override { return "Translator"; }

  // The encoder's states [n, s, size], and the decoder's [n, t, size], which `logits` maps.
  Tensor encode(const Tensor& source, const Tensor& lengths = {});
  Tensor decode(const Tensor& states, const Tensor& lengths, const Tensor& target);
  Tensor logits(const Tensor& decoded);
  // source i32 [n, s], lengths i32 [n]; in evaluation mode. The weights are those of the last layer, the mean
  // of its heads.
  std::vector<Translation> translate(const Array& source, const Array& lengths,
                                     const GreedyOptions& options = {});

  Child<Embedding> source_embedding, target_embedding;  // one and the same where they are shared
  Child<Transformer> transformer;
  Child<Linear> output;  // none where embeddings are shared

 private:
  using Module::forward;
  Tensor embed(const Child<Embedding>& embedding, const Tensor& tokens);
  float dropout_;
};

}  // namespace stithy::nn

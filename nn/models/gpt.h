// GPT-2 (Radford et al. 2019, "Language Models are Unsupervised Multitask Learners"). Parameters have the
// names of Hugging Face's GPT2LMHeadModel: "transformer.h.0.attn.c_attn.weight".
#pragma once

#include "nn/generate.h"
#include "nn/layers.h"
#include "nn/norm.h"

namespace stithy::nn {

// y = x w + b: a Linear whose weight [in, out] stands the other way, as Hugging Face's Conv1D.
struct Conv1D : Projection {
  Conv1D(int64_t in, int64_t out) : Projection("Conv1D", in, out, true, Layout::in_out) {}
};

struct GptOptions {
  int64_t vocabulary = 50257;
  int64_t context = 1024;  // the most tokens of a sequence
  int64_t layers = 12, heads = 12, width = 768;
  float dropout = 0;  // of embeddings, attention and what blocks add; GPT-2 was trained with 0.1
  float epsilon = 1e-5f;
  stithy::Gelu gelu = stithy::Gelu::tanh;

  // The four of the paper: 124, 355, 774 and 1558 million parameters.
  static GptOptions small() { return {}; }
  static GptOptions medium() { return {.layers = 24, .heads = 16, .width = 1024}; }
  static GptOptions large() { return {.layers = 36, .heads = 20, .width = 1280}; }
  static GptOptions xl() { return {.layers = 48, .heads = 25, .width = 1600}; }
};

// Causal attention of a sequence to itself: c_attn (queries, keys and values), c_proj.
class GptAttention : public Module {
 public:
  explicit GptAttention(const GptOptions& options);
  // x [n, t, width]. With a cache, x are the tokens that follow those in it, and `layer` is its name there.
  Tensor forward(const Tensor& x, DecodeCache* cache, const std::string& layer);
  std::string describe() const override { return "GptAttention"; }
  Child<Conv1D> c_attn, c_proj;

 private:
  using Module::forward;
  GptOptions options_;
};

// c_fc, GELU, c_proj.
class GptMlp : public Module {
 public:
  explicit GptMlp(const GptOptions& options);
  Tensor forward(const Tensor& x) override;
  std::string describe() const override { return "GptMlp"; }
  Child<Conv1D> c_fc, c_proj;

 private:
  GptOptions options_;
};

// x + attn(ln_1 x), then x + mlp(ln_2 x).
class GptBlock : public Module {
 public:
  explicit GptBlock(const GptOptions& options);
  Tensor forward(const Tensor& x, DecodeCache* cache, const std::string& layer);
  std::string describe() const override { return "GptBlock"; }
  Child<LayerNorm> ln_1, ln_2;
  Child<GptAttention> attn;
  Child<GptMlp> mlp;

 private:
  using Module::forward;
};

// Tokens i32 [n, t] -> logits [n, t, vocabulary]. The output's weight is that of the token embedding. Weights
// begin normal with deviation 0.02, those at the end of a block 0.02 / sqrt(2 layers).
class Gpt : public Module, public LanguageModel {
 public:
  // Throws Error for sizes below 1, heads that do not divide the width and a dropout out of [0, 1).
  explicit Gpt(const GptOptions& options = {});
  Tensor forward(const Tensor& tokens) override;
  // What the output's weight is multiplied with: [n, t, width].
  Tensor features(const Tensor& tokens, DecodeCache* cache = nullptr);
  // The mean cross entropy with targets i32 [n, t], of which -100 counts for nothing. Where the vocabulary is
  // large all logits are never there at once (LinearCrossEntropy).
  Tensor loss(const Tensor& tokens, const Tensor& targets);
  std::string describe() const override;

  int64_t vocabulary() const override { return options_.vocabulary; }
  int64_t context() const override { return options_.context; }
  Tensor decode(const Tensor& tokens, DecodeCache& cache) override;
  const GptOptions& options() const { return options_; }

  // transformer.wte [vocabulary, width], transformer.wpe [context, width], transformer.h.0 ...,
  // transformer.ln_f.
  struct Transformer : Module {
    explicit Transformer(const GptOptions& options);
    std::string describe() const override { return "GptTransformer"; }
    Child<Embedding> wte, wpe;
    std::vector<Child<GptBlock>> blocks;
    Child<LayerNorm> ln_f;

    // features(), under this module's name.
    Tensor forward(const Tensor& tokens, DecodeCache* cache);
    using Module::forward;
    float dropout;
  };
  Child<Transformer> transformer;

 private:
  GptOptions options_;
};

}  // namespace stithy::nn

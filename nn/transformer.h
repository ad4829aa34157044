// Transformers (Vaswani et al. 2017). Parameters have PyTorch's names, shapes and default initial values.
// Sequences are [n, t, size], batch first.
#pragma once

#include "nn/attention.h"
#include "nn/norm.h"

namespace stithy::nn {

struct TransformerOptions {
  int64_t hidden = 2048;  // of the feed-forward network
  float dropout = 0.1f;
  enum class Activation : uint8_t { relu, gelu } activation = Activation::relu;
  bool norm_first = false;  // normalise what goes into a block (Xiong et al. 2020), not what comes out
  float epsilon = 1e-5f;
};

// self_attn, linear1, linear2, norm1, norm2.
class TransformerEncoderLayer : public Module {
 public:
  TransformerEncoderLayer(int64_t size, int64_t heads, const TransformerOptions& options = {});
  Tensor forward(const Tensor& x, const Attend& attend);
  Tensor forward(const Tensor& x) override { return forward(x, {}); }
  std::string describe() const override { return "TransformerEncoderLayer"; }

 private:
  TransformerOptions options_;
  Child<MultiHeadAttention> self_attn_;
  Child<Linear> linear1_, linear2_;
  Child<LayerNorm> norm1_, norm2_;
};

// self_attn, multihead_attn (to the encoder's output), linear1, linear2, norm1, norm2, norm3.
class TransformerDecoderLayer : public Module {
 public:
  TransformerDecoderLayer(int64_t size, int64_t heads, const TransformerOptions& options = {});
  // x [n, t, size], memory [n, s, size]. A decoder that generates needs self.causal.
  Tensor forward(const Tensor& x, const Tensor& memory, const Attend& self = {}, const Attend& cross = {});
  std::string describe() const override { return "TransformerDecoderLayer"; }

 private:
  using Module::forward;
  TransformerOptions options_;
  Child<MultiHeadAttention> self_attn_, multihead_attn_;
  Child<Linear> linear1_, linear2_;
  Child<LayerNorm> norm1_, norm2_, norm3_;
};

// Layers of one kind one after another, "layers.0", "layers.1", ...; then `norm`, if there is to be one.
// Unlike PyTorch's, which are copies of one layer, each has initial values of its own.
template <class Layer>
class TransformerStack : public Module {
 protected:
  TransformerStack(int64_t size, int64_t heads, int64_t layers, bool final_norm,
                   const TransformerOptions& options);
  template <class... Arguments>
  Tensor run(Tensor x, const Arguments&... arguments) const {
    {
      const ScopeGuard scope("layers");
      for (const Child<Layer>& layer : layers_) x = layer(x, arguments...);
    }
    return norm_ ? norm_(x) : x;
  }

 private:
  std::vector<Child<Layer>> layers_;
  Child<LayerNorm> norm_;
};
class TransformerEncoder : public TransformerStack<TransformerEncoderLayer> {
 public:
  TransformerEncoder(int64_t size, int64_t heads, int64_t layers, bool final_norm = false,
                     const TransformerOptions& options = {})
      : TransformerStack(size, heads, layers, final_norm, options) {}
  Tensor forward(const Tensor& x, const Attend& attend) { return run(x, attend); }
  Tensor forward(const Tensor& x) override { return forward(x, {}); }
  std::string describe() const override { return "TransformerEncoder"; }
};
class TransformerDecoder : public TransformerStack<TransformerDecoderLayer> {
 public:
  TransformerDecoder(int64_t size, int64_t heads, int64_t layers, bool final_norm = false,
                     const TransformerOptions& options = {})
      : TransformerStack(size, heads, layers, final_norm, options) {}
  Tensor forward(const Tensor& x, const Tensor& memory, const Attend& self = {}, const Attend& cross = {}) {
    return run(x, memory, self, cross);
  }
  std::string describe() const override { return "TransformerDecoder"; }

 private:
  using Module::forward;
};

struct TransformerAttend {
  Attend source, target, memory;  // of the encoder, of the decoder to itself, of the decoder to the source
};
// encoder and decoder, each with a norm in the end. Matrices begin as Glorot and Bengio's (2010).
class Transformer : public Module {
 public:
  Transformer(int64_t size = 512, int64_t heads = 8, int64_t encoder_layers = 6, int64_t decoder_layers = 6,
              const TransformerOptions& options = {});
  // source [n, s, size], target [n, t, size] -> [n, t, size].
  Tensor forward(const Tensor& source, const Tensor& target, const TransformerAttend& attend = {});
  std::string describe() const override { return "Transformer"; }
  Child<TransformerEncoder> encoder;
  Child<TransformerDecoder> decoder;

 private:
  using Module::forward;
};

// A feed-forward network whose hidden layer is gated (Shazeer 2020): y = down_proj(f(gate_proj x) up_proj x),
// f being SiLU for SwiGLU and GELU for GEGLU. Names as in LLaMA's weights at Hugging Face.
class GatedFeedForward : public Module {
 public:
  enum class Gate : uint8_t { swiglu, geglu };
  GatedFeedForward(int64_t size, int64_t hidden, Gate gate = Gate::swiglu, bool bias = false);
  Tensor forward(const Tensor& x) override;
  std::string describe() const override;

 private:
  Gate gate_;
  Child<Linear> gate_proj_, up_proj_, down_proj_;
};

}  // namespace stithy::nn

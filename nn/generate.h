// Generating text, token by token, with a language model. What the model keeps of the tokens that it has seen
// stays on the device, and each token is one replay of a recorded program.
//
//   nn::TextGenerator generator(gpt);
//   const auto ids = generator.generate(tokenizer->encode("Once"), {.tokens = 200, .top_k = 40});
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/core/rng.h"
#include "engine/graph/variable.h"
#include "engine/ops_sequence.h"

namespace stithy::nn {

// What a model keeps of `batch` sequences that grow side by side, in variables: keys and values, or a state.
class DecodeCache {
 public:
  // Of sequences of up to `capacity` tokens. Throws Error for sizes below 1.
  DecodeCache(int64_t batch, int64_t capacity);
  int64_t batch() const { return batch_; }
  int64_t capacity() const { return capacity_; }
  // The tokens that it has seen, i32 [].
  const Variable& position() const { return position_; }
  // A variable of the cache, f32, which begins as zeros; `batch_axis` is that of the sequences.
  const Variable& state(const std::string& name, const Shape& shape, int batch_axis = 0);
  // Keys and values [batch, kv_heads, t, d] of t new tokens are kept as those of `layer`; then their queries
  // [batch, heads, t, d] attend to all that was kept, causally, and to the last `window` (0: to all).
  Tensor attend(const std::string& layer, const Tensor& q, const Tensor& k, const Tensor& v,
                int64_t window = 0);
  // Updates of the cache, for the program that is being built, beside those of attend().
  void keep(std::vector<Tensor> updates);
  // Hands out those updates, and one after which t more tokens have been seen.
  std::vector<Tensor> advance(int64_t t);
  // Updates after which sequence i is what sequence order[i] was; order i32 [batch].
  std::vector<Tensor> reorder(const Tensor& order) const;
  void clear();

 private:
  struct State {
    std::string name;
    Variable variable;
    int batch_axis;
  };
  int64_t batch_, capacity_;
  Variable position_;
  std::vector<State> states_;
  std::vector<Tensor> updates_;
};

// What a model has to be able to do for TextGenerator.
class LanguageModel {
 public:
  virtual ~LanguageModel() = default;
  virtual int64_t vocabulary() const = 0;
  // The most tokens that a sequence may have, or 0 where there is no limit.
  virtual int64_t context() const = 0;
  // Logits [n, vocabulary] of what follows tokens i32 [n, t], which follow what the cache has seen; in
  // evaluation, whatever the model's mode.
  virtual Tensor decode(const Tensor& tokens, DecodeCache& cache) = 0;
};

struct GenerateOptions {
  int64_t tokens = 100;   // to make, at most
  float temperature = 1;  // logits are divided by it; 0: the likeliest token
  int64_t top_k = 0;      // only the k likeliest tokens (Fan et al. 2018); 0: all
  float top_p = 1;        // only the likeliest whose probabilities reach p together (Holtzman et al. 2020)
  float repetition_penalty = 1;     // of tokens that were there: logits above 0 are divided by it, others
                                    // multiplied (Keskar et al. 2019)
  int64_t beams = 1;                // above 1: beam search, without chance
  float length_penalty = 1;         // beams end with log p / length^penalty
  std::optional<int32_t> end = {};  // the token that ends a text; it is not handed out
  uint64_t seed = 0;
  // Told of each token as it is made, without beams; false stops.
  std::function<bool(int32_t token)> on_token = {};
};

// The next token by `options`, given the logits and the tokens so far. Where logits are equal the first wins.
// Throws Error for options out of range and for logits of which none is finite.
int32_t next_token(std::span<const float> logits, std::span<const int32_t> tokens,
                   const GenerateOptions& options, Philox& random);

class TextGenerator {
 public:
  // `context` is how many tokens a sequence may have; 0: what the model allows, at most 1024. The model must
  // outlive the generator.
  explicit TextGenerator(LanguageModel& model, int64_t context = 0);
  ~TextGenerator();
  // The tokens that follow `prompt`, which has at least one. A text that outgrows the context goes on from
  // its last half. Throws Error for tokens that are not in the vocabulary and options out of range, and with
  // beams for more tokens than the context holds.
  std::vector<int32_t> generate(std::span<const int32_t> prompt, const GenerateOptions& options = {});

 private:
  struct Decoder;
  Decoder& decoder(int64_t batch);
  std::vector<int32_t> sample(std::span<const int32_t> prompt, const GenerateOptions& options);
  std::vector<int32_t> beam_search(std::span<const int32_t> prompt, const GenerateOptions& options);

  LanguageModel& model_;
  int64_t context_;
  std::vector<std::unique_ptr<Decoder>> decoders_;  // by batch
};

}  // namespace stithy::nn

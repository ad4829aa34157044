// Greedy decoding, for models that make sequences of sequences: each token is the likeliest one after those
// before it.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "engine/core/array.h"

namespace stithy::nn {

struct GreedyOptions {
  int32_t begin = 1, end = 2;  // the tokens before the first and after the last one
  int64_t most = 50;           // tokens, the end included
};

struct Translation {
  std::vector<int32_t> tokens;  // without begin and end
  // f32 [rows, source tokens]: how much the model looked at each token of the source when it made a token,
  // and the end, where it came. Rows sum to 1.
  Array weights;
};

// One step for the whole batch: with each element's last token, i32 [n, 1], to the next one, i32 [n] or
// [n, 1], and its row of weights, f32 [n, 1, s]. `position` counts the steps from 0.
struct GreedyStep {
  Array tokens, weights;
};
using NextTokens = std::function<GreedyStep(const Array& last, int64_t position)>;
// source i32 [n, s], lengths i32 [n]. Throws Error, named `model`, for other shapes and types, for lengths
// that are not from 1 to s and for less than one token.
std::vector<Translation> decode_greedily(const char* model, const Array& source, const Array& lengths,
                                         const GreedyOptions& options, const NextTokens& next);

}  // namespace stithy::nn

// The inputs and targets of masked language modelling (Devlin et al. 2018, section 3.1).
#pragma once

#include <cstdint>
#include <vector>

#include "engine/core/array.h"
#include "engine/core/rng.h"

namespace stithy {

struct MaskingOptions {
  int64_t vocabulary = 0;             // tokens in all
  int32_t mask = 0;                   // the token [MASK]
  std::vector<int32_t> special;       // [CLS], [SEP], [PAD] ...: never chosen, and no random token is one
  double chosen = 0.15;               // the share of tokens that are to be found out
  double masked = 0.8, random = 0.1;  // of these, what becomes [MASK] or another token; the rest stays
};

// Changes ids, i32 [n, t], and returns the targets, i32 [n, t]: the token where one was chosen, kIgnoreIndex
// elsewhere. Each token is chosen by itself; in a row where none was, one is, if there is one to choose.
// Equal generators give equal results: in LoaderOptions::transform every epoch masks other tokens. Throws
// Error for shares out of range, a [MASK] or an id that is not in the vocabulary, and a vocabulary of special
// tokens alone.
Array mask_tokens(Array& ids, const MaskingOptions& options, Philox& random);

}  // namespace stithy

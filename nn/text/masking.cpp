#include "nn/text/masking.h"

#include "engine/core/error.h"
#include "nn/data/dataset.h"

namespace stithy {

Array mask_tokens(Array& ids, const MaskingOptions& options, Philox& random) {
  const char* name = "mask_tokens";
  const auto share = [](double value) { return value >= 0 && value <= 1; };
  if (!share(options.chosen) || !share(options.masked) || !share(options.random) ||
      options.masked + options.random > 1)
    throw Error(name, cat("the shares chosen ", options.chosen, ", masked ", options.masked, " and random ",
                          options.random, " are not in [0, 1]"));
  const auto known = [&](int32_t id) { return id >= 0 && id < options.vocabulary; };
  if (!known(options.mask))
    throw Error(name, cat("the mask ", options.mask, " is not in a vocabulary of ", options.vocabulary));
  if (ids.shape().rank() != 2 || ids.dtype() != DType::i32)
    throw Error(name, cat("the ids are ", ids.dtype(), " ", ids.shape(), ", not i32 [n, t]"));

  std::vector<bool> special(static_cast<size_t>(options.vocabulary));
  special[static_cast<size_t>(options.mask)] = true;
  for (const int32_t id : options.special)
    if (known(id)) special[static_cast<size_t>(id)] = true;
  std::vector<int32_t> words;
  for (int32_t id = 0; id < options.vocabulary; ++id)
    if (!special[static_cast<size_t>(id)]) words.push_back(id);
  if (words.empty()) throw Error(name, "all tokens of the vocabulary are special");

  Array targets(ids.shape(), DType::i32);
  const auto in = ids.values<int32_t>(), out = targets.values<int32_t>();
  const auto columns = static_cast<size_t>(ids.shape()[1]);
  const auto mask = [&](size_t i) {
    out[i] = in[i];
    const double draw = random.uniform();
    if (draw < options.masked)
      in[i] = options.mask;
    else if (draw < options.masked + options.random)
      in[i] = words[random.below(words.size())];
  };
  for (size_t row = 0; row < in.size(); row += columns) {
    std::vector<size_t> candidates;
    bool any = false;
    for (size_t i = row; i < row + columns; ++i) {
      out[i] = kIgnoreIndex;
      if (!known(in[i]))
        throw Error(name, cat("the id ", in[i], " is not in a vocabulary of ", options.vocabulary));
      if (!special[static_cast<size_t>(in[i])]) candidates.push_back(i);
    }
    for (const size_t i : candidates)
      if (random.uniform() < options.chosen) {
        mask(i);
        any = true;
      }
    if (!any && !candidates.empty() && options.chosen > 0) mask(candidates[random.below(candidates.size())]);
  }
  return targets;
}

}  // namespace stithy

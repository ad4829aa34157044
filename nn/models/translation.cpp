#include "nn/models/translation.h"

#include "engine/core/error.h"

namespace stithy::nn {

std::vector<Translation> decode_greedily(const char* model, const Array& source, const Array& lengths,
                                         const GreedyOptions& options, const NextTokens& next) {
  if (source.shape().rank() != 2 || source.dtype() != DType::i32 || lengths.dtype() != DType::i32 ||
      lengths.shape() != Shape{source.shape()[0]})
    throw Error(model, cat("the source is ", source.dtype(), " ", source.shape(), " with lengths ",
                           lengths.dtype(), " ", lengths.shape(), ", not i32 [n, s] with i32 [n]"));
  const int64_t n = source.shape()[0], s = source.shape()[1];
  for (const int32_t length : lengths.values<int32_t>())
    if (length < 1 || length > s) throw Error(model, cat("a length of ", length, " is not from 1 to ", s));
  if (options.most < 1) throw Error(model, cat("decoding makes at least 1 token, not ", options.most));

  std::vector<Translation> translations(static_cast<size_t>(n));
  std::vector<std::vector<float>> rows(static_cast<size_t>(n));
  std::vector<bool> ended(static_cast<size_t>(n));
  Array last({n, 1}, DType::i32);
  for (int32_t& token : last.values<int32_t>()) token = options.begin;
  int64_t left = n;
  for (int64_t position = 0; position < options.most && left > 0; ++position) {
    const GreedyStep step = next(last, position);
    for (size_t i = 0; i < translations.size(); ++i) {
      if (ended[i]) continue;
      const auto index = static_cast<int64_t>(i);
      const auto token = static_cast<int32_t>(step.tokens.at(index));
      const auto weights = step.weights.values<float>().subspan(i * static_cast<size_t>(s));
      rows[i].insert(rows[i].end(), weights.begin(), weights.begin() + lengths.values<int32_t>()[i]);
      if (token == options.end) {
        ended[i] = true;
        --left;
      } else {
        translations[i].tokens.push_back(token);
        last.set(index, token);
      }
    }
  }
  for (size_t i = 0; i < translations.size(); ++i) {
    const int64_t length = lengths.values<int32_t>()[i];
    translations[i].weights =
        Array({static_cast<int64_t>(rows[i].size()) / length, length}, std::span<const float>(rows[i]));
  }
  return translations;
}

}  // namespace stithy::nn

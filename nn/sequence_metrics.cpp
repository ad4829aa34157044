#include "nn/sequence_metrics.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <map>
#include <numeric>
#include <utility>

#include "engine/core/error.h"
#include "nn/metrics.h"

namespace stithy {
namespace {

using Words = std::vector<std::string_view>;

double ratio(int64_t part, int64_t whole) { return static_cast<double>(part) / static_cast<double>(whole); }

Words words_of(std::string_view text) {
  constexpr const char* kSpace = " \t\r\n";
  Words words;
  for (size_t at = text.find_first_not_of(kSpace); at != text.npos; at = text.find_first_not_of(kSpace, at)) {
    const size_t end = std::min(text.find_first_of(kSpace, at), text.size());
    words.push_back(text.substr(at, end - at));
    at = end;
  }
  return words;
}

std::map<Words, int64_t> ngrams(const Words& words, size_t n) {
  std::map<Words, int64_t> counts;
  for (size_t i = 0; i + n <= words.size(); ++i)
    ++counts[Words(words.begin() + static_cast<long>(i), words.begin() + static_cast<long>(i + n))];
  return counts;
}

}  // namespace

int64_t edit_distance(std::span<const int32_t> a, std::span<const int32_t> b) {
  std::vector<int64_t> row(b.size() + 1);  // from a's beginning so far to each beginning of b
  std::iota(row.begin(), row.end(), 0);
  for (size_t i = 0; i < a.size(); ++i) {
    int64_t corner = std::exchange(row[0], static_cast<int64_t>(i) + 1);
    for (size_t j = 0; j < b.size(); ++j) {
      const int64_t substituted = corner + (a[i] != b[j]);
      corner = row[j + 1];
      row[j + 1] = std::min({substituted, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row.back();
}

void SequenceErrors::add(std::span<const int32_t> found, std::span<const int32_t> truth) {
  edits_ += edit_distance(found, truth);
  labels_ += static_cast<int64_t>(truth.size());
  exact_ += std::ranges::equal(found, truth);
  ++count_;
}

double SequenceErrors::error_rate() const { return ratio(edits_, labels_); }
double SequenceErrors::exact_match() const { return ratio(exact_, count_); }

void Bleu::add(std::string_view candidate, std::span<const std::string> references) {
  if (references.empty()) throw Error("bleu", "a candidate has no reference");
  const Words words = words_of(candidate);
  std::vector<Words> truths;
  for (const std::string& reference : references) truths.push_back(words_of(reference));
  for (size_t n = 1; n <= kOrder; ++n) {
    std::map<Words, int64_t> most;  // of each n-gram in any reference
    for (const Words& truth : truths)
      for (const auto& [ngram, count] : ngrams(truth, n)) most[ngram] = std::max(most[ngram], count);
    for (const auto& [ngram, count] : ngrams(words, n)) {
      all_[n - 1] += count;
      if (const auto found = most.find(ngram); found != most.end())
        right_[n - 1] += std::min(count, found->second);
    }
  }
  // The reference nearest in length, of two the shorter.
  const auto length = static_cast<int64_t>(words.size());
  const auto nearest = std::ranges::min_element(truths, {}, [&](const Words& truth) {
    const auto size = static_cast<int64_t>(truth.size());
    return std::pair(std::abs(size - length), size);
  });
  candidate_words_ += length;
  reference_words_ += static_cast<int64_t>(nearest->size());
}

double Bleu::precision(size_t n) const { return ratio(right_.at(n - 1), all_.at(n - 1)); }

double Bleu::brevity_penalty() const {
  return candidate_words_ > reference_words_ ? 1 : std::exp(1 - ratio(reference_words_, candidate_words_));
}

double Bleu::value() const {
  double logs = 0;
  for (size_t n = 0; n < kOrder; ++n) {
    if (right_[n] == 0 && reference_words_ > 0) return 0;
    logs += std::log(ratio(right_[n], all_[n])) / kOrder;
  }
  return brevity_penalty() * std::exp(logs);
}

std::vector<std::vector<int32_t>> ctc_best_path(const Array& scores, const Array& lengths, int32_t blank) {
  const Shape& shape = scores.shape();
  const auto fail = [](const std::string& message) { throw Error("ctc_best_path", message); };
  if (shape.rank() != 3) fail(cat("scores are [t, n, classes], got ", shape));
  if (blank < 0 || blank >= shape[2])
    fail(cat("the blank ", blank, " is none of the ", shape[2], " classes"));
  if (lengths.numel() > 0 && (lengths.dtype() != DType::i32 || lengths.shape() != Shape{shape[1]}))
    fail(cat("lengths are i32 [", shape[1], "], got ", lengths.dtype(), " ", lengths.shape()));
  const std::vector<int32_t> classes = argmax_rows(scores);
  std::vector<std::vector<int32_t>> labels(static_cast<size_t>(shape[1]));
  for (int64_t i = 0; i < shape[1]; ++i) {
    const int64_t steps = lengths.numel() > 0 ? static_cast<int64_t>(lengths.at(i)) : shape[0];
    if (steps < 0 || steps > shape[0]) fail(cat("element ", i, " has ", steps, " steps of ", shape[0]));
    int32_t before = blank;
    for (int64_t t = 0; t < steps; ++t) {
      const int32_t label = classes[static_cast<size_t>(t * shape[1] + i)];
      if (label != before && label != blank) labels[static_cast<size_t>(i)].push_back(label);
      before = label;
    }
  }
  return labels;
}

}  // namespace stithy

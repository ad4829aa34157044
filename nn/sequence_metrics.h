// Metrics of sequences on the host: each takes in one after another and gives the value over all of them;
// without any a value is NaN.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/core/array.h"

namespace stithy {

// The least number of insertions, deletions and substitutions that turn one into the other (Levenshtein
// 1966).
int64_t edit_distance(std::span<const int32_t> a, std::span<const int32_t> b);

class SequenceErrors {
 public:
  void add(std::span<const int32_t> found, std::span<const int32_t> truth);
  // All edits over all true labels: the label error rate, of words the word error rate. It may exceed 1.
  double error_rate() const;
  // The share of the sequences without an error.
  double exact_match() const;

 private:
  int64_t edits_ = 0, labels_ = 0, exact_ = 0, count_ = 0;
};

// BLEU of a whole corpus, 0 to 1 (Papineni et al. 2002, "BLEU: a Method for Automatic Evaluation of Machine
// Translation"): words stand between white space, n-grams have up to 4, nothing is smoothed.
class Bleu {
 public:
  static constexpr size_t kOrder = 4;
  // Throws Error without a reference.
  void add(std::string_view candidate, std::span<const std::string> references);
  // 0 where not one n-gram of some length is right.
  double value() const;
  // The modified precision of n-grams, n 1 to 4.
  double precision(size_t n) const;
  double brevity_penalty() const;

 private:
  std::array<int64_t, kOrder> right_{}, all_{};
  int64_t candidate_words_ = 0, reference_words_ = 0;
};

// Best path decoding (Graves et al. 2006, section 3.2): of scores [t, n, classes], any increasing function of
// the probabilities, the most probable class at each step, then repetitions made one, then blanks left out.
// lengths, i32 [n] (an empty array: all are t), are the steps of each element. Throws Error for other shapes,
// lengths above t and a blank that is no class.
std::vector<std::vector<int32_t>> ctc_best_path(const Array& scores, const Array& lengths = {},
                                                int32_t blank = 0);

}  // namespace stithy

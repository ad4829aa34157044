// Metrics on the host: each takes in batches one after another and gives the value over all of them.
// Targets equal to kIgnoreIndex (padded items) do not count. Without any data a value is NaN.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "engine/core/array.h"

namespace stithy {

// The index of the largest value in each row of [n, classes] (or [..., classes], rows in order): the first
// among equals; a NaN counts as larger than any number.
std::vector<int32_t> argmax_rows(const Array& scores);

// Counts of (target, prediction), and what follows from them.
class ConfusionMatrix {
 public:
  explicit ConfusionMatrix(int classes);
  // Logits or probabilities [n, classes], of any float dtype, and integer targets [n]. Throws Error when the
  // numbers of rows differ or a class is out of range.
  void add(const Array& scores, const Array& targets);
  void add(std::span<const int32_t> predictions, std::span<const int32_t> targets);
  void clear();

  int classes() const { return classes_; }
  int64_t count(int target, int prediction) const;
  int64_t total() const;
  double accuracy() const;  // also the micro-averaged precision, recall and F1
  // Of one class: TP / (TP + FP), TP / (TP + FN), and their harmonic mean; 0 where the denominator is 0, as
  // in scikit-learn. Class 1 of two is what binary precision, recall and F1 mean.
  double precision(int c) const;
  double recall(int c) const;
  double f1(int c) const;
  // Plain means over the classes that occur as target or prediction.
  double macro_precision() const;
  double macro_recall() const;
  double macro_f1() const;

 private:
  double macro(double (ConfusionMatrix::*of)(int) const) const;
  int64_t& at(int target, int prediction) {
    return counts_[static_cast<size_t>(target * classes_ + prediction)];
  }
  int64_t of_target(int c) const;
  int64_t of_prediction(int c) const;
  int classes_;
  std::vector<int64_t> counts_;
};

// The share of targets among the k highest scores; among equal scores the lower index goes first. A target
// whose score is NaN is a miss.
class TopK {
 public:
  explicit TopK(int k);
  void add(const Array& scores, const Array& targets);  // as ConfusionMatrix::add
  double value() const;
  void clear() { hits_ = total_ = 0; }

 private:
  int k_;
  int64_t hits_ = 0, total_ = 0;
};

// Mean absolute error and root of the mean squared error over all elements.
class RegressionError {
 public:
  void add(const Array& predictions, const Array& targets);  // equal shapes
  double mae() const;
  double rmse() const;
  // 1 - squared error / variance of the targets (the coefficient of determination); NaN for constant targets.
  double r2() const;
  void clear() { *this = {}; }

 private:
  int64_t n_ = 0;
  double absolute_ = 0, squared_ = 0, mean_ = 0, spread_ = 0;  // of the targets, by Welford 1962
};

// A mean weighted by counts: the loss of an epoch, exact with a smaller last batch.
class Mean {
 public:
  void add(double value, int64_t count = 1);
  double value() const;
  // exp of the mean: the perplexity, when the values are mean negative log-likelihoods in nats.
  double perplexity() const;
  void clear() { *this = {}; }

 private:
  double sum_ = 0;
  int64_t count_ = 0;
};

}  // namespace stithy

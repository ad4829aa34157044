// Metrics on the host: each takes in batches one after another and gives the value over all of them.
// Targets equal to kIgnoreIndex (padded items) do not count. Without any data a value is NaN.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "engine/core/array.h"
#include "nn/box.h"

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
  // TP / (TP + FP + FN), the intersection of the target's and the prediction's items over their union
  // (Jaccard index).
  double iou(int c) const;
  // Plain means over the classes that occur as target or prediction.
  double macro_precision() const;
  double macro_recall() const;
  double macro_f1() const;
  double mean_iou() const;  // of pixels' classes: the measure of semantic segmentation

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

// How well a score separates two classes: receiver operating characteristic.
class RocCurve {
 public:
  // Throws Error when a score is NaN.
  void add(double score, bool positive);
  // The area under the curve: how probable it is that a positive item has a higher score than a negative one,
  // half of the equal ones counted (Mann and Whitney 1947). NaN unless both classes occur.
  double auc() const;
  // (false positive rate, true positive rate) of every threshold, from (0, 0) to (1, 1); equal scores make
  // one point. Empty unless both classes occur.
  std::vector<std::pair<double, double>> points() const;
  void clear() { items_.clear(); }

 private:
  std::vector<std::pair<double, bool>> items_;
};

// Average precision of object detection as in Pascal VOC since 2010 (Everingham et al. 2015): in the order of
// their scores, each detection is matched with the box of its class and image that it overlaps most; it is
// right when the overlap reaches the threshold and no better detection had that box. Precision is made
// falling, then integrated over all of recall.
class DetectionPrecision {
 public:
  explicit DetectionPrecision(int classes);
  // One image. Throws Error for a label out of range and for a score that is NaN.
  void add(std::span<const Detection> detections, std::span<const LabelledBox> truth);
  // Of one class; NaN when no image has it.
  double average_precision(int c, double threshold = 0.5) const;
  // The mean over the classes that occur (mAP), and the mean of that over the thresholds 0.5, 0.55 ... 0.95,
  // as in COCO (Lin et al. 2014), but with VOC's matching. NaN without any box.
  double mean(double threshold = 0.5) const;
  double mean_over_thresholds() const;
  void clear();

 private:
  struct Found {
    float score;
    int64_t image;
    Box box;
  };
  struct OfClass {
    std::vector<Found> found;
    std::map<int64_t, std::vector<Box>> truth;  // by image
    int64_t boxes = 0;
  };
  OfClass& of(int32_t label);
  std::vector<OfClass> classes_;
  int64_t images_ = 0;
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

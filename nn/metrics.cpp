#include "nn/metrics.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/core/error.h"
#include "nn/data/dataset.h"

namespace stithy {
namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

double ratio(int64_t part, int64_t whole, double otherwise) {
  return whole ? static_cast<double>(part) / static_cast<double>(whole) : otherwise;
}

std::vector<int32_t> class_targets(const char* where, const Array& targets, int64_t rows) {
  if (targets.dtype() != DType::i32 && targets.dtype() != DType::u8)
    throw Error(where, cat("targets are ", targets.dtype(), ", expected i32 or u8"));
  if (targets.numel() != rows)
    throw Error(where, cat(targets.numel(), " targets for ", rows, " rows of scores"));
  std::vector<int32_t> result(static_cast<size_t>(rows));
  for (int64_t i = 0; i < rows; ++i) result[static_cast<size_t>(i)] = static_cast<int32_t>(targets.at(i));
  return result;
}

// Rows of scores: their number, after checking that there are classes.
int64_t score_rows(const char* where, const Array& scores) {
  const Shape& shape = scores.shape();
  if (shape.empty() || shape.back() < 1)
    throw Error(where, cat("scores of shape ", shape, " have no classes"));
  return scores.numel() / shape.back();
}

void check_class(const char* where, const char* what, int32_t value, int64_t classes) {
  if (value < 0 || value >= classes)
    throw Error(where, cat(what, " ", value, " is not in 0 to ", classes - 1));
}

}  // namespace

std::vector<int32_t> argmax_rows(const Array& scores) {
  const int64_t rows = score_rows("argmax_rows", scores), classes = scores.shape().back();
  std::vector<int32_t> result(static_cast<size_t>(rows));
  for (int64_t row = 0; row < rows; ++row) {
    int64_t best = 0;
    double highest = scores.at(row * classes);
    for (int64_t c = 1; c < classes && !std::isnan(highest); ++c)
      if (const double score = scores.at(row * classes + c); score > highest || std::isnan(score))
        best = c, highest = score;
    result[static_cast<size_t>(row)] = static_cast<int32_t>(best);
  }
  return result;
}

ConfusionMatrix::ConfusionMatrix(int classes) : classes_(classes) {
  if (classes < 1 || classes > 65536)
    throw Error("confusion matrix", cat(classes, " classes are not in 1 to 65536"));
  counts_.resize(static_cast<size_t>(classes) * static_cast<size_t>(classes));
}

void ConfusionMatrix::add(const Array& scores, const Array& targets) {
  const int64_t rows = score_rows("confusion matrix", scores);
  if (scores.shape().back() != classes_)
    throw Error("confusion matrix",
                cat("scores of shape ", scores.shape(), " are not for ", classes_, " classes"));
  add(argmax_rows(scores), class_targets("confusion matrix", targets, rows));
}

void ConfusionMatrix::add(std::span<const int32_t> predictions, std::span<const int32_t> targets) {
  if (predictions.size() != targets.size())
    throw Error("confusion matrix", cat(predictions.size(), " predictions for ", targets.size(), " targets"));
  for (size_t i = 0; i < targets.size(); ++i) {
    if (targets[i] == kIgnoreIndex) continue;
    check_class("confusion matrix", "target", targets[i], classes_);
    check_class("confusion matrix", "prediction", predictions[i], classes_);
    ++at(targets[i], predictions[i]);
  }
}

void ConfusionMatrix::clear() { counts_.assign(counts_.size(), 0); }

int64_t ConfusionMatrix::count(int target, int prediction) const {
  check_class("confusion matrix", "target", target, classes_);
  check_class("confusion matrix", "prediction", prediction, classes_);
  return counts_[static_cast<size_t>(target) * static_cast<size_t>(classes_) +
                 static_cast<size_t>(prediction)];
}

int64_t ConfusionMatrix::total() const {
  int64_t sum = 0;
  for (int64_t count : counts_) sum += count;
  return sum;
}

int64_t ConfusionMatrix::of_target(int c) const {
  int64_t sum = 0;
  for (int p = 0; p < classes_; ++p) sum += count(c, p);
  return sum;
}

int64_t ConfusionMatrix::of_prediction(int c) const {
  int64_t sum = 0;
  for (int t = 0; t < classes_; ++t) sum += count(t, c);
  return sum;
}

double ConfusionMatrix::accuracy() const {
  int64_t correct = 0;
  for (int c = 0; c < classes_; ++c) correct += count(c, c);
  return ratio(correct, total(), kNone);
}

double ConfusionMatrix::precision(int c) const { return ratio(count(c, c), of_prediction(c), 0); }
double ConfusionMatrix::recall(int c) const { return ratio(count(c, c), of_target(c), 0); }
double ConfusionMatrix::f1(int c) const { return ratio(2 * count(c, c), of_prediction(c) + of_target(c), 0); }
double ConfusionMatrix::iou(int c) const {
  return ratio(count(c, c), of_prediction(c) + of_target(c) - count(c, c), 0);
}

double ConfusionMatrix::macro(double (ConfusionMatrix::*of)(int) const) const {
  double sum = 0;
  int present = 0;
  for (int c = 0; c < classes_; ++c)
    if (of_target(c) + of_prediction(c) > 0) sum += (this->*of)(c), ++present;
  return present ? sum / present : kNone;
}
double ConfusionMatrix::macro_precision() const { return macro(&ConfusionMatrix::precision); }
double ConfusionMatrix::macro_recall() const { return macro(&ConfusionMatrix::recall); }
double ConfusionMatrix::macro_f1() const { return macro(&ConfusionMatrix::f1); }
double ConfusionMatrix::mean_iou() const { return macro(&ConfusionMatrix::iou); }

TopK::TopK(int k) : k_(k) {
  if (k < 1) throw Error("top-k", cat("k ", k, " is less than 1"));
}

void TopK::add(const Array& scores, const Array& targets) {
  const int64_t rows = score_rows("top-k", scores), classes = scores.shape().back();
  const std::vector<int32_t> wanted = class_targets("top-k", targets, rows);
  for (int64_t row = 0; row < rows; ++row) {
    const int32_t target = wanted[static_cast<size_t>(row)];
    if (target == kIgnoreIndex) continue;
    check_class("top-k", "target", target, classes);
    const double own = scores.at(row * classes + target);
    int64_t before = 0;
    for (int64_t c = 0; c < classes; ++c) {
      const double score = scores.at(row * classes + c);
      before += std::isnan(score) || score > own || (score == own && c < target);
    }
    hits_ += !std::isnan(own) && before < k_;
    ++total_;
  }
}

double TopK::value() const { return ratio(hits_, total_, kNone); }

void RocCurve::add(double score, bool positive) {
  if (std::isnan(score)) throw Error("roc curve", cat("the score of item ", items_.size(), " is NaN"));
  items_.emplace_back(score, positive);
}

std::vector<std::pair<double, double>> RocCurve::points() const {
  const auto positives = std::count_if(items_.begin(), items_.end(), [](const auto& i) { return i.second; });
  const auto negatives = static_cast<std::ptrdiff_t>(items_.size()) - positives;
  if (positives == 0 || negatives == 0) return {};
  std::vector<std::pair<double, bool>> sorted = items_;
  std::sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
  std::vector<std::pair<double, double>> curve{{0, 0}};
  int64_t hits = 0, alarms = 0;
  for (size_t i = 0; i < sorted.size(); ++i) {
    ++(sorted[i].second ? hits : alarms);
    if (i + 1 < sorted.size() && sorted[i + 1].first == sorted[i].first) continue;
    curve.emplace_back(ratio(alarms, negatives, kNone), ratio(hits, positives, kNone));
  }
  return curve;
}

double RocCurve::auc() const {
  const std::vector<std::pair<double, double>> curve = points();
  if (curve.empty()) return kNone;
  double area = 0;
  for (size_t i = 1; i < curve.size(); ++i)
    area += (curve[i].first - curve[i - 1].first) * (curve[i].second + curve[i - 1].second) / 2;
  return area;
}

DetectionPrecision::DetectionPrecision(int classes) {
  if (classes < 1) throw Error("detection precision", cat(classes, " classes"));
  classes_.resize(static_cast<size_t>(classes));
}

void DetectionPrecision::clear() {
  classes_.assign(classes_.size(), {});
  images_ = 0;
}

DetectionPrecision::OfClass& DetectionPrecision::of(int32_t label) {
  check_class("detection precision", "label", label, static_cast<int64_t>(classes_.size()));
  return classes_[static_cast<size_t>(label)];
}

void DetectionPrecision::add(std::span<const Detection> detections, std::span<const LabelledBox> truth) {
  for (const Detection& d : detections)
    if (of(d.label); std::isnan(d.score))
      throw Error("detection precision", cat("a score of image ", images_, " is NaN"));
  for (const LabelledBox& t : truth) of(t.label);
  for (const Detection& d : detections) of(d.label).found.push_back({d.score, images_, d.box});
  for (const LabelledBox& t : truth) {
    of(t.label).truth[images_].push_back(t.box);
    ++of(t.label).boxes;
  }
  ++images_;
}

double DetectionPrecision::average_precision(int c, double threshold) const {
  check_class("detection precision", "class", c, static_cast<int64_t>(classes_.size()));
  const OfClass& all = classes_[static_cast<size_t>(c)];
  if (all.boxes == 0) return kNone;
  std::vector<Found> found = all.found;
  std::stable_sort(found.begin(), found.end(),
                   [](const Found& a, const Found& b) { return a.score > b.score; });
  std::map<int64_t, std::vector<bool>> taken;
  int64_t right = 0;
  std::vector<double> precision, recall;
  for (size_t i = 0; i < found.size(); ++i) {
    if (const auto truth = all.truth.find(found[i].image); truth != all.truth.end()) {
      const std::vector<Box>& boxes = truth->second;
      size_t best = 0;
      for (size_t b = 1; b < boxes.size(); ++b)
        if (iou(found[i].box, boxes[b]) > iou(found[i].box, boxes[best])) best = b;
      std::vector<bool>& of_image = taken[found[i].image];
      of_image.resize(boxes.size());
      if (iou(found[i].box, boxes[best]) >= threshold && !of_image[best]) of_image[best] = true, ++right;
    }
    precision.push_back(ratio(right, static_cast<int64_t>(i) + 1, 0));
    recall.push_back(ratio(right, all.boxes, 0));
  }
  double area = 0, highest = 0;
  for (size_t i = found.size(); i-- > 0;) {
    highest = std::max(highest, precision[i]);
    area += highest * (recall[i] - (i > 0 ? recall[i - 1] : 0));
  }
  return area;
}

double DetectionPrecision::mean(double threshold) const {
  Mean mean;
  for (size_t c = 0; c < classes_.size(); ++c)
    if (classes_[c].boxes > 0) mean.add(average_precision(static_cast<int>(c), threshold));
  return mean.value();
}

double DetectionPrecision::mean_over_thresholds() const {
  Mean mean_of_means;
  for (int percent = 50; percent < 100; percent += 5) mean_of_means.add(mean(percent / 100.0));
  return mean_of_means.value();
}

void RegressionError::add(const Array& predictions, const Array& targets) {
  if (predictions.shape() != targets.shape())
    throw Error("regression error",
                cat("predictions of shape ", predictions.shape(), " for targets of shape ", targets.shape()));
  for (int64_t i = 0; i < targets.numel(); ++i) {
    const double target = targets.at(i), error = predictions.at(i) - target, away = target - mean_;
    absolute_ += std::abs(error);
    squared_ += error * error;
    mean_ += away / static_cast<double>(++n_);
    spread_ += away * (target - mean_);
  }
}

double RegressionError::mae() const { return n_ ? absolute_ / static_cast<double>(n_) : kNone; }
double RegressionError::rmse() const { return n_ ? std::sqrt(squared_ / static_cast<double>(n_)) : kNone; }
double RegressionError::r2() const { return spread_ > 0 ? 1 - squared_ / spread_ : kNone; }

void Mean::add(double value, int64_t count) {
  if (count < 0) throw Error("mean", cat("count ", count, " is negative"));
  if (count == 0) return;
  sum_ += value * static_cast<double>(count);
  count_ += count;
}
double Mean::value() const { return count_ ? sum_ / static_cast<double>(count_) : kNone; }
double Mean::perplexity() const { return std::exp(value()); }

}  // namespace stithy

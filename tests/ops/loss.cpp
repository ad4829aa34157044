// Rows of the losses: every combination of cross_entropy's options.
#include "tests/harness.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/core/error.h"
#include "engine/ops.h"

namespace stithy::testing {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
using Reduction = CrossEntropyOptions::Reduction;

struct Options {
  bool probabilities = false, weighted = false;
  double smoothing = 0;
  int32_t ignore = -100;
  Reduction reduction = Reduction::mean;
};

// Formulas of torch.nn.functional.cross_entropy's documentation. xs: logits, targets, weights where weighted.
Reference loss_of(std::span<const Reference> xs, const Options& o) {
  const Reference &x = xs[0], &targets = xs[1];
  const int64_t classes = x.shape.back(), rows = x.numel() / classes;
  const auto weight = [&](int64_t c) { return o.weighted ? xs[2][c] : 1.0; };
  Shape row_shape = x.shape;
  row_shape.erase(row_shape.rank() - 1);
  Reference loss(row_shape);
  double total = 0, divisor = 0;
  for (int64_t r = 0; r < rows; ++r) {
    double largest = x[r * classes], sum = 0;
    for (int64_t c = 0; c < classes; ++c) largest = std::max(largest, x[r * classes + c]);
    for (int64_t c = 0; c < classes; ++c) sum += std::exp(x[r * classes + c] - largest);
    const auto t = static_cast<int64_t>(o.probabilities ? 0 : targets[r]);
    const bool ignored = !o.probabilities && t == o.ignore;
    for (int64_t c = 0; c < classes && !ignored; ++c) {
      const double target = o.probabilities ? targets[r * classes + c] : c == t;
      const double smoothed = (1 - o.smoothing) * target + o.smoothing / static_cast<double>(classes);
      // For index targets the target's own weight stands before the indicator, which is the same.
      loss[r] -= weight(c) * smoothed * (x[r * classes + c] - largest - std::log(sum));
    }
    const bool wrong = !o.probabilities && !ignored && (t < 0 || t >= classes);
    if (wrong) loss[r] = kNaN;
    total += loss[r];
    divisor += ignored ? 0 : o.probabilities || wrong ? 1 : weight(t);
  }
  if (o.reduction == Reduction::none) return loss;
  return Reference({}, {o.reduction == Reduction::mean ? total / divisor : total});
}

Case loss_case(const std::string& name, const Shape& logits, const Options& o, double range = 3) {
  Shape rows = logits;
  rows.erase(rows.rank() - 1);
  const auto classes = static_cast<double>(logits.back());
  Case test{.name = name,
            .arguments = {{.shape = logits, .low = -range, .high = range},
                          o.probabilities
                              ? Argument{.shape = logits, .low = 0, .high = 1}
                              : Argument{.shape = rows, .dtype = DType::i32, .low = 0, .high = classes - 1}},
            .build =
                [=](auto xs) {
                  CrossEntropyOptions options{.label_smoothing = static_cast<float>(o.smoothing),
                                              .ignore_index = o.ignore,
                                              .reduction = o.reduction};
                  if (o.weighted) options.class_weights = xs[2];
                  return std::vector{cross_entropy(xs[0], xs[1], options)};
                },
            .reference = [=](auto xs) { return std::vector{loss_of(xs, o)}; },
            .tolerance = 4e-6};
  if (o.weighted)
    test.arguments.push_back({.shape = {logits.back()}, .low = 0.5, .high = 2, .differentiable = false});
  return test;
}

std::vector<Case> loss_cases() {
  std::vector<Case> cases;
  for (const bool probabilities : {false, true})
    for (const bool weighted : {false, true})
      for (const double smoothing : {0.0, 0.125})
        for (const Reduction reduction : {Reduction::mean, Reduction::sum, Reduction::none}) {
          const std::string names[] = {"mean", "sum", "none"};
          Case test =
              loss_case(cat(probabilities ? "probabilities" : "indices", weighted ? ", weighted" : "",
                            smoothing > 0 ? ", smoothed" : "", ", ", names[static_cast<int>(reduction)]),
                        {7, 5}, {probabilities, weighted, smoothing, probabilities ? -100 : 2, reduction});
          test.strided = reduction == Reduction::mean;
          cases.push_back(test);
        }
  cases.push_back(loss_case("rank 3", {3, 4, 11}, {}));
  cases.push_back(loss_case("one row without a batch", {6}, {}));
  cases.push_back(loss_case("large logits", {5, 9}, {}, 500));
  cases.push_back(loss_case("many classes", {2, 3000}, {}));
  cases.push_back(loss_case("many rows", {700, 3}, {.ignore = 1}));
  Case wrong = loss_case("out of range gives NaN", {40, 3}, {.reduction = Reduction::none});
  wrong.arguments[1].low = -1;
  wrong.arguments[1].high = 3;
  wrong.gradient = false;
  cases.push_back(wrong);
  Case ignored = loss_case("all ignored gives NaN", {4, 3}, {.ignore = 1});
  ignored.arguments[1].low = ignored.arguments[1].high = 1;
  ignored.gradient = false;
  cases.push_back(ignored);
  return cases;
}

const bool kCrossEntropyRow = add_row({.op = "cross_entropy", .cases = loss_cases()});

}  // namespace
}  // namespace stithy::testing

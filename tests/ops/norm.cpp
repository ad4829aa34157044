// Rows of softmax and normalisation.
#include "tests/harness.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/ops.h"

namespace stithy::testing {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

// softmax, or its logarithm, over the axis whose elements are `inner` apart.
Reference softmax_of(const Reference& x, int axis, bool log) {
  const int64_t n = x.shape[axis];
  int64_t inner = 1;
  for (int d = axis + 1; d < x.shape.rank(); ++d) inner *= x.shape[d];
  Reference y(x.shape);
  for (int64_t line = 0; line < x.numel() / n; ++line) {
    const int64_t base = line / inner * inner * n + line % inner;
    double largest = -kInf, total = 0;
    for (int64_t i = 0; i < n; ++i) largest = std::max(largest, x[base + i * inner]);
    for (int64_t i = 0; i < n; ++i) total += std::exp(x[base + i * inner] - largest);
    for (int64_t i = 0; i < n; ++i) {
      const double shifted = x[base + i * inner] - largest;
      y[base + i * inner] = log ? shifted - std::log(total) : std::exp(shifted) / total;
    }
  }
  return y;
}

Case softmax_case(const std::string& name, const Shape& shape, int axis, bool log, double range = 2) {
  return {
      .name = name,
      .arguments = {{.shape = shape, .low = -range, .high = range}},
      .build = [=](auto xs) { return std::vector{log ? log_softmax(xs[0], axis) : softmax(xs[0], axis)}; },
      .reference = [=](auto xs) { return std::vector{softmax_of(xs[0], axis, log)}; },
      .strided = shape.numel() < 10000};
}

Case special_case(const std::string& name, bool log, const std::vector<float>& row,
                  const std::vector<double>& y) {
  const Shape shape{1, static_cast<int64_t>(row.size())};
  return {.name = name,
          .build =
              [=](auto) {
                const Tensor x = Array(shape, std::span<const float>(row));
                return std::vector{log ? log_softmax(x) : softmax(x)};
              },
          .reference = [=](auto) { return std::vector{Reference(shape, y)}; }};
}

std::vector<Case> softmax_cases(bool log) {
  const double zero = log ? -kInf : 0, half = log ? -std::log(2.0) : 0.5;
  const auto inf = static_cast<float>(kInf);
  return {softmax_case("rows", {7, 113}, 1, log),
          softmax_case("a row of one", {3, 1}, 1, log),
          softmax_case("shorter than a subgroup", {4, 3}, 1, log),
          softmax_case("large values", {3, 33}, 1, log, 1000),
          softmax_case("a long row", {2, 70000}, 1, log),
          softmax_case("axis 0", {5, 6}, 0, log),
          softmax_case("axis 1 of 3", {3, 5, 4}, 1, log),
          special_case("-inf has probability 0", log, {1, -inf, 1}, {half, zero, half}),
          special_case("all -inf gives NaN", log, {-inf, -inf}, {kNaN, kNaN}),
          special_case("inf gives NaN", log, {inf, 0}, {kNaN, kNaN}),
          special_case("NaN stays", log, {0, static_cast<float>(kNaN), 1}, {kNaN, kNaN, kNaN})};
}

const bool kSoftmaxRow = add_row({.op = "softmax", .cases = softmax_cases(false)});
const bool kLogSoftmaxRow = add_row({.op = "log_softmax", .cases = softmax_cases(true)});

Reference normalized(std::span<const Reference> xs, bool centered, double epsilon) {
  const Reference& x = xs[0];
  const int64_t n = x.shape.back();
  Reference y(x.shape);
  for (int64_t base = 0; base < x.numel(); base += n) {
    double mean = 0, variance = 0;
    for (int64_t i = 0; centered && i < n; ++i) mean += x[base + i] / static_cast<double>(n);
    for (int64_t i = 0; i < n; ++i)
      variance += (x[base + i] - mean) * (x[base + i] - mean) / static_cast<double>(n);
    for (int64_t i = 0; i < n; ++i)
      y[base + i] =
          (x[base + i] - mean) / std::sqrt(variance + epsilon) * xs[1][i] + (centered ? xs[2][i] : 0);
  }
  return y;
}

Case norm_case(const std::string& name, const Shape& shape, bool centered, float epsilon = 1e-5f,
               double centre = 0) {
  const Shape columns{shape.back()};
  Case test{.name = name,
            .arguments = {{.shape = shape, .low = centre - 2, .high = centre + 2}, {.shape = columns}},
            .build =
                [=](auto xs) {
                  return std::vector{centered ? layernorm(xs[0], xs[1], xs[2], epsilon)
                                              : rmsnorm(xs[0], xs[1], epsilon)};
                },
            .reference = [=](auto xs) { return std::vector{normalized(xs, centered, epsilon)}; },
            .gradient_tolerance = 5e-5};
  if (centered) test.arguments.push_back({.shape = columns});
  return test;
}

std::vector<Case> norm_cases(bool centered) {
  return {norm_case("rows", {7, 113}, centered), norm_case("a vector", {24}, centered),
          norm_case("rank 3", {2, 3, 8}, centered), norm_case("columns in slices", {150, 5}, centered),
          norm_case("large epsilon", {4, 12}, centered, 0.5f)};
}
std::vector<Case> layernorm_cases() {
  std::vector<Case> cases = norm_cases(true);
  // The variance in one pass would lose all digits.
  Case far = norm_case("a mean far from zero", {3, 64}, true, 1e-5f, 1000);
  far.tolerance = 2e-4;
  far.gradient = false;
  cases.push_back(far);
  return cases;
}

const bool kLayernormRow = add_row({.op = "layernorm", .cases = layernorm_cases()});
const bool kRmsnormRow = add_row({.op = "rmsnorm", .cases = norm_cases(false)});

}  // namespace
}  // namespace stithy::testing

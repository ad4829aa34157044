// Rows of the reductions and of cumsum.
#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <map>

#include "engine/core/error.h"
#include "engine/ops.h"
#include "tests/harness.h"

namespace stithy::testing {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

using Values = std::vector<double>;
using Reducer = std::function<double(const Values&)>;
using Op = Tensor (*)(const Tensor&, const Shape&, bool);

// The values of x by output, each list in row-major order of the reduced axes.
std::vector<Reference> reduced(const Reference& x, const Shape& axes, bool keepdims, const Reducer& f) {
  const Shape normal = normalize_axes("reference", axes, x.shape);
  Shape kept, shown;
  for (int d = 0; d < x.shape.rank(); ++d) {
    const bool reduces = normal.contains(d);
    kept.push_back(reduces ? 1 : x.shape[d]);
    if (!reduces || keepdims) shown.push_back(kept[d]);
  }
  std::vector<Values> lists(static_cast<size_t>(kept.numel()));
  for (int64_t i = 0; i < x.numel(); ++i) {
    int64_t rest = i, at = 0, stride = 1;
    for (int d = x.shape.rank() - 1; d >= 0; --d) {
      if (kept[d] != 1) at += rest % x.shape[d] * stride;
      stride *= kept[d];
      rest /= x.shape[d];
    }
    lists[static_cast<size_t>(at)].push_back(x[i]);
  }
  Reference y(shown);
  for (int64_t i = 0; i < y.numel(); ++i) y[i] = f(lists[static_cast<size_t>(i)]);
  return {y};
}

struct Reduced {
  Shape shape, axes;
  bool keepdims = false;
};
// Rows, columns, both kinds with whole vectors, middles, everything, nothing to do, few and many outputs.
const Reduced kAll[] = {
    {{29, 89}, {1}},    {{29, 89}, {0}, true},   {{29, 89}, {}},       {{13, 64}, {-1}},
    {{64, 12}, {0}},    {{7, 29, 5}, {1}, true}, {{7, 29, 5}, {0, 2}}, {{2, 3, 1, 5, 2, 3}, {1, 3, 5}},
    {{113}, {0}, true}, {{29, 3}, {1}},          {{1, 1}, {0}},        {{}, {}}};

std::vector<Case> cases_of(Op op, const Reducer& f, const Argument& values = {}, double tolerance = 2e-6) {
  std::vector<Case> cases;
  for (const Reduced& r : kAll) {
    Argument x = values;
    x.shape = r.shape;
    cases.push_back({.name = cat(r.shape, " over ", r.axes, r.keepdims ? " kept" : ""),
                     .arguments = {x},
                     .build = [=](auto xs) { return std::vector{op(xs[0], r.axes, r.keepdims)}; },
                     .reference = [=](auto xs) { return reduced(xs[0], r.axes, r.keepdims, f); },
                     .tolerance = tolerance});
  }
  return cases;
}

// Long enough for two stages, both ways.
std::vector<Case> long_cases(Op op, const Reducer& f, const Argument& values = {}, double tolerance = 2e-6) {
  std::vector<Case> cases;
  for (const Reduced& r : {Reduced{{70001}, {}}, Reduced{{5003, 12}, {0}}, Reduced{{3001, 7}, {0}}}) {
    Argument x = values;
    x.shape = r.shape;
    x.differentiable = false;
    cases.push_back({.name = cat("long ", r.shape),
                     .arguments = {x},
                     .build = [=](auto xs) { return std::vector{op(xs[0], r.axes, false)}; },
                     .reference = [=](auto xs) { return reduced(xs[0], r.axes, false, f); },
                     .tolerance = tolerance,
                     .strided = false});
  }
  return cases;
}

Case special_case(Op op, const std::vector<Values>& rows, const Values& expected,
                  const std::string& name = "special values") {
  return {
      .name = name,
      .build =
          [=](auto) {
            Array x({static_cast<int64_t>(rows.size()), static_cast<int64_t>(rows[0].size())}, DType::f32);
            int64_t i = 0;
            for (const Values& row : rows)
              for (double value : row) x.set(i++, value);
            return std::vector{op(x, {1}, false)};
          },
      .reference =
          [=](auto) { return std::vector{Reference({static_cast<int64_t>(expected.size())}, expected)}; }};
}

std::vector<Case> operator+(std::vector<Case> a, const std::vector<Case>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

double total(const Values& v) {
  double sum = 0;
  for (double x : v) sum += x;
  return sum;
}
double average(const Values& v) { return total(v) / static_cast<double>(v.size()); }
double product(const Values& v) {
  double p = 1;
  for (double x : v) p *= x;
  return p;
}
double largest(const Values& v) { return *std::max_element(v.begin(), v.end()); }
double smallest(const Values& v) { return *std::min_element(v.begin(), v.end()); }
double variance(const Values& v, double correction) {
  double sum = 0;
  for (double x : v) sum += (x - average(v)) * (x - average(v));
  return sum / (static_cast<double>(v.size()) - correction);
}
double log_sum_exp(const Values& v) {
  double sum = 0;
  for (double x : v) sum += std::exp(x);
  return std::log(sum);
}
double p_norm(const Values& v, double p) {
  double sum = 0;
  for (double x : v) sum += std::pow(std::abs(x), p);
  return std::pow(sum, 1 / p);
}

// No ties, and none made by a central difference.
const Argument kDistinct{.low = -30, .high = 30, .margin = 0.02, .distinct = true};
const Argument kLong{.low = -1000, .high = 1000, .margin = 0.02, .distinct = true};
// Products of thousands stay near 1.
const Argument kNearOne{.low = 0.96, .high = 1.04};

// Long sums against the sum in double: what adding block by block buys.
Case big_sum(const Shape& shape, const Shape& axes) {
  return {.name = cat("accuracy, ", shape),
          .arguments = {{.shape = shape, .low = 0, .high = 1, .differentiable = false}},
          .build =
              [=](auto xs) {
                // Relative to each sum, which is about half the number of its terms.
                const Tensor y = sum(xs[0], axes);
                return std::vector{
                    y * (2.0f * static_cast<float>(y.numel()) / static_cast<float>(shape.numel()))};
              },
          .reference =
              [=](auto xs) {
                auto ys = reduced(xs[0], axes, false, total);
                const double scale =
                    2.0f * static_cast<float>(ys[0].numel()) / static_cast<float>(shape.numel());
                for (double& y : ys[0].values) y *= scale;
                return ys;
              },
          .tolerance = 5e-7,
          .strided = false};
}

using ArgOp = Tensor (*)(const Tensor&, int64_t, bool);
std::vector<Case> arg_cases(ArgOp op, bool greatest) {
  const Reducer f = [greatest](const Values& v) {
    const auto best = greatest ? std::max_element(v.begin(), v.end()) : std::min_element(v.begin(), v.end());
    return static_cast<double>(best - v.begin());  // both give the first of equals
  };
  std::vector<Case> cases;
  for (const Reduced& r : {Reduced{{29, 89}, {1}},
                           {{29, 89}, {0}, true},
                           {{13, 64}, {1}},
                           {{64, 12}, {0}},
                           {{2, 3, 1, 37, 2, 3}, {3}},
                           {{113}, {0}},
                           {{7, 1}, {1}},
                           {{5, 5003}, {1}}})
    for (const double spread : {30.0, 2.0})  // integers: in a narrow range most are equal
      cases.push_back(
          {.name = cat(r.shape, " along ", r.axes[0], spread == 2 ? " with ties" : ""),
           .arguments = {{.shape = r.shape, .dtype = DType::i32, .low = -spread, .high = spread}},
           .build = [=](auto xs) { return std::vector{op(cast(xs[0], DType::f32), r.axes[0], r.keepdims)}; },
           .reference = [=](auto xs) { return reduced(xs[0], r.axes, r.keepdims, f); }});
  const std::vector<Values> rows{
      {1, kNaN, 3, kNaN}, {-kInf, -kInf, -kInf, -kInf}, {kInf, 2, kInf, -kInf}, {-0.0, 0, -0.0, 0}};
  cases.push_back({.name = "special values",
                   .build =
                       [=](auto) {
                         Array x({4, 4}, DType::f32);
                         for (int64_t i = 0; i < 16; ++i)
                           x.set(i, rows[static_cast<size_t>(i / 4)][static_cast<size_t>(i % 4)]);
                         return std::vector{op(x, 1, false)};
                       },
                   .reference =
                       [=](auto) {
                         return std::vector{Reference({4}, {1, 0, greatest ? 0.0 : 3.0, 0})};
                       }});
  return cases;
}

std::vector<Case> cumsum_cases() {
  std::vector<Case> cases;
  for (const auto& [shape, axis] : {std::pair{Shape{29, 89}, 1},
                                    {Shape{29, 89}, 0},
                                    {Shape{7, 29, 5}, 1},
                                    {Shape{113}, 0},
                                    {Shape{2, 3, 1, 5, 2, 3}, 3},
                                    {Shape{7, 1}, 1},
                                    {Shape{3, 5003}, 1},
                                    {Shape{4001, 3}, 0}})
    cases.push_back({.name = cat(shape, " along ", axis),
                     .arguments = {{.shape = shape}},
                     .build = [axis](auto xs) { return std::vector{cumsum(xs[0], axis)}; },
                     .reference =
                         [axis](auto xs) {
                           Reference y = xs[0];
                           int64_t inner = 1;
                           for (int d = axis + 1; d < y.shape.rank(); ++d) inner *= y.shape[d];
                           for (int64_t i = 0; i < y.numel(); ++i)
                             if (i / inner % y.shape[axis] != 0) y[i] += y[i - inner];
                           return std::vector{y};
                         },
                     .gradient = shape.numel() < 10000});
  return cases;
}

// The gradient of max where elements are equal, and of prod where some are zero.
Case gradient_at(const std::string& name, Op op, const Values& x, const Values& expected) {
  return {.name = name,
          .build =
              [=](auto) {
                Array values({static_cast<int64_t>(x.size())}, DType::f32);
                for (size_t i = 0; i < x.size(); ++i) values.set(static_cast<int64_t>(i), x[i]);
                const Tensor t = values;
                return std::vector{op(t, {}, false), gradients(op(t, {}, false), std::vector{t})[0]};
              },
          .reference =
              [=](auto) {
                const double y = op == &prod  ? product(x)
                                 : op == &max ? largest(x)
                                 : op == &min ? smallest(x)
                                              : 0;
                return std::vector{Reference(Shape{}, {y}),
                                   Reference({static_cast<int64_t>(x.size())}, expected)};
              }};
}

Tensor var_default(const Tensor& x, const Shape& axes, bool keepdims) { return var(x, axes, keepdims, 0); }
Tensor norm_1(const Tensor& x, const Shape& axes, bool keepdims) { return norm(x, axes, keepdims, 1); }
Tensor norm_2(const Tensor& x, const Shape& axes, bool keepdims) { return norm(x, axes, keepdims); }
Tensor norm_3(const Tensor& x, const Shape& axes, bool keepdims) { return norm(x, axes, keepdims, 3); }
Tensor norm_max(const Tensor& x, const Shape& axes, bool keepdims) {
  return norm(x, axes, keepdims, std::numeric_limits<float>::infinity());
}

std::vector<Case> named(const std::string& prefix, std::vector<Case> cases) {
  for (Case& test : cases) test.name = prefix + " " + test.name;
  // One of each kind: these are compositions of ops that have rows of their own.
  cases.resize(4);
  return cases;
}

const Argument kAwayFromZero{.avoid = {0}};

const bool kRows[] = {
    add_row(
        {"sum", cases_of(sum, total) + long_cases(sum, total) +
                    std::vector<Case>{
                        big_sum({1000003}, {}),
                        big_sum({20011, 16}, {0}),
                        big_sum({3, 300007}, {1}),
                        special_case(sum, {{1, kNaN, 2}, {kInf, 1, 2}, {kInf, -kInf, 0}}, {kNaN, kInf, kNaN}),
                        {.name = "nothing to add",
                         .build =
                             [](auto) {
                               return std::vector{sum(Tensor(Array({3, 0}, DType::f32)), {1})};
                             },
                         .reference = [](auto) { return std::vector{Reference(Shape{3})}; }}} +
                    named("logsumexp", cases_of(logsumexp, log_sum_exp)) +
                    named("norm 1", cases_of(
                                        norm_1, [](auto& v) { return p_norm(v, 1); }, kAwayFromZero)) +
                    named("norm 2", cases_of(norm_2, [](auto& v) { return p_norm(v, 2); })) +
                    named("norm 3", cases_of(
                                        norm_3, [](auto& v) { return p_norm(v, 3); }, kAwayFromZero)) +
                    std::vector<Case>{
                        special_case(logsumexp, {{-kInf, -kInf}, {kInf, 0}, {1000, 1000}, {-1000, -1000}},
                                     {-kInf, kInf, 1000 + std::log(2.0), -1000 + std::log(2.0)},
                                     "logsumexp special values"),
                        gradient_at("gradient of a norm of 0", norm_2, {0, 0, 0}, {0, 0, 0}),
                        {.name = "sum_to",
                         .arguments = {{.shape = {5, 7, 29}}},
                         .build =
                             [](auto xs) {
                               return std::vector{sum_to(xs[0], {7, 1})};
                             },
                         .reference =
                             [](auto xs) {
                               auto ys = reduced(xs[0], {0, 2}, false, total);
                               ys[0].shape = {7, 1};
                               return ys;
                             }}}}),
    add_row({"mean", cases_of(mean, average) + long_cases(mean, average) +
                         named("var", cases_of(var_default, [](auto& v) { return variance(v, 0); })) +
                         std::vector<Case>{{.name = "var of sample, far from 0",
                                            .arguments = {{.shape = {13, 29}, .low = 1000, .high = 1002}},
                                            .build = [](auto xs) { return std::vector{var(xs[0], {1})}; },
                                            .reference =
                                                [](auto xs) {
                                                  return reduced(xs[0], {1}, false,
                                                                 [](auto& v) { return variance(v, 1); });
                                                },
                                            .tolerance = 2e-5,
                                            .gradient_tolerance = 1e-4}}}),
    add_row(
        {"max",
         cases_of(max, largest, kDistinct) + long_cases(max, largest, kLong) +
             named("norm max", cases_of(norm_max, [](auto& v) { return std::max(largest(v), -smallest(v)); },
                                        {.low = 1, .high = 60, .margin = 0.02, .distinct = true})) +
             std::vector<Case>{
                 special_case(max, {{1, kNaN, 2}, {-kInf, -kInf, -kInf}, {kInf, 1, -1}, {-2, -3, -1}},
                              {kNaN, -kInf, kInf, -1}),
                 gradient_at("ties share", max, {1, 3, 3, 2}, {0, 0.5, 0.5, 0})}}),
    add_row({"min", cases_of(min, smallest, kDistinct) + long_cases(min, smallest, kLong) +
                        std::vector<Case>{
                            special_case(min, {{1, kNaN, 2}, {kInf, kInf, kInf}, {kInf, 1, -kInf}, {2, 3, 1}},
                                         {kNaN, kInf, -kInf, 1}),
                            gradient_at("ties share", min, {3, 1, 1, 1}, {0, 1.0 / 3, 1.0 / 3, 1.0 / 3})}}),
    add_row({"prod", cases_of(prod, product, kNearOne, 1e-5) +
                         long_cases(prod, product, {.low = 0.999, .high = 1.001}, 1e-4) +
                         std::vector<Case>{gradient_at("no zero", prod, {2, 3, -4}, {-12, -8, 6}),
                                           gradient_at("one zero", prod, {2, 0, -4}, {0, -8, 0}),
                                           gradient_at("two zeros", prod, {2, 0, 0}, {0, 0, 0})}}),
    add_row({"argmax", arg_cases(argmax, true)}),
    add_row({"argmin", arg_cases(argmin, false)}),
    add_row({"cumsum", cumsum_cases()})};

}  // namespace
}  // namespace stithy::testing

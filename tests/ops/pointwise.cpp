// Rows of the pointwise ops: one line of double precision each.
#include <cmath>
#include <limits>
#include <numbers>

#include "engine/core/error.h"
#include "engine/ops.h"
#include "tests/harness.h"

namespace stithy::testing {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

using Unary = Tensor (*)(const Tensor&);
using Function = double (*)(double);

struct Domain {
  double low = -2, high = 2;
  std::vector<double> avoid = {};
  std::vector<double> special = {0, 1, -1, kInf, -kInf, kNaN, 100, -100};
  std::vector<double> relative = {};  // where the result must be right relative to itself
};

std::vector<Reference> map(std::span<const Reference> xs, Function f) {
  Reference y(xs[0].shape);
  for (int64_t i = 0; i < y.numel(); ++i) y[i] = f(xs[0][i]);
  return {y};
}

Array array_of(const std::vector<double>& values) {
  Array array({static_cast<int64_t>(values.size())}, DType::f32);
  for (size_t i = 0; i < values.size(); ++i) array.set(static_cast<int64_t>(i), values[i]);
  return array;
}
double rounded(double value) { return static_cast<double>(static_cast<float>(value)); }

// Inputs that no random draw would give; results as f32 has them.
Case special_values(Unary op, Function f, const std::vector<double>& inputs) {
  return {.name = "special values",
          .build = [=](auto) { return std::vector{op(array_of(inputs))}; },
          .reference =
              [=](auto) {
                std::vector<double> results;
                for (double x : inputs) results.push_back(rounded(f(rounded(x))));
                return std::vector{Reference({static_cast<int64_t>(inputs.size())}, results)};
              }};
}

// result / reference must be 1.
Case relative_error(Unary op, Function f, const std::vector<double>& inputs) {
  return {.name = "relative error",
          .build =
              [=](auto) {
                std::vector<double> results;
                for (double x : inputs) results.push_back(f(rounded(x)));
                return std::vector{op(array_of(inputs)) / Tensor(array_of(results))};
              },
          .reference =
              [=](auto) {
                Reference ones({static_cast<int64_t>(inputs.size())});
                for (double& one : ones.values) one = 1;
                return std::vector{ones};
              },
          .tolerance = 1.2e-6};
}

const Shape kShapes[] = {{29, 89}, {}, {2, 3, 1, 5, 2, 3}};

// Contiguous runs that start and end at whole vectors, which the harness's own strided views do not have.
Case whole_vectors(Unary op, Function f) {
  return {.name = "rows of whole vectors",
          .arguments = {{.shape = {5, 7, 16}}},
          .build = [=](auto xs) { return std::vector{op(slice(transpose(xs[0], 0, 1), 2, 4, 12))}; },
          .reference =
              [=](auto xs) {
                Reference y(Shape{7, 5, 8});
                for (int64_t i = 0; i < 7; ++i)
                  for (int64_t j = 0; j < 5; ++j)
                    for (int64_t k = 0; k < 8; ++k)
                      y[(i * 5 + j) * 8 + k] = f(xs[0][(j * 7 + i) * 16 + k + 4]);
                return std::vector{y};
              },
          .strided = false};
}

std::vector<Case> unary_cases(Unary op, Function f, const Domain& d) {
  std::vector<Case> cases;
  for (const Shape& shape : kShapes)
    cases.push_back({.name = cat(shape),
                     .arguments = {{.shape = shape, .low = d.low, .high = d.high, .avoid = d.avoid}},
                     .build = [=](auto xs) { return std::vector{op(xs[0])}; },
                     .reference = [=](auto xs) { return map(xs, f); }});
  if (!d.special.empty()) cases.push_back(special_values(op, f, d.special));
  if (!d.relative.empty()) cases.push_back(relative_error(op, f, d.relative));
  return cases;
}

bool unary_row(const std::string& name, Unary op, Function f, const Domain& d = {}) {
  std::vector<Case> cases = unary_cases(op, f, d);
  if (name == "neg") cases.push_back(whole_vectors(op, f));
  return add_row({name, cases});
}

std::vector<Case> joined(std::vector<Case> cases, const std::vector<Case>& more) {
  cases.insert(cases.end(), more.begin(), more.end());
  return cases;
}

// Fourth-order central difference: the derivative that the fused gradient of an activation is checked with.
double slope(Function f, double x) {
  const double h = 1e-3;
  return (8 * (f(x + h) - f(x - h)) - (f(x + 2 * h) - f(x - 2 * h))) / (12 * h);
}

// A row for the op and one for NAME_grad, the op of its gradient.
bool activation_row(const std::string& name, Unary op, Function f, const Domain& d = {},
                    const std::vector<Case>& more = {}) {
  std::vector<Case> cases;
  for (const Shape& shape : {Shape{29, 89}, Shape{}, Shape{2, 3, 1, 5, 2, 3}})
    cases.push_back(
        {.name = cat(shape),
         .arguments = {{.shape = shape, .low = d.low, .high = d.high, .avoid = d.avoid}, {.shape = shape}},
         .build = [=](auto xs) { return gradients(op(xs[0]), xs.first(1), Unreached::error, xs[1]); },
         .reference =
             [=](auto xs) {
               Reference dx(shape);
               for (int64_t i = 0; i < dx.numel(); ++i) dx[i] = xs[1][i] * slope(f, xs[0][i]);
               return std::vector{dx};
             }});
  return add_row({name, joined(unary_cases(op, f, d), more)}) && add_row({name + "_grad", cases});
}

double truth(bool x) { return x ? 1 : 0; }
double sign_of(double x) { return x > 0 ? 1 : x < 0 ? -1 : x; }
double sigmoid_of(double x) { return 1 / (1 + std::exp(-x)); }
double softplus_of(double x) {
  return std::isnan(x) ? x : std::fmax(x, 0) + std::log1p(std::exp(-std::abs(x)));
}
double normal_of(double x) { return 0.5 * std::erfc(-x / std::numbers::sqrt2); }
double clamp_of(double x, double low, double high) { return x < low ? low : x > high ? high : x; }

const bool kUnary[] = {
    unary_row("neg", neg, [](double x) { return -x; }),
    unary_row("abs", abs, [](double x) { return std::abs(x); }, {.avoid = {0}}),
    unary_row("sign", sign, sign_of, {.avoid = {0}}),
    unary_row("exp", exp, std::exp, {.relative = {-80, -30, -1, -1e-6, 0.34, 0.36, 1, 10, 50, 88}}),
    unary_row("log", log, std::log,
              {.low = 0.1, .high = 4, .relative = {1e-37, 1e-5, 0.5, 0.7, 0.71, 0.999, 1.001, 1.5, 3, 1e30}}),
    unary_row("sqrt", sqrt, std::sqrt, {.low = 0.1, .high = 4}),
    unary_row("rsqrt", rsqrt, [](double x) { return 1 / std::sqrt(x); },
              {.low = 0.2, .high = 4, .special = {1, kInf, kNaN, 0, 100}}),
    unary_row("reciprocal", reciprocal, [](double x) { return 1 / x; }, {.low = 0.3, .high = 3}),
    unary_row("square", square, [](double x) { return x * x; }),
    unary_row("sin", sin, std::sin,
              {.low = -9,
               .high = 9,
               .special = {0, kInf, -kInf, kNaN, 255, -257, 1e4, -1e5, 1e7, 1e15, -3e22, 3e38},
               .relative = {1e-6, -0.1, 1.57, 3.1, -100}}),
    unary_row("cos", cos, std::cos,
              {.low = -9,
               .high = 9,
               .special = {0, kInf, -kInf, kNaN, 255, -257, 1e4, -1e5, 1e7, 1e15, -3e22, 3e38}}),
    unary_row("erf", erf, std::erf, {.low = -3, .high = 3, .relative = {1e-8, 0.1, 0.99, 1.01, -2}}),
    unary_row("floor", floor, std::floor, {.avoid = {-2, -1, 0, 1, 2}}),
    unary_row("ceil", ceil, std::ceil, {.avoid = {-2, -1, 0, 1, 2}}),
    unary_row("round", round, std::nearbyint,
              {.avoid = {-1.5, -0.5, 0.5, 1.5}, .special = {0.5, 1.5, 2.5, -0.5, -1.5, kInf, kNaN}}),
    unary_row("log1p", log1p, std::log1p,
              {.low = -0.5, .high = 3, .relative = {1e-7, -1e-4, 0.3, 100, -0.9}}),
    unary_row("expm1", expm1, std::expm1, {.relative = {1e-7, -1e-4, 0.3, 0.4, -0.36, 20}}),
    activation_row("tanh", tanh, std::tanh, {.low = -4, .high = 4, .relative = {1e-7, 0.01, 0.3, -0.6, 3}}),
    activation_row("sigmoid", sigmoid, sigmoid_of, {.low = -6, .high = 6, .relative = {-80, -20, -1, 2}}),
    activation_row(
        "clamp", [](const Tensor& x) { return clamp(x, -0.5f, 1.25f); },
        [](double x) { return clamp_of(x, -0.5, 1.25); }, {.avoid = {-0.5, 1.25}}),
    activation_row("relu", relu, [](double x) { return x < 0 ? 0 : x; }, {.avoid = {0}}),
    activation_row(
        "leaky_relu", [](const Tensor& x) { return leaky_relu(x, 0.25f); },
        [](double x) { return x > 0 ? x : 0.25 * x; }, {.avoid = {0}}),
    activation_row(
        "elu", [](const Tensor& x) { return elu(x, 1.5f); },
        [](double x) { return x > 0 ? x : 1.5 * std::expm1(x); }, {.avoid = {0}},
        {{.name = "selu",
          .arguments = {{.shape = {29, 89}, .avoid = {0}}},
          .build = [](auto xs) { return std::vector{selu(xs[0])}; },
          .reference =
              [](auto xs) {
                return map(xs, [](double x) {
                  return 1.0507009873554804934 * (x > 0 ? x : 1.6732632423543772848 * std::expm1(x));
                });
              }}}),
    activation_row(
        "gelu", [](const Tensor& x) { return gelu(x); }, [](double x) { return x * normal_of(x); },
        {.low = -4, .high = 4, .special = {0, kInf, kNaN, 100, -100}, .relative = {-4, -3, -1, 2}}),
    activation_row(
        "gelu_tanh", [](const Tensor& x) { return gelu(x, Gelu::tanh); },
        [](double x) {
          const double u = std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x);
          return 0.5 * x * (1 + std::tanh(u));
        },
        {.low = -4, .high = 4, .special = {0, kInf, kNaN, 100, -100}}),
    activation_row("silu", silu, [](double x) { return x * sigmoid_of(x); },
                   {.low = -5, .high = 5, .special = {0, kInf, kNaN, 100, -100}}),
    activation_row("softplus", softplus, softplus_of, {.low = -5, .high = 5, .relative = {-60, -20, 3, 50}}),
    activation_row("mish", mish, [](double x) { return x * std::tanh(softplus_of(x)); },
                   {.low = -5, .high = 5, .special = {0, kInf, kNaN, 100, -100}}),
    activation_row("hardswish", hardswish, [](double x) { return x * clamp_of(x + 3, 0, 6) / 6; },
                   {.low = -5, .high = 5, .avoid = {-3, 3}, .special = {0, kInf, kNaN, 100, -100}}),
    activation_row("hardsigmoid", hardsigmoid, [](double x) { return clamp_of(x + 3, 0, 6) / 6; },
                   {.low = -5, .high = 5, .avoid = {-3, 3}}),
    unary_row("isnan", isnan, [](double x) { return truth(std::isnan(x)); }),
    unary_row("isfinite", isfinite, [](double x) { return truth(std::isfinite(x)); }),
    add_row({"logical_not",
             {{.name = "prime",
               .arguments = {{.shape = {29, 89}, .dtype = DType::boolean}},
               .build = [](auto xs) { return std::vector{logical_not(xs[0])}; },
               .reference = [](auto xs) { return map(xs, [](double x) { return truth(x == 0); }); }}}}),
};

using Binary = Tensor (*)(const Tensor&, const Tensor&);
using Function2 = double (*)(double, double);

std::vector<Reference> map2(std::span<const Reference> xs, Function2 f) {
  Reference y(broadcast("reference", xs[0].shape, xs[1].shape));
  for (int64_t i = 0; i < y.numel(); ++i)
    y[i] = f(broadcast_at(xs[0], y.shape, i), broadcast_at(xs[1], y.shape, i));
  return {y};
}

struct Domain2 {
  Argument a{}, b{};
  bool integers = true, floats = true;
  // Values that meet each other, every one with every one.
  std::vector<double> special = {0, 1, -1, 2, kInf, -kInf, kNaN};
};

const std::pair<Shape, Shape> kPairs[] = {{{29, 89}, {29, 89}},
                                          {{}, {}},
                                          {{113}, {}},
                                          {{1}, {7, 113}},
                                          {{7, 29}, {29}},
                                          {{29, 1}, {89}},
                                          {{5, 1, 16}, {7, 16}},
                                          {{29, 7, 1}, {29, 7, 12}},
                                          {{2, 3, 1, 5, 1, 3}, {2, 1, 4, 5, 2, 1}}};

bool binary_row(const std::string& name, Binary op, Function2 f, Domain2 d = {},
                const std::vector<Case>& more = {}) {
  std::vector<Case> cases = more;
  for (const auto& [a, b] : kPairs) {
    // The ops share their loads: add alone goes through every kind of broadcast.
    if (name != "add" && (a.rank() == 3 || a.rank() == 1)) continue;
    d.a.shape = a, d.b.shape = b;
    const auto add_case = [&](const std::string& label) {
      cases.push_back({.name = cat(label, a, " ", b),
                       .arguments = {d.a, d.b},
                       .build = [=](auto xs) { return std::vector{op(xs[0], xs[1])}; },
                       .reference = [=](auto xs) { return map2(xs, f); }});
    };
    if (d.floats) add_case("");
    if (!d.integers || (a.rank() != 2 && a.rank() != 6)) continue;
    const Domain2 kept = d;
    for (Argument* x : {&d.a, &d.b}) *x = {.shape = x->shape, .dtype = DType::i32, .low = -20, .high = 20};
    if (name == "div") d.b.avoid = {0};
    add_case("i32 ");
    d = kept;
  }
  const int64_t n = static_cast<int64_t>(d.special.size());
  if (d.floats)
    cases.push_back({.name = "special values",
                     .build =
                         [=](auto) {
                           const Tensor x = array_of(d.special);
                           return std::vector{op(unsqueeze(x, 1), x)};
                         },
                     .reference =
                         [=](auto) {
                           Reference y(Shape{n, n});
                           for (int64_t i = 0; i < n * n; ++i)
                             y[i] = rounded(f(d.special[static_cast<size_t>(i / n)],
                                              d.special[static_cast<size_t>(i % n)]));
                           return std::vector{y};
                         }});
  return add_row({name, cases});
}

const Argument kPositive{.low = 0.4, .high = 2};
// Kinks where a = b: a on multiples of 0.01 and b between them.
const Argument kEven{.low = -18, .high = 18, .margin = 0.01, .distinct = true};
const Argument kOdd{.low = -17.995, .high = 18, .margin = 0.01, .distinct = true};
const Argument kBool{.dtype = DType::boolean};

// d/db of a^b at a = 0 must not be NaN.
const Case kPowAtZero{
    .name = "gradient at zero",
    .build =
        [](auto) {
          const Tensor a = array_of({0, 0, 0, 2}), b = array_of({1, 2, 3, 3});
          const Tensor y = pow(a, b);
          const std::vector<Tensor> dxs = gradients(y, std::vector{a, b}, Unreached::error, ones({4}));
          return std::vector{y, dxs[0], dxs[1]};
        },
    .reference =
        [](auto) {
          return std::vector{Reference({4}, {0, 0, 0, 8}), Reference({4}, {1, 0, 0, 12}),
                             Reference({4}, {0, 0, 0, 8 * std::log(2.0)})};
        }};

const bool kBinary[] = {
    binary_row("add", add, [](double a, double b) { return a + b; }),
    binary_row("sub", sub, [](double a, double b) { return a - b; }),
    binary_row("mul", mul, [](double a, double b) { return a * b; }),
    binary_row("div", div,
               [](double a, double b) { return a / b; },  // i32: the harness rounds towards zero too
               {.b = {.low = 0.5, .high = 2}}),
    binary_row("minimum", minimum,
               [](double a, double b) { return std::isnan(a) || std::isnan(b) ? kNaN : std::fmin(a, b); },
               {.a = kEven, .b = kOdd}),
    binary_row("maximum", maximum,
               [](double a, double b) { return std::isnan(a) || std::isnan(b) ? kNaN : std::fmax(a, b); },
               {.a = kEven, .b = kOdd}),
    binary_row("pow", pow, std::pow,
               {.a = kPositive,
                .b = Argument{},
                .integers = false,
                .special = {0, 1, -1, 2, 3, -2.5, 0.5, -3, kInf, -kInf, kNaN}},
               {kPowAtZero}),
    binary_row("equal", equal, [](double a, double b) { return truth(a == b); },
               {.a = {.dtype = DType::f32, .low = 0, .high = 1}}),
    binary_row("not_equal", not_equal, [](double a, double b) { return truth(a != b); }),
    binary_row("less", less, [](double a, double b) { return truth(a < b); }),
    binary_row("less_equal", less_equal, [](double a, double b) { return truth(a <= b); }),
    binary_row("greater", greater, [](double a, double b) { return truth(a > b); }),
    binary_row("greater_equal", greater_equal, [](double a, double b) { return truth(a >= b); }),
};

// Rows whose gradient or operands need other cases than the broadcasts above.
bool logical_row(const std::string& name, Binary op, Function2 f) {
  std::vector<Case> cases;
  for (const auto& [a, b] : {kPairs[0], kPairs[4], kPairs[8]})
    cases.push_back(
        {.name = cat(a, " ", b),
         .arguments = {{.shape = a, .dtype = DType::boolean}, {.shape = b, .dtype = DType::boolean}},
         .build = [=](auto xs) { return std::vector{op(xs[0], xs[1])}; },
         .reference = [=](auto xs) { return map2(xs, f); }});
  return add_row({name, cases});
}

std::vector<Reference> where_reference(std::span<const Reference> xs) {
  Reference y(broadcast("reference", xs[0].shape, broadcast("reference", xs[1].shape, xs[2].shape)));
  for (int64_t i = 0; i < y.numel(); ++i)
    y[i] = broadcast_at(xs[0], y.shape, i) != 0 ? broadcast_at(xs[1], y.shape, i)
                                                : broadcast_at(xs[2], y.shape, i);
  return {y};
}

bool where_row() {
  std::vector<Case> cases;
  const Shape triples[][3] = {{{29, 89}, {29, 89}, {29, 89}},
                              {{29, 1}, {89}, {}},
                              {{}, {113}, {29, 1}},
                              {{2, 1, 3, 1, 2, 1}, {2, 3, 3, 1, 1, 5}, {1, 3, 1, 4, 2, 5}},
                              {{7, 16}, {5, 1, 16}, {5, 7, 16}}};
  for (const auto& t : triples)
    for (const DType dtype : {DType::f32, DType::i32})
      cases.push_back({.name = cat(dtype, " ", t[0], " ", t[1], " ", t[2]),
                       .arguments = {{.shape = t[0], .dtype = DType::boolean},
                                     {.shape = t[1], .dtype = dtype},
                                     {.shape = t[2], .dtype = dtype}},
                       .build = [](auto xs) { return std::vector{where(xs[0], xs[1], xs[2])}; },
                       .reference = where_reference});
  return add_row({"where", cases});
}

constexpr DType kDTypes[] = {DType::f32, DType::f16, DType::bf16, DType::i32, DType::u8, DType::boolean};

// Through Array::to, whose conversions core's tests check bit by bit.
bool cast_row() {
  std::vector<Case> cases;
  for (const DType from : kDTypes)
    for (const DType to : kDTypes) {
      if (from == to) continue;
      const bool floats = to == DType::f32;
      cases.push_back({.name = cat(from, " to ", to),
                       .arguments = {{.shape = {7, 29},
                                      .dtype = from,
                                      .low = from == DType::u8 ? 0.0 : -300.0,
                                      .high = from == DType::u8 ? 255.0 : 300.0}},
                       .build = [=](auto xs) { return std::vector{cast(xs[0], to)}; },
                       .reference =
                           [=](auto xs) {
                             Reference y(xs[0].shape);
                             Array one({}, floats ? DType::f32 : to);
                             for (int64_t i = 0; i < y.numel(); ++i) {
                               one.set(0, xs[0][i]);
                               y[i] = one.item();
                             }
                             return std::vector{y};
                           },
                       .tolerance = 0,
                       .gradient = false});
    }
  for (const DType to : kDTypes)
    cases.push_back({.name = cat("special values to ", to),
                     .build =
                         [=](auto) {
                           return std::vector{
                               cast(array_of({0, kInf, -kInf, kNaN, 1e-8, 6e-8, 3e-5, 65519, 65520, 1e10,
                                              -1e10, 2147483520, 255.9, -0.9, 1e-40}),
                                    to)};
                         },
                     .reference =
                         [=](auto) {
                           const Array y = array_of({0, kInf, -kInf, kNaN, 1e-8, 6e-8, 3e-5, 65519, 65520,
                                                     1e10, -1e10, 2147483520, 255.9, -0.9, 1e-40})
                                               .to(to);
                           Reference result(y.shape());
                           for (int64_t i = 0; i < result.numel(); ++i) result[i] = y.at(i);
                           return std::vector{result};
                         }});
  cases.erase(cases.begin() + static_cast<std::ptrdiff_t>(cases.size() - 6));  // f32 to f32 is no cast
  cases.push_back({.name = "gradient through bf16",
                   .arguments = {{.shape = {7, 29}}},
                   .build = [](auto xs) { return std::vector{cast(cast(xs[0], DType::bf16), DType::f32)}; },
                   .reference = [](auto xs) { return std::vector{xs[0]}; },
                   .tolerance = 0.004,
                   .gradient_tolerance = 0.004});
  return add_row({"cast", cases});
}

bool contiguous_row() {
  std::vector<Case> cases;
  for (const DType dtype : kDTypes)
    for (const Shape& shape : {Shape{29, 89}, Shape{2, 3, 4, 5, 2, 3}, Shape{5, 7, 16}})
      cases.push_back({.name = cat(dtype, " ", shape),
                       .arguments = {{.shape = shape, .dtype = dtype, .low = 0, .high = 100}},
                       .build = [](auto xs) { return std::vector{contiguous(transpose(xs[0], 0, 1))}; },
                       .reference =
                           [](auto xs) {
                             Shape shape = xs[0].shape;
                             const int64_t a = shape[0], b = shape[1], rest = shape.numel() / (a * b);
                             std::swap(shape[0], shape[1]);
                             Reference y(shape);
                             for (int64_t i = 0; i < y.numel(); ++i)
                               y[i] = xs[0][(i / rest % a * b + i / rest / a) * rest + i % rest];
                             return std::vector{y};
                           }});
  return add_row({"contiguous", cases});
}

// Equal operands: half of the gradient each, as in PyTorch.
bool share_row() {
  const auto both = [](Binary op) {
    return [op](std::span<const Tensor> xs) {
      const Tensor a = cast(xs[0], DType::f32), b = cast(xs[1], DType::f32);
      return gradients(op(a, b), std::vector{a, b}, Unreached::error, ones(a.shape()));
    };
  };
  const auto shares = [](double sign) {
    return [sign](std::span<const Reference> xs) {
      Reference da(xs[0].shape), db(xs[0].shape);
      for (int64_t i = 0; i < da.numel(); ++i) {
        da[i] = 0.5 + 0.5 * sign_of(sign * (xs[0][i] - xs[1][i]));
        db[i] = 1 - da[i];
      }
      return std::vector{da, db};
    };
  };
  const std::vector<Argument> few{{.shape = {29, 7}, .dtype = DType::i32},
                                  {.shape = {29, 7}, .dtype = DType::i32}};
  return add_row({"larger_share",
                  {{.name = "maximum", .arguments = few, .build = both(maximum), .reference = shares(1)},
                   {.name = "minimum", .arguments = few, .build = both(minimum), .reference = shares(-1)}}});
}

const bool kOthers[] = {
    logical_row("logical_and", logical_and, [](double a, double b) { return a * b; }),
    logical_row("logical_or", logical_or, [](double a, double b) { return truth(a != 0 || b != 0); }),
    where_row(),
    cast_row(),
    contiguous_row(),
    share_row()};

}  // namespace
}  // namespace stithy::testing

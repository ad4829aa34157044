#include "nn/loss.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "engine/core/error.h"
#include "engine/core/rng.h"
#include "engine/graph/autograd.h"
#include "engine/graph/program.h"
#include "engine/ops.h"

using namespace stithy;
using nn::Reduction;

namespace {
using Doubles = std::vector<double>;
// The loss by row or element, in double precision; the check applies the reduction.
using Reference = std::function<Doubles(const Doubles& x, const Doubles& t)>;

constexpr int64_t kRows = 5, kColumns = 4;

Array random(const Shape& shape, double low, double high, uint64_t seed) {
  Philox numbers(seed);
  Array values(shape, DType::f32);
  for (float& v : values.values<float>()) v = static_cast<float>(low + (high - low) * numbers.uniform());
  return values;
}

Doubles doubles(const Array& a) {
  Doubles out;
  for (int64_t i = 0; i < a.numel(); ++i) out.push_back(a.at(i));
  return out;
}

double total(const Doubles& values) {
  double sum = 0;
  for (const double v : values) sum += v;
  return sum;
}

// Value and gradient against the reference, for every reduction. `scale`: mean = scale * sum.
template <class Loss>
void check(Loss loss, const Array& x, const Array& t, const Reference& reference, double scale = 0) {
  const Doubles xs = doubles(x), ts = doubles(t), rows = reference(xs, ts);
  if (scale == 0) scale = 1.0 / static_cast<double>(rows.size());
  for (const Reduction reduction : {Reduction::mean, Reduction::sum, Reduction::none}) {
    CAPTURE(static_cast<int>(reduction));
    loss.reduction = reduction;
    const Tensor input(x), output = loss(input, Tensor(t));
    const double factor = reduction == Reduction::mean ? scale : 1;
    if (reduction == Reduction::none) {
      const Array values = output.eval();
      REQUIRE(values.numel() == static_cast<int64_t>(rows.size()));
      for (size_t i = 0; i < rows.size(); ++i)
        CHECK(values.at(static_cast<int64_t>(i)) == doctest::Approx(rows[i]).epsilon(1e-5).scale(1));
    } else {
      CHECK(output.rank() == 0);
      CHECK(output.item() == doctest::Approx(factor * total(rows)).epsilon(1e-5));
    }
    const Tensor xs_tensor[] = {input};
    const Array dx = gradients(sum(output), xs_tensor)[0].eval();
    for (size_t i = 0; i < xs.size(); ++i) {
      constexpr double kStep = 1e-5;
      Doubles above = xs, below = xs;
      above[i] += kStep;
      below[i] -= kStep;
      const double slope = (total(reference(above, ts)) - total(reference(below, ts))) / (2 * kStep);
      CHECK(dx.at(static_cast<int64_t>(i)) == doctest::Approx(factor * slope).epsilon(1e-4).scale(1));
    }
  }
}

// A loss of one element, for each element.
Reference each(double (*f)(double x, double t)) {
  return [f](const Doubles& x, const Doubles& t) {
    Doubles out;
    for (size_t i = 0; i < x.size(); ++i) out.push_back(f(x[i], t[i]));
    return out;
  };
}

// A loss of a row of kColumns, for each row.
Reference by_row(double (*f)(const double* x, const double* t)) {
  return [f](const Doubles& x, const Doubles& t) {
    Doubles out;
    for (size_t i = 0; i < x.size(); i += kColumns) out.push_back(f(&x[i], &t[i]));
    return out;
  };
}

Array log_probabilities(uint64_t seed) {
  Array x = random({kRows, kColumns}, -2, 2, seed);
  for (int64_t row = 0; row < kRows; ++row) {
    double sum = 0;
    for (int64_t j = 0; j < kColumns; ++j) sum += std::exp(x.at(row * kColumns + j));
    for (int64_t j = 0; j < kColumns; ++j)
      x.set(row * kColumns + j, x.at(row * kColumns + j) - std::log(sum));
  }
  return x;
}

Array probabilities(uint64_t seed) {
  Array x = log_probabilities(seed);
  for (int64_t i = 0; i < x.numel(); ++i) x.set(i, std::exp(x.at(i)));
  return x;
}

const Array kOutput = random({kRows, kColumns}, -3, 3, 1), kTarget = random({kRows, kColumns}, -3, 3, 2);
}  // namespace

TEST_SUITE("loss") {
  TEST_CASE("mse") {
    check(nn::Mse{}, kOutput, kTarget, each([](double x, double t) { return (x - t) * (x - t); }));
  }

  TEST_CASE("l1") {
    check(nn::L1{}, kOutput, kTarget, each([](double x, double t) { return std::abs(x - t); }));
    const Tensor x(Array({2}, {1, 2})), xs[] = {x};
    const Array dx = gradients(nn::L1{}(x, Array({2}, {1, 1})), xs)[0].eval();
    CHECK(dx.at(0) == 0);
    CHECK(dx.at(1) == 0.5);
  }

  TEST_CASE("huber and smooth l1") {
    check(nn::Huber{.delta = 1.5f}, kOutput, kTarget, each([](double x, double t) {
            const double d = std::abs(x - t);
            return d < 1.5 ? d * d / 2 : 1.5 * (d - 0.75);
          }));
    check(nn::SmoothL1{.beta = 0.5f}, kOutput, kTarget, each([](double x, double t) {
            const double d = std::abs(x - t);
            return d < 0.5 ? d * d : d - 0.25;
          }));
    check(nn::SmoothL1{.beta = 0}, kOutput, kTarget,
          each([](double x, double t) { return std::abs(x - t); }));
    CHECK_THROWS_AS(nn::Huber{.delta = 0}(kOutput, kTarget), Error);
  }

  TEST_CASE("binary cross entropy of probabilities, certain ones included") {
    check(nn::Bce{}, random({kRows, kColumns}, 0.01, 0.99, 3), random({kRows, kColumns}, 0, 1, 4),
          each([](double p, double t) { return -(t * std::log(p) + (1 - t) * std::log1p(-p)); }));
    const Tensor p(Array({5}, {0, 1, 0, 1, 1e-9f})), xs[] = {p};
    const Array t({5}, {0, 1, 1, 0, 0});
    const Tensor loss = nn::Bce{.reduction = Reduction::none}(p, t);
    const Array values = loss.eval(), dp = gradients(sum(loss), xs)[0].eval();
    const double expected[] = {0, 0, 100, 100, 1e-9};
    for (int64_t i = 0; i < 5; ++i) {
      CHECK(values.at(i) == doctest::Approx(expected[i]).scale(1e-9));
      CHECK(std::isfinite(dp.at(i)));
    }
  }

  TEST_CASE("binary cross entropy of logits, extreme ones included") {
    const auto exact = [](double x, double t) {
      return std::max(x, 0.0) - x * t + std::log1p(std::exp(-std::abs(x)));
    };
    check(nn::BceWithLogits{}, kOutput, random({kRows, kColumns}, 0, 1, 5), each(exact));
    check(nn::BceWithLogits{.positive_weight = 3}, kOutput, random({kRows, kColumns}, 0, 1, 5),
          each([](double x, double t) {
            return 3 * t * std::log1p(std::exp(-x)) + (1 - t) * std::log1p(std::exp(x));
          }));
    const Tensor x(Array({4}, {-200, 200, 200, -12})), xs[] = {x};
    const Array t({4}, {0, 1, 0, 0});
    const Tensor loss = nn::BceWithLogits{.reduction = Reduction::none}(x, t);
    const Array values = loss.eval(), dx = gradients(sum(loss), xs)[0].eval();
    CHECK(values.at(0) == 0);
    CHECK(values.at(1) == 0);
    CHECK(values.at(2) == 200);
    CHECK(values.at(3) == doctest::Approx(exact(-12, 0)).epsilon(1e-4));
    CHECK(dx.at(2) == 1);
    CHECK(dx.at(0) == doctest::Approx(0));
  }

  TEST_CASE("cross entropy") {
    const std::vector<int32_t> targets{0, 3, 1, 1, 2};
    check(nn::CrossEntropy{}, kOutput, Array({kRows}, targets), [](const Doubles& x, const Doubles& t) {
      Doubles out;
      for (size_t row = 0; row < t.size(); ++row) {
        double sum = 0;
        for (size_t j = 0; j < kColumns; ++j) sum += std::exp(x[row * kColumns + j]);
        out.push_back(std::log(sum) - x[row * kColumns + static_cast<size_t>(t[row])]);
      }
      return out;
    });
  }

  TEST_CASE("negative log-likelihood with weights and ignored targets") {
    const std::vector<int32_t> targets{0, 3, -100, 1, 2};
    static const double weights[] = {1, 2, 0.5, 3};
    const Array x = log_probabilities(6), t({kRows}, targets);
    const auto reference = [](bool weighted) {
      return [weighted](const Doubles& xs, const Doubles& ts) {
        Doubles out;
        for (size_t row = 0; row < ts.size(); ++row) {
          const int target = static_cast<int>(ts[row]);
          out.push_back(target < 0 ? 0
                                   : -(weighted ? weights[target] : 1) *
                                         xs[row * kColumns + static_cast<size_t>(target)]);
        }
        return out;
      };
    };
    check(nn::Nll{}, x, t, reference(false), 1.0 / 4);
    check(nn::Nll{.class_weights = Array({4}, {1, 2, 0.5f, 3})}, x, t, reference(true),
          1.0 / (1 + 3 + 2 + 0.5));
    CHECK_THROWS_AS(nn::Nll{}(x, x), Error);
  }

  TEST_CASE("kl divergence") {
    const Array x = log_probabilities(7);
    check(nn::KlDivergence{}, x, probabilities(8), by_row([](const double* x, const double* t) {
            double sum = 0;
            for (int j = 0; j < kColumns; ++j) sum += t[j] * (std::log(t[j]) - x[j]);
            return sum;
          }));
    check(nn::KlDivergence{.log_target = true}, x, log_probabilities(8),
          by_row([](const double* x, const double* t) {
            double sum = 0;
            for (int j = 0; j < kColumns; ++j) sum += std::exp(t[j]) * (t[j] - x[j]);
            return sum;
          }));
    CHECK(nn::KlDivergence{}(x, probabilities(7)).item() == doctest::Approx(0).epsilon(1e-6));
    const Tensor hard = nn::KlDivergence{}(Array({1, 2}, {-1, -2}), Array({1, 2}, {1, 0}));
    CHECK(hard.item() == doctest::Approx(1));
  }

  TEST_CASE("hinge") {
    Array signs = random({kRows, kColumns}, -1, 1, 9);
    for (float& v : signs.values<float>()) v = v < 0 ? -1.0f : 1.0f;
    check(nn::Hinge{}, kOutput, signs, each([](double x, double t) { return std::max(0.0, 1 - t * x); }));
    check(nn::Hinge{.margin = 0.25f}, kOutput, signs,
          each([](double x, double t) { return std::max(0.0, 0.25 - t * x); }));
  }

  TEST_CASE("cosine similarity, of a zero vector too") {
    check(nn::CosineSimilarity{}, kOutput, kTarget, by_row([](const double* x, const double* t) {
            double xx = 0, tt = 0, xt = 0;
            for (int j = 0; j < kColumns; ++j) xx += x[j] * x[j], tt += t[j] * t[j], xt += x[j] * t[j];
            return 1 - xt / std::sqrt(xx * tt);
          }));
    const Tensor x(Array({1, 2}, {0, 0})), xs[] = {x};
    const Tensor loss = nn::CosineSimilarity{}(x, Array({1, 2}, {1, 0}));
    CHECK(loss.item() == 1);
    CHECK(std::isfinite(gradients(loss, xs)[0].eval().at(0)));
  }

  TEST_CASE("shapes that would broadcast are refused") {
    const Array column({3, 1}, {1, 2, 3}), row({3}, {1, 2, 3});
    CHECK_THROWS_AS(nn::Mse{}(column, row), Error);
    CHECK_THROWS_AS(nn::L1{}(column, row), Error);
    CHECK_THROWS_AS(nn::Huber{}(column, row), Error);
    CHECK_THROWS_AS(nn::BceWithLogits{}(column, row), Error);
    CHECK_THROWS_AS(nn::Hinge{}(column, row), Error);
    CHECK_THROWS_AS(nn::CosineSimilarity{}(column, row), Error);
  }

  TEST_CASE("cross entropy of a linear layer, some rows at a time") {
    const Tensor x = random({3, 5, 4}, -1, 1, 21), weight = random({7, 4}, -1, 1, 22), bias = random({7}, -1, 1, 23);
    Array classes({3, 5}, DType::i32);
    for (int64_t i = 0; i < 15; ++i) classes.set(i, static_cast<double>(i * 3 % 7));
    classes.set(4, -100);
    const Tensor xs[] = {x, weight, bias};
    const auto values_of = [&](const Tensor& loss) {
      std::vector<Array> values{loss.eval()};
      for (const Tensor& dx : gradients(loss, xs)) values.push_back(dx.eval());
      return values;
    };
    const std::vector<Array> whole = values_of(
        nn::CrossEntropy{{.label_smoothing = 0.1f}}(matmul(x, transpose(weight)) + bias, classes));
    for (const int64_t chunk : {1, 4, 15, 100}) {
      const nn::LinearCrossEntropy loss{.chunk = chunk, .label_smoothing = 0.1f};
      const std::vector<Array> parts = values_of(loss(x, weight, classes, bias));
      for (size_t v = 0; v < whole.size(); ++v)
        for (int64_t i = 0; i < whole[v].numel(); ++i)
          CHECK(parts[v].at(i) == doctest::Approx(whole[v].at(i)).epsilon(1e-5));
    }
    CHECK_THROWS_AS(nn::LinearCrossEntropy{}(x, bias, classes), Error);
    CHECK_THROWS_AS((nn::LinearCrossEntropy{.chunk = -1}(x, weight, classes)), Error);
  }

  TEST_CASE("all logits of a large vocabulary are never there at once") {
    const Tensor x = random({64, 8}, -1, 1, 24), weight = random({4096, 8}, -1, 1, 25);
    const Array classes({64}, DType::i32);
    const auto peak = [&](const Tensor& loss) {
      const Tensor xs[] = {x, weight};
      return Program(gradients(loss, xs)).plan().arena_bytes;
    };
    const uint64_t logits = 64 * 4096 * 4, whole = peak(nn::CrossEntropy{}(matmul(x, transpose(weight)), classes));
    CHECK(whole > logits);
    CHECK((peak(nn::LinearCrossEntropy{.chunk = 8}(x, weight, classes))) < logits / 2);
  }

  TEST_CASE("sampled cross entropy") {
    const Array x = random({3, 4}, -1, 1, 26), weight = random({9, 4}, -1, 1, 27), bias = random({9}, -1, 1, 28);
    const std::vector<int32_t> targets{0, 5, 8}, drawn{0, 1, 5, 3};
    const Tensor loss = nn::SampledCrossEntropy{}(x, weight, Array({3}, targets), bias, Array({4}, drawn));
    double expected = 0;
    for (int64_t row = 0; row < 3; ++row) {
      const auto logit = [&](int32_t k) {
        double sum = bias.at(k);
        for (int64_t i = 0; i < 4; ++i) sum += x.at(row * 4 + i) * weight.at(k * 4 + i);
        return sum - std::log(4 * std::log((k + 2.0) / (k + 1.0)) / std::log(10.0));
      };
      const int32_t target = targets[static_cast<size_t>(row)];
      double total = std::exp(logit(target));
      for (const int32_t k : drawn)
        if (k != target) total += std::exp(logit(k));
      expected += (std::log(total) - logit(target)) / 3;
    }
    CHECK(loss.eval().at(0) == doctest::Approx(expected).epsilon(1e-5));
    // Drawn by the device, class k as often as the formula says, in range.
    const int64_t samples = 20000;
    nn::SampledCrossEntropy many{.samples = samples};
    const double value = many(x, weight, Array({3}, targets), bias).eval().at(0);
    double exact = 0;  // what it comes to with very many samples: the full softmax
    for (int64_t row = 0; row < 3; ++row) {
      double total = 0, own = 0;
      for (int32_t k = 0; k < 9; ++k) {
        double sum = bias.at(k);
        for (int64_t i = 0; i < 4; ++i) sum += x.at(row * 4 + i) * weight.at(k * 4 + i);
        total += std::exp(sum);
        if (k == targets[static_cast<size_t>(row)]) own = sum;
      }
      exact += (std::log(total) - own) / 3;
    }
    CHECK(value == doctest::Approx(exact).epsilon(0.03));
    CHECK_THROWS_AS((nn::SampledCrossEntropy{.samples = 0}(x, weight, Array({3}, targets))), Error);
  }
}

// The update rules over many steps of one replayed program, against double precision.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "engine/core/error.h"
#include "engine/graph/program.h"
#include "engine/ops.h"
#include "engine/ops_optim.h"

using namespace stithy;

namespace {

Array zeros_array(int64_t n) { return Array({n}, DType::f32); }

// The gradient that element i sees at step t: deterministic, of changing sign and size.
double gradient_at(int64_t i, int t) {
  const double x = static_cast<double>(i);
  return static_cast<double>(static_cast<float>(std::sin(0.37 * x + 0.11 * t) * (0.2 + x)));
}

constexpr int64_t kCount = 9;

struct Trainer {
  Variable w = Variable("w", zeros_array(kCount)), m = Variable("m", zeros_array(kCount)),
           v = Variable("v", zeros_array(kCount));
  Variable step = Variable("step", Array::scalar(0));
  Tensor dw = input("dw", {kCount}), scale = input("scale", {});
  UpdateScalars scalars;

  // Counts the step first, so that the rule sees 1 at the first.
  explicit Trainer(int start = 0) {
    step.set(Array::scalar(static_cast<float>(start)));
    scalars = {Tensor(0.01f), assign(step, step + 1.0f), scale};
  }
  void run(Program& program, const Array& gradient, float factor = 1) {
    const Array by = Array::scalar(factor);
    const Feed feeds[] = {{dw, &gradient}, {scale, &by}};
    program.submit(feeds);
  }
  void run_steps(Program& program, int first, int last) {
    for (int t = first; t <= last; ++t) {
      Array gradient = zeros_array(kCount);
      for (int64_t i = 0; i < kCount; ++i) gradient.set(i, gradient_at(i, t));
      run(program, gradient);
    }
  }
};

// Largest difference between the parameter and double-precision Adam after steps first to last, relative to
// the largest value on the way: every step rounds the parameter as it then is, and a path that returns to
// zero keeps those roundings.
double adam_error(int first, int last) {
  Trainer trainer(first - 1);
  Program program({}, {adam_update(trainer.w, trainer.dw, trainer.m, trainer.v, trainer.scalars)});
  trainer.run_steps(program, first, last);
  const Array w = trainer.w.value();
  double error = 0;
  for (int64_t i = 0; i < kCount; ++i) {
    double value = 0, m = 0, v = 0, size = 0;
    for (int t = first; t <= last; ++t) {
      const double g = gradient_at(i, t);
      m = 0.9 * m + 0.1 * g;
      v = 0.999 * v + 0.001 * g * g;
      value -= 0.01 * m / (1 - std::pow(0.9, t)) / (std::sqrt(v / (1 - std::pow(0.999, t))) + 1e-8);
      size = std::max(size, std::abs(value));
    }
    if (size > 0) error = std::max(error, std::abs(w.at(i) - value) / size);
  }
  return error;
}

}  // namespace

TEST_SUITE_BEGIN("optim");

TEST_CASE("an update does not depend on where the gradient begins, or on how many elements there are") {
  Array first;
  for (const int64_t n : {int64_t{6}, int64_t{70001}}) {
    Array w({n}, DType::f32), dw({n}, DType::f32), shifted({n + 1}, DType::f32);
    for (int64_t i = 0; i < n; ++i) {
      w.set(i, std::sin(static_cast<double>(i)));
      dw.set(i, gradient_at(i % 100, 1));
      shifted.set(i + 1, dw.at(i));
    }
    const auto updated = [&](const Tensor& gradient) {
      const Variable x("w", w), m("m", zeros_array(n)), v("v", zeros_array(n));
      return adam_update(x, gradient, m, v, {Tensor(0.01f), Tensor(2.0f), Tensor(0.5f)},
                         {.penalties = {0.01, 0.02, 0.03}})
          .eval();
    };
    const Array y = updated(dw);
    CHECK(same_bytes(y, updated(slice(shifted, 0, 1, n + 1))));
    if (n == 6)
      first = y;
    else
      CHECK(same_bytes(y.rows(0, 6), first));
  }
}

TEST_CASE("bias corrections are exact at the first steps and far on") {
  for (int last : {1, 2, 3, 4, 5}) CHECK(adam_error(1, last) < 2e-6);
  CHECK(adam_error(10000, 10000) < 2e-6);
  CHECK(adam_error(10000, 10020) < 2e-6);
}

TEST_CASE("a long trajectory stays with the reference") { CHECK(adam_error(1, 400) < 2e-5); }

TEST_CASE("a gradient scale of 0 skips the step") {
  Trainer trainer;
  Program program({}, {adam_update(trainer.w, trainer.dw, trainer.m, trainer.v, trainer.scalars)});
  trainer.run_steps(program, 1, 3);
  const Array w = trainer.w.value(), m = trainer.m.value(), v = trainer.v.value();
  Array bad = zeros_array(kCount);
  for (int64_t i = 0; i < kCount; ++i) bad.set(i, std::numeric_limits<double>::infinity());
  trainer.run(program, bad, 0);
  CHECK(same_bytes(w, trainer.w.value()));
  CHECK(same_bytes(m, trainer.m.value()));
  CHECK(same_bytes(v, trainer.v.value()));
  trainer.run(program, bad);
  CHECK(std::isnan(trainer.w.value().at(0)));
}

TEST_CASE("NaN in a gradient is not hidden by lion's sign or amsgrad's maximum") {
  Trainer a, b;
  const Variable largest("largest", zeros_array(kCount));
  Array bad = zeros_array(kCount);
  bad.set(4, std::numeric_limits<double>::quiet_NaN());
  Program lion({}, {lion_update(a.w, a.dw, a.m, a.scalars)});
  a.run(lion, bad);
  Program amsgrad({}, {adam_update(b.w, b.dw, b.m, b.v, b.scalars, {}, largest)});
  b.run(amsgrad, bad);
  for (Trainer* t : {&a, &b}) {
    CHECK(std::isnan(t->w.value().at(4)));
    CHECK(std::isfinite(t->w.value().at(3)));
  }
  CHECK(std::isnan(largest.value().at(4)));
}

TEST_CASE("mu_product is the product of NAdam's momenta") {
  const Variable product("mu_product", Array::scalar(1));
  Trainer trainer;
  const Tensor updated = update_mu_product(product, trainer.scalars);
  Program program(
      {}, {updated, nadam_update(trainer.w, trainer.dw, trainer.m, trainer.v, updated, trainer.scalars)});
  trainer.run_steps(program, 1, 10);
  double expected = 1;
  for (int t = 1; t <= 10; ++t) expected *= 0.9 * (1 - 0.5 * std::pow(0.96, t * 0.004));
  CHECK(product.value().item() == doctest::Approx(expected).epsilon(1e-6));
  trainer.run(program, zeros_array(kCount), 0);
  CHECK(product.value().item() == doctest::Approx(expected).epsilon(1e-6));
}

TEST_CASE("assign takes a transposed view of the variable itself") {
  const Variable square("square", Array({2, 2}, {1, 2, 3, 4}));
  Program({}, {assign(square, transpose(square.tensor()))}).submit();
  CHECK(same_bytes(square.value(), Array({2, 2}, {1, 3, 2, 4})));
}

TEST_CASE("mistakes are named") {
  const Variable w("weight", zeros_array(3)), m("m", zeros_array(3)), small("small", zeros_array(2));
  const UpdateScalars lr_only{.lr = Tensor(0.1f), .step = {}, .grad_scale = {}};
  CHECK_THROWS_WITH_AS(sgd_update(w, zeros({4}), {}, lr_only), doctest::Contains("weight"), Error);
  CHECK_THROWS_WITH_AS(sgd_update(w, zeros({3}), {}, lr_only, {.momentum = 0.9}), doctest::Contains("buffer"),
                       Error);
  CHECK_THROWS_WITH_AS(adam_update(w, zeros({3}), m, small, {Tensor(0.1f), Tensor(1.0f), {}}),
                       doctest::Contains("v is"), Error);
  CHECK_THROWS_WITH_AS(adam_update(w, zeros({3}), m, m, lr_only), doctest::Contains("step"), Error);
  CHECK_THROWS_WITH_AS(assign(w, zeros({4})), doctest::Contains("weight"), Error);
}

TEST_SUITE_END();

// Gradients of whole graphs, and gradients of gradients, against central differences in double precision.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>

#include "engine/core/error.h"
#include "engine/core/rng.h"
#include "engine/graph/op.h"
#include "engine/graph/program.h"
#include "engine/ops.h"

using namespace stithy;

namespace {

using Values = std::vector<double>;
using Function = std::function<double(const Values&)>;

Array random_array(const Shape& shape, uint64_t stream) {
  Philox random(17, stream);
  Array array(shape, DType::f32);
  for (float& value : array.values<float>()) value = static_cast<float>(random.uniform() * 3 - 1.5);
  return array;
}

Values values_of(const Array& array) {
  Values values;
  for (int64_t i = 0; i < array.numel(); ++i) values.push_back(array.at(i));
  return values;
}

// Central differences of fourth order.
double derivative(const std::function<double(double)>& f, double h) {
  return (8 * (f(h) - f(-h)) - (f(2 * h) - f(-2 * h))) / (12 * h);
}

Values numeric_gradient(const Function& f, const Values& x) {
  Values result;
  for (size_t i = 0; i < x.size(); ++i)
    result.push_back(derivative(
        [&](double t) {
          Values moved = x;
          moved[i] += t;
          return f(moved);
        },
        1e-3));
  return result;
}

// The gradient of sum(v * gradient of f): the Hessian times v.
Values numeric_second(const Function& f, const Values& x, const Values& v) {
  Values result(x.size());
  const auto moved = [&](double t) {
    Values at = x;
    for (size_t i = 0; i < x.size(); ++i) at[i] += t * v[i];
    return numeric_gradient(f, at);
  };
  const double h = 1e-2;
  const Values a = moved(h), b = moved(-h), c = moved(2 * h), d = moved(-2 * h);
  for (size_t i = 0; i < x.size(); ++i) result[i] = (8 * (a[i] - b[i]) - (c[i] - d[i])) / (12 * h);
  return result;
}

std::vector<Tensor> gradients_of(const Tensor& loss, std::initializer_list<Tensor> xs,
                                 Unreached unreached = Unreached::error, const Tensor& seed = {}) {
  return gradients(loss, std::span(xs.begin(), xs.size()), unreached, seed);
}

void check_close(const Array& device, const Values& expected, double tolerance) {
  REQUIRE(device.numel() == static_cast<int64_t>(expected.size()));
  double scale = 1;
  for (double value : expected) scale = std::max(scale, std::abs(value));
  for (size_t i = 0; i < expected.size(); ++i) {
    CAPTURE(i);
    CHECK(std::abs(device.at(static_cast<int64_t>(i)) - expected[i]) <= tolerance * scale);
  }
}

// Value, gradient and second derivative of a scalar function of one tensor.
void check_twice(const Shape& shape, const std::function<Tensor(const Tensor&)>& build, const Function& f) {
  const Array x = random_array(shape, 1), v = random_array(shape, 2);
  const Tensor t = input("x", shape);
  const Tensor y = build(t);
  const Tensor gradient = gradients_of(y, {t})[0];
  const Tensor second = gradients_of(sum(gradient * Tensor(v)), {t}, Unreached::zero)[0];
  Program program({y, gradient, second});
  const Feed feeds[] = {{t, &x}};
  program.submit(feeds);
  const Values at = values_of(x);
  check_close(program.read(0), {f(at)}, 1e-6);
  check_close(program.read(1), numeric_gradient(f, at), 1e-5);
  check_close(program.read(2), numeric_second(f, at, values_of(v)), 1e-5);
}

Array eval_at(const Tensor& y, const Tensor& x, const Array& value) {
  Program program({y});
  const Feed feeds[] = {{x, &value}};
  program.submit(feeds);
  return program.read(0);
}

}  // namespace

TEST_SUITE_BEGIN("autograd");

TEST_CASE("a tensor used several times collects every gradient") {
  const Tensor x = input("x", {3});
  const Array value({3}, {1, -2, 0.5f});
  const Tensor loss = sum(x * x + x * 3.0f + x);
  check_close(eval_at(gradients_of(loss, {x})[0], x, value), {6, 0, 5}, 1e-7);
}

TEST_CASE("broadcast operands get the sum over what they were spread to") {
  const Tensor x = input("x", {3}), scalar = input("s", {});
  const Tensor loss = sum((Tensor(random_array({2, 3}, 5)) * x) * scalar);
  const Array weights = random_array({2, 3}, 5);
  const std::vector<Tensor> dxs = gradients_of(loss, {x, scalar});
  CHECK(dxs[0].shape() == Shape{3});
  CHECK(dxs[1].shape() == Shape{});
  Program program(dxs);
  const Array xs({3}, {1, 2, 3}), s = Array::scalar(2);
  const Feed feeds[] = {{x, &xs}, {scalar, &s}};
  program.submit(feeds);
  Values expected;
  double total = 0;
  for (int64_t i = 0; i < 3; ++i) {
    expected.push_back(2 * (weights.at(i) + weights.at(i + 3)));
    total += static_cast<double>(i + 1) * (weights.at(i) + weights.at(i + 3));
  }
  check_close(program.read(0), expected, 1e-6);
  check_close(program.read(1), {total}, 1e-6);
}

TEST_CASE("views pass their gradients on") {
  const Tensor x = input("x", {2, 3});
  const Tensor loss =
      sum(square(transpose(x)) * Tensor(Array({3, 2}, {1, 2, 3, 4, 5, 6}))) + sum(slice(x, 1, 1, 3));
  const Array value({2, 3}, {1, 2, 3, 4, 5, 6});
  check_close(eval_at(gradients_of(loss, {x})[0], x, value), {2, 13, 31, 16, 41, 73}, 1e-6);
}

TEST_CASE("what the loss does not depend on") {
  const Tensor x = input("x", {3}), other = input("other", {2, 2});
  const Tensor loss = sum(square(x));
  CHECK_THROWS_WITH_AS(gradients_of(loss, {x, other}),
                       "gradients: no gradient of the loss reaches input other\n"
                       "HINT: leave it out, or ask for zero gradients with Unreached::zero",
                       Error);
  const Tensor zero = gradients_of(loss, {x, other}, Unreached::zero)[1];
  CHECK(zero.shape() == Shape{2, 2});
  check_close(zero.eval(), {0, 0, 0, 0}, 0);
}

TEST_CASE("stop_gradient") {
  const Tensor x = input("x", {3});
  const Array value({3}, {1, -2, 0.5f});
  check_close(eval_at(gradients_of(sum(stop_gradient(x) * x), {x})[0], x, value), {1, -2, 0.5}, 1e-7);
  CHECK_THROWS_AS(gradients_of(sum(stop_gradient(x)), {x}), Error);
}

TEST_CASE("with respect to an intermediate result, a variable and the loss itself") {
  const Variable w("w", Array({2}, {3, 4}));
  const Tensor h = w * 2.0f, loss = sum(square(h));
  const std::vector<Tensor> d = gradients_of(loss, {h, w, loss});
  Program program(d);
  program.submit();
  check_close(program.read(0), {12, 16}, 1e-7);
  check_close(program.read(1), {24, 32}, 1e-7);
  check_close(program.read(2), {1}, 0);
}

TEST_CASE("a seed stands for the gradient of what comes after") {
  const Tensor x = input("x", {3});
  const Tensor y = square(x), seed = Tensor(Array({3}, {1, 10, 100}));
  const Array value({3}, {1, 2, 3});
  check_close(eval_at(gradients_of(y, {x}, Unreached::error, seed)[0], x, value), {2, 40, 600}, 1e-7);
  CHECK_THROWS_AS(gradients_of(y, {x}, Unreached::error, Tensor(Array({2}, {1, 1}))), Error);
}

TEST_CASE("mistakes are named") {
  const Tensor x = input("x", {3}), i = input("i", {3}, DType::i32);
  CHECK_THROWS_WITH_AS(gradients_of(x, {x}),
                       "gradients: the loss must be a scalar, its shape is [3]\n"
                       "HINT: reduce it with sum() or mean(), or give a seed",
                       Error);
  CHECK_THROWS_WITH_AS(gradients_of(i, {i}), "gradients: the loss must be f32, it is i32", Error);
  static const OpDef op = {.name = "no_gradient"};
  const Tensor y = make_node(op, {}, {x}, {{Shape{}, DType::f32}});
  CHECK_THROWS_WITH_AS(gradients_of(y, {x}),
                       "gradients: no_gradient is not differentiable\n"
                       "HINT: use stop_gradient() on its input",
                       Error);
  // It does not matter where nothing needs a gradient.
  CHECK_NOTHROW(gradients_of(sum(square(x)) + stop_gradient(y), {x}));
}

TEST_CASE("backward nodes carry the layer and the phase") {
  const Tensor x = input("x", {3});
  Tensor y;
  {
    const ScopeGuard outer("encoder"), inner("0");
    y = tanh(x);
  }
  const Tensor dx = gradients_of(sum(y), {x})[0];
  CHECK(y.node()->scope == "encoder.0");
  CHECK(y.node()->phase == Phase::forward);
  CHECK(dx.node()->scope == "encoder.0");
  CHECK(dx.node()->phase == Phase::backward);
  CHECK(current_scope().empty());
}

TEST_CASE("gradients of gradients: a polynomial, three times") {
  const Tensor x = input("x", {4});
  const Array value({4}, {1, -2, 0.5f, 3});
  const Tensor first = gradients_of(sum(x * x * x * x), {x})[0];
  const Tensor second = gradients_of(sum(first), {x})[0];
  const Tensor third = gradients_of(sum(second), {x})[0];
  Values f1, f2, f3;
  for (double v : values_of(value))
    f1.push_back(4 * v * v * v), f2.push_back(12 * v * v), f3.push_back(24 * v);
  check_close(eval_at(first, x, value), f1, 1e-6);
  check_close(eval_at(second, x, value), f2, 1e-6);
  check_close(eval_at(third, x, value), f3, 1e-6);
}

TEST_CASE("gradients of gradients: tanh") {
  check_twice(
      {6}, [](const Tensor& x) { return sum(tanh(x)); },
      [](const Values& x) {
        double total = 0;
        for (double v : x) total += std::tanh(v);
        return total;
      });
}

TEST_CASE("gradients of gradients: softmax") {
  const Array weights = random_array({2, 4}, 9);
  check_twice(
      {2, 4}, [&](const Tensor& x) { return sum(softmax(x) * Tensor(weights)); },
      [&](const Values& x) {
        double total = 0;
        for (size_t row = 0; row < 2; ++row) {
          double below = 0, above = 0;
          for (size_t i = 0; i < 4; ++i) {
            below += std::exp(x[row * 4 + i]);
            above += std::exp(x[row * 4 + i]) * weights.at(static_cast<int64_t>(row * 4 + i));
          }
          total += above / below;
        }
        return total;
      });
}

TEST_CASE("gradients of gradients: matmul") {
  check_twice(
      {2, 3, 3},
      [](const Tensor& x) {
        const Tensor a = squeeze(slice(x, 0, 0, 1), 0), b = squeeze(slice(x, 0, 1, 2), 0);
        return sum(square(matmul(a, b)));
      },
      [](const Values& x) {
        double total = 0;
        for (size_t i = 0; i < 3; ++i)
          for (size_t j = 0; j < 3; ++j) {
            double dot = 0;
            for (size_t k = 0; k < 3; ++k) dot += x[i * 3 + k] * x[9 + k * 3 + j];
            total += dot * dot;
          }
        return total;
      });
}

TEST_CASE("gradients of gradients: cross entropy") {
  const std::array<int32_t, 3> targets{2, 0, 4};
  check_twice(
      {3, 5},
      [&](const Tensor& x) {
        return cross_entropy(x, Tensor(Array(Shape{3}, std::span<const int32_t>(targets))));
      },
      [&](const Values& x) {
        double total = 0;
        for (size_t row = 0; row < 3; ++row) {
          double below = 0;
          for (size_t i = 0; i < 5; ++i) below += std::exp(x[row * 5 + i]);
          total += std::log(below) - x[row * 5 + static_cast<size_t>(targets[row])];
        }
        return total / 3;
      });
}

TEST_CASE("a graph of 30,000 nodes is differentiated and released without recursion") {
  const Tensor x = input("x", {4});
  Tensor y = x;
  for (int i = 0; i < 30000; ++i) y = y + 1.0f;
  const Tensor dx = gradients_of(sum(y), {x})[0];
  CHECK(dx.shape() == Shape{4});
}

TEST_SUITE_END();

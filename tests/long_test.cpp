// Kernels whose loops are long: a driver may leave loops early and say nothing (DeviceInfo::most_turns).
#include <doctest/doctest.h>

#include <cmath>

#include "engine/graph/program.h"
#include "nn/nn.h"

using namespace stithy;

namespace {

// More turns of a loop than 16 bits count.
constexpr int64_t kLong = 70000;

Array ones_of(const Shape& shape) {
  Array x(shape, DType::f32);
  for (int64_t i = 0; i < x.numel(); ++i) x.set(i, 1);
  return x;
}
Array value_of(const Tensor& x) {
  Program program({x});
  program.submit();
  return program.read(0);
}
void check_all(const Array& x, double expected) {
  int64_t wrong = 0;
  for (int64_t i = 0; i < x.numel(); ++i) wrong += std::abs(x.at(i) - expected) > 1e-5 * std::abs(expected);
  CHECK_MESSAGE(wrong == 0, wrong, " of ", x.numel(), " differ from ", expected, ", the first is ", x.at(0));
}

}  // namespace

TEST_SUITE("long") {
  TEST_CASE("sums, products and normalisation over long axes") {
    const int64_t n = 10 * kLong;
    const Tensor x = ones_of({2, n}), column = ones_of({n, 3});
    check_all(value_of(sum(x, {1})), static_cast<double>(n));
    check_all(value_of(sum(column, {0})), static_cast<double>(n));
    check_all(value_of(max(x, {1})), 1);
    check_all(value_of(logsumexp(x, {1})), 1 + std::log(static_cast<double>(n)));
    check_all(value_of(softmax(x)), 1 / static_cast<double>(n));
    check_all(value_of(matmul(x, column)), static_cast<double>(n));
    check_all(value_of(rmsnorm(x, ones_of({n}))), 1);
    check_all(value_of(cross_entropy(x, Array({2}, std::vector<int32_t>{0, 5}))),
              std::log(static_cast<double>(n)));
  }

  TEST_CASE("cumulative sums of long rows and columns") {
    for (const Shape& shape : {Shape{1, kLong}, {kLong, 2}}) {
      const int64_t axis = shape[0] == 1;
      const Tensor y = cumsum(ones_of(shape), axis);
      check_all(value_of(slice(y, axis, kLong - 1, kLong)), static_cast<double>(kLong));
    }
  }

  TEST_CASE("many additions to one place") {
    const Tensor same = Array({kLong, 1}, std::vector<int32_t>(kLong, 1));
    const Array sums = value_of(scatter_add(zeros({3, 1}), same, ones_of({kLong, 1}), 0));
    CHECK(sums.at(0) == 0);
    CHECK(sums.at(1) == kLong);
    CHECK(sums.at(2) == 0);
  }

  TEST_CASE("the gradient of an embedding that is asked for one row again and again") {
    const int64_t positions = 3000, columns = 300;
    const Tensor table = ones_of({4, columns});
    const Tensor y = sum(embedding(table, Array({positions}, std::vector<int32_t>(positions, 2))));
    const Array gradient = value_of(gradients(y, std::vector<Tensor>{table})[0]);
    for (int64_t row = 0; row < 4; ++row) {
      Array values({columns}, DType::f32);
      for (int64_t i = 0; i < columns; ++i) values.set(i, gradient.at(row * columns + i));
      check_all(values, row == 2 ? static_cast<double>(positions) : 0);
    }
  }

  TEST_CASE("a recurrent layer of many steps") {
    // h' = relu(x + h / 2) with x = 1 goes to 2.
    const int64_t steps = 3000, hidden = 32;
    Array weight({hidden, hidden}, DType::f32);
    for (int64_t i = 0; i < hidden; ++i) weight.set(i * hidden + i, 0.5);
    const auto [y, h, c] = recurrent(Cell::relu, ones_of({steps, 2, hidden}), weight);
    check_all(value_of(slice(y, 0, steps - 1, steps)), 2);
    check_all(value_of(h), 2);
  }
}

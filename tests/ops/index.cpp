// Rows of the ops that choose by index.
#include "tests/harness.h"

#include <cmath>
#include <limits>

#include "engine/ops.h"

namespace stithy::testing {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

// The row-major position of `coordinates`, those of position i of `shape`, in x, with coordinate `axis`
// replaced.
int64_t position(const Shape& x, const Shape& shape, int64_t i, int axis, int64_t chosen) {
  int64_t at = 0, stride = 1;
  for (int d = shape.rank() - 1; d >= 0; --d) {
    at += (d == axis ? chosen : i % shape[d]) * stride;
    stride *= x[d];
    i /= shape[d];
  }
  return at;
}

Reference gathered(const Reference& x, const Reference& index, int axis) {
  Reference y(index.shape);
  for (int64_t i = 0; i < y.numel(); ++i) {
    const auto chosen = static_cast<int64_t>(index[i]);
    const bool wrong = chosen < 0 || chosen >= x.shape[axis];
    y[i] = wrong ? kNaN : x[position(x.shape, index.shape, i, axis, chosen)];
  }
  return y;
}

Reference scattered(const Reference& x, const Reference& index, const Reference& source, int axis) {
  Reference y = x;
  for (int64_t i = 0; i < index.numel(); ++i) {
    const auto chosen = static_cast<int64_t>(index[i]);
    if (chosen >= 0 && chosen < x.shape[axis]) {
      y[position(x.shape, index.shape, i, axis, chosen)] += source[i];
      continue;
    }
    for (int64_t c = 0; c < x.shape[axis]; ++c) y[position(x.shape, index.shape, i, axis, c)] = kNaN;
  }
  return y;
}

Argument index_of(const Shape& shape, double below) {
  return {.shape = shape, .dtype = DType::i32, .low = 0, .high = below - 1};
}

Case gather_case(const std::string& name, const Shape& x, const Shape& index, int axis) {
  return {.name = name,
          .arguments = {{.shape = x}, index_of(index, static_cast<double>(x[axis]))},
          .build = [=](auto xs) { return std::vector{gather(xs[0], xs[1], axis)}; },
          .reference = [=](auto xs) { return std::vector{gathered(xs[0], xs[1], axis)}; }};
}
Case scatter_case(const std::string& name, const Shape& x, const Shape& index, int axis) {
  return {.name = name,
          .arguments = {{.shape = x}, index_of(index, static_cast<double>(x[axis])), {.shape = index}},
          .build = [=](auto xs) { return std::vector{scatter_add(xs[0], xs[1], xs[2], axis)}; },
          .reference = [=](auto xs) { return std::vector{scattered(xs[0], xs[1], xs[2], axis)}; }};
}
Case out_of_range(Case test, int64_t classes) {
  test.name = "out of range";
  test.arguments[1].low = -2;
  test.arguments[1].high = static_cast<double>(classes + 1);
  test.gradient = false;
  return test;
}

Case embedding_case(const std::string& name, const Shape& weight, const Shape& index) {
  return {.name = name,
          .arguments = {{.shape = weight}, index_of(index, static_cast<double>(weight[0]))},
          .build = [](auto xs) { return std::vector{embedding(xs[0], xs[1])}; },
          .reference =
              [](auto xs) {
                Shape shape = xs[1].shape;
                const int64_t columns = xs[0].shape[1];
                shape.push_back(columns);
                Reference y(shape);
                for (int64_t i = 0; i < y.numel(); ++i) {
                  const auto row = static_cast<int64_t>(xs[1][i / columns]);
                  y[i] = row < 0 || row >= xs[0].shape[0] ? kNaN : xs[0][row * columns + i % columns];
                }
                return std::vector{y};
              }};
}

Case one_hot_case(const std::string& name, const Shape& index, int64_t classes, double low = 0) {
  return {.name = name,
          .arguments = {{.shape = index,
                         .dtype = DType::i32,
                         .low = low,
                         .high = static_cast<double>(classes - 1) - low}},
          .build = [=](auto xs) { return std::vector{one_hot(xs[0], classes)}; },
          .reference =
              [=](auto xs) {
                Shape shape = xs[0].shape;
                shape.push_back(classes);
                Reference y(shape);
                for (int64_t i = 0; i < y.numel(); ++i) {
                  const auto c = static_cast<int64_t>(xs[0][i / classes]);
                  y[i] = c < 0 || c >= classes ? kNaN : c == i % classes;
                }
                return std::vector{y};
              },
          .gradient = false};
}

const bool kGatherRow = add_row(
    {.op = "gather",
     .cases = {gather_case("axis 0", {5, 4}, {7, 4}, 0), gather_case("axis 1", {5, 9}, {5, 3}, 1),
               gather_case("a smaller index", {5, 4, 6}, {3, 8, 5}, 1), gather_case("a vector", {6}, {11}, 0),
               out_of_range(gather_case("", {5, 4}, {7, 4}, 0), 5)}});
const bool kScatterAddRow =
    add_row({.op = "scatter_add",
             .cases = {scatter_case("axis 0", {5, 4}, {7, 4}, 0), scatter_case("axis 1", {5, 9}, {5, 3}, 1),
                       scatter_case("a smaller index", {5, 4, 6}, {3, 8, 5}, 1),
                       scatter_case("a vector", {6}, {40}, 0),
                       out_of_range(scatter_case("", {5, 4}, {3, 4}, 0), 5)}});
const bool kEmbeddingRow = add_row(
    {.op = "embedding",
     .cases = {embedding_case("a matrix of tokens", {11, 6}, {4, 5}),
               embedding_case("one column", {5, 1}, {9}),
               embedding_case("many positions of few tokens", {3, 20}, {100}),
               embedding_case("one token", {7, 3}, {}), out_of_range(embedding_case("", {5, 4}, {20}), 5)}});
const bool kOneHotRow =
    add_row({.op = "one_hot",
             .cases = {one_hot_case("a vector", {9}, 5), one_hot_case("a matrix", {3, 4}, 7),
                       one_hot_case("out of range", {20}, 3, -2)}});

}  // namespace
}  // namespace stithy::testing

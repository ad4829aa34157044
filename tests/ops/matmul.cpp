// Rows of the matrix product.
#include "tests/harness.h"

#include "engine/ops.h"

namespace stithy::testing {
namespace {

// NumPy's matmul for operands of rank 2 and more.
Reference product(const Reference& a, const Reference& b) {
  const auto batch_of = [](const Reference& x) {
    return Shape(std::span(x.shape.begin(), static_cast<size_t>(x.shape.rank() - 2)));
  };
  const int64_t m = a.shape[a.shape.rank() - 2], k = a.shape.back(), n = b.shape.back();
  Shape shape = broadcast("matmul", batch_of(a), batch_of(b));
  const int64_t batches = shape.numel();
  // Which matrix of x the batch uses: broadcast the matrices' numbers.
  const auto numbers = [&](const Reference& x) {
    Reference r(batch_of(x));
    for (int64_t i = 0; i < r.numel(); ++i) r[i] = static_cast<double>(i);
    return r;
  };
  const Reference numbers_a = numbers(a), numbers_b = numbers(b);
  const Shape batch_shape = shape;
  shape.push_back(m);
  shape.push_back(n);
  Reference c(shape);
  for (int64_t batch = 0; batch < batches; ++batch) {
    const auto at = static_cast<int64_t>(broadcast_at(numbers_a, batch_shape, batch)) * m * k;
    const auto bt = static_cast<int64_t>(broadcast_at(numbers_b, batch_shape, batch)) * k * n;
    for (int64_t i = 0; i < m; ++i)
      for (int64_t p = 0; p < k; ++p)
        for (int64_t j = 0; j < n; ++j) c[(batch * m + i) * n + j] += a[at + i * k + p] * b[bt + p * n + j];
  }
  return c;
}

Reference transposed(const Reference& x) {
  Shape shape = x.shape;
  const int64_t m = shape[shape.rank() - 2], n = shape.back();
  std::swap(shape[shape.rank() - 2], shape[shape.rank() - 1]);
  Reference y(shape);
  for (int64_t i = 0; i < x.numel(); ++i) {
    const int64_t matrix = i / (m * n), row = i / n % m, column = i % n;
    y[matrix * m * n + column * m + row] = x[i];
  }
  return y;
}

Case product_case(const std::string& name, const Shape& a, const Shape& b, bool strided = false) {
  return {.name = name,
          .arguments = {{.shape = a}, {.shape = b}},
          .build = [](auto xs) { return std::vector{matmul(xs[0], xs[1])}; },
          .reference = [](auto xs) { return std::vector{product(xs[0], xs[1])}; },
          .strided = strided};
}

Case transposed_case(const std::string& name, const Shape& a, const Shape& b, bool ta, bool tb) {
  return {.name = name,
          .arguments = {{.shape = a}, {.shape = b}},
          .build =
              [=](auto xs) {
                return std::vector{matmul(ta ? transpose(xs[0]) : xs[0], tb ? transpose(xs[1]) : xs[1])};
              },
          .reference =
              [=](auto xs) {
                return std::vector{product(ta ? transposed(xs[0]) : xs[0], tb ? transposed(xs[1]) : xs[1])};
              },
          .strided = false};
}

// a b^T of the first k columns of both.
Case sliced_case(const std::string& name, const Shape& a, const Shape& b, int64_t k) {
  const auto narrowed = [k](const Reference& x) {
    Reference y({x.shape[0], k});
    for (int64_t i = 0; i < y.numel(); ++i) y[i] = x[i / k * x.shape[1] + i % k];
    return y;
  };
  return {.name = name,
          .arguments = {{.shape = a}, {.shape = b}},
          .build =
              [k](auto xs) {
                return std::vector{matmul(slice(xs[0], 1, 0, k), transpose(slice(xs[1], 1, 0, k)))};
              },
          .reference =
              [=](auto xs) { return std::vector{product(narrowed(xs[0]), transposed(narrowed(xs[1])))}; },
          .strided = false};
}

Case vector_case(const std::string& name, const Shape& a, const Shape& b, const Shape& y) {
  return {.name = name,
          .arguments = {{.shape = a}, {.shape = b}},
          .build = [](auto xs) { return std::vector{matmul(xs[0], xs[1])}; },
          .reference =
              [=](auto xs) {
                Reference a2 = xs[0], b2 = xs[1];
                if (a2.shape.rank() == 1) a2.shape.insert(0, 1);
                if (b2.shape.rank() == 1) b2.shape.push_back(1);
                Reference c = product(a2, b2);
                c.shape = y;
                return std::vector{c};
              }};
}

const bool kMatmulRow =
    add_row({.op = "matmul",
             .cases = {product_case("odd sizes", {37, 19}, {19, 43}, true),
                       product_case("multiples of four", {36, 20}, {20, 44}),
                       product_case("several tiles", {70, 33}, {33, 150}),
                       product_case("one element", {1, 1}, {1, 1}),
                       product_case("one row", {1, 21}, {21, 50}),
                       product_case("one column", {50, 21}, {21, 1}),
                       product_case("few columns", {45, 16}, {16, 10}),
                       product_case("few rows", {3, 16}, {16, 40}),
                       product_case("no columns", {3, 2}, {2, 0}),
                       product_case("an empty sum gives zeros", {3, 0}, {0, 5}),
                       product_case("a long sum, in slices", {5, 1100}, {1100, 6}),
                       transposed_case("a b^T, aligned", {36, 20}, {44, 20}, false, true),
                       transposed_case("a^T b, aligned", {20, 36}, {20, 44}, true, false),
                       transposed_case("a^T b^T, aligned", {20, 36}, {44, 20}, true, true),
                       transposed_case("a b^T, odd", {5, 7}, {9, 7}, false, true),
                       transposed_case("a^T b, odd", {7, 5}, {7, 9}, true, false),
                       transposed_case("few rows, both along k", {3, 261}, {9, 261}, false, true),
                       transposed_case("few rows, both aligned along k", {2, 264}, {9, 264}, false, true),
                       sliced_case("aligned rows, not all of them", {36, 24}, {44, 24}, 18),
                       product_case("batch", {3, 5, 7}, {3, 7, 4}, true),
                       product_case("batch against one matrix", {3, 2, 5, 7}, {7, 4}, true),
                       product_case("one matrix against a batch", {5, 7}, {3, 7, 4}),
                       product_case("batches broadcast", {2, 1, 3, 5, 4}, {4, 1, 4, 6}, true),
                       transposed_case("batch of a b^T", {2, 3, 8, 4}, {2, 3, 8, 4}, false, true),
                       vector_case("vector by matrix", {7}, {7, 5}, {5}),
                       vector_case("matrix by vector", {5, 7}, {7}, {5}),
                       vector_case("vector by batch", {7}, {3, 7, 5}, {3, 5}),
                       vector_case("batch by vector", {3, 5, 7}, {7}, {3, 5}),
                       vector_case("dot product", {600}, {600}, {})}});

}  // namespace
}  // namespace stithy::testing

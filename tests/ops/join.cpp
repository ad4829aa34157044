// Rows of joining and padding.
#include "engine/core/error.h"
#include "engine/ops.h"
#include "tests/harness.h"

namespace stithy::testing {
namespace {

// Joined along an axis: [outer, sum of n, inner].
std::vector<Reference> joined(std::span<const Reference> xs, int axis) {
  Shape shape = xs[0].shape;
  shape[axis] = 0;
  for (const Reference& x : xs) shape[axis] += x.shape[axis];
  int64_t inner = 1;
  for (int d = axis + 1; d < shape.rank(); ++d) inner *= shape[d];
  Reference y(shape);
  int64_t begin = 0;
  for (const Reference& x : xs) {
    const int64_t run = x.shape[axis] * inner;
    for (int64_t i = 0; i < x.numel(); ++i) y[i / run * shape[axis] * inner + begin + i % run] = x[i];
    begin += run;
  }
  return {y};
}

Case concat_case(const std::vector<Shape>& shapes, int axis, DType dtype = DType::f32) {
  Case test{.name = cat(dtype, " ", shapes[0], " along ", axis),
            .build = [=](auto xs) { return std::vector{concat(xs, axis)}; },
            .reference = [=](auto xs) { return joined(xs, axis); },
            .tolerance = 0};
  for (const Shape& shape : shapes)
    test.arguments.push_back(
        {.shape = shape, .dtype = dtype, .low = dtype == DType::u8 ? 0.0 : -2.0, .high = 100});
  return test;
}

Case pack_case(const std::string& name, const std::vector<Shape>& shapes, DType dtype = DType::f32) {
  Case test{.name = name,
            .build = [](auto xs) { return std::vector{pack(xs)}; },
            .reference =
                [](auto xs) {
                  std::vector<double> y;
                  for (const Reference& x : xs) {
                    y.insert(y.end(), x.values.begin(), x.values.end());
                    y.resize((y.size() + (x.numel() == 0) + 63) / 64 * 64);
                  }
                  return std::vector{Reference({static_cast<int64_t>(y.size())}, y)};
                },
            .tolerance = 0};
  for (const Shape& shape : shapes) test.arguments.push_back({.shape = shape, .dtype = dtype});
  return test;
}

Case pad_case(const Shape& shape, const Shape& before, const Shape& after, float value,
              DType dtype = DType::f32) {
  return {.name = cat(dtype, " ", shape, " by ", before, " ", after),
          .arguments = {{.shape = shape, .dtype = dtype, .low = 0}},
          .build = [=](auto xs) { return std::vector{pad(xs[0], before, after, value)}; },
          .reference =
              [=](auto xs) {
                Shape padded = shape;
                for (int d = 0; d < shape.rank(); ++d) padded[d] += before[d] + after[d];
                Reference y(padded);
                for (double& element : y.values) element = value;
                for (int64_t i = 0; i < xs[0].numel(); ++i) {
                  int64_t rest = i, at = 0, stride = 1;
                  for (int d = shape.rank() - 1; d >= 0; --d) {
                    at += (rest % shape[d] + before[d]) * stride;
                    stride *= padded[d];
                    rest /= shape[d];
                  }
                  y[at] = xs[0][i];
                }
                return std::vector{y};
              },
          .tolerance = 0};
}

const bool kRows[] = {add_row({"concat",
                               {concat_case({{29, 7}, {1, 7}, {89, 7}}, 0),
                                concat_case({{7, 29}, {7, 5}, {7, 1}}, 1),
                                concat_case({{8, 16}, {8, 4}}, 1),
                                concat_case({{113}, {2}, {5}}, 0),
                                concat_case({{2, 3, 1, 5, 2, 3}, {2, 3, 1, 2, 2, 3}}, 3),
                                concat_case({{7, 29}, {7, 5}}, 1, DType::i32),
                                concat_case({{7, 29}, {7, 5}}, 1, DType::f16),
                                concat_case({{7, 29}, {7, 5}, {7, 2}}, 1, DType::u8),
                                concat_case({{3, 29}, {5, 29}}, 0, DType::boolean),
                                {.name = "an empty one",
                                 .arguments = {{.shape = {7, 3}}, {.shape = {0, 3}}, {.shape = {2, 3}}},
                                 .build = [](auto xs) { return std::vector{concat(xs, 0)}; },
                                 .reference = [](auto xs) { return joined(xs, 0); }},
                                {.name = "stack",
                                 .arguments = {{.shape = {29, 7}}, {.shape = {29, 7}}},
                                 .build = [](auto xs) { return std::vector{stack(xs, -1)}; },
                                 .reference =
                                     [](auto xs) {
                                       Reference y(Shape{29, 7, 2});
                                       for (int64_t i = 0; i < y.numel(); ++i)
                                         y[i] = xs[static_cast<size_t>(i % 2)][i / 2];
                                       return std::vector{y};
                                     }}}}),
                      add_row({"pack",
                               {pack_case("odd sizes", {{29, 7}, {1}, {2, 3, 5}, {67}}),
                                pack_case("no gaps", {{8, 16}, {64}}),
                                pack_case("a scalar and an empty one", {{}, {0, 3}, {5, 4}}),
                                pack_case("i32", {{7, 29}, {7}}, DType::i32),
                                {.name = "one twice",
                                 .arguments = {{.shape = {7, 5}}},
                                 .build =
                                     [](auto xs) {
                                       return std::vector{pack(std::vector{xs[0], xs[0]})};
                                     },
                                 .reference =
                                     [](auto xs) {
                                       Reference y(Shape{128});
                                       for (int64_t i = 0; i < 35; ++i) y[i] = y[64 + i] = xs[0][i];
                                       return std::vector{y};
                                     }}}}),
                      add_row({"split",
                               {{.name = "split and joined again",
                                 .arguments = {{.shape = {7, 29}}},
                                 .build =
                                     [](auto xs) {
                                       const std::vector<int64_t> sizes{11, 0, 18};
                                       std::vector<Tensor> parts = split(xs[0], sizes, 1);
                                       std::swap(parts[0], parts[2]);
                                       return std::vector{concat(parts, 1)};
                                     },
                                 .reference =
                                     [](auto xs) {
                                       Reference y(Shape{7, 29});
                                       for (int64_t i = 0; i < 7; ++i)
                                         for (int64_t j = 0; j < 29; ++j)
                                           y[i * 29 + j] = xs[0][i * 29 + (j + 11) % 29];
                                       return std::vector{y};
                                     }},
                                {.name = "one part unused",
                                 .arguments = {{.shape = {29, 7, 3}}},
                                 .build =
                                     [](auto xs) {
                                       const std::vector<int64_t> sizes{2, 4, 1};
                                       const std::vector<Tensor> parts = split(xs[0], sizes, -2);
                                       return std::vector{parts[0], parts[2]};
                                     },
                                 .reference =
                                     [](auto xs) {
                                       Reference a(Shape{29, 2, 3}), b(Shape{29, 1, 3});
                                       for (int64_t i = 0; i < 29; ++i) {
                                         for (int64_t j = 0; j < 6; ++j) a[i * 6 + j] = xs[0][i * 21 + j];
                                         for (int64_t j = 0; j < 3; ++j)
                                           b[i * 3 + j] = xs[0][i * 21 + 18 + j];
                                       }
                                       return std::vector{a, b};
                                     }}}}),
                      add_row({"place",
                               {pad_case({29, 7}, {1, 2}, {0, 3}, -0.5f),
                                pad_case({29}, {5}, {0}, 0),
                                pad_case({5, 8}, {0, 4}, {2, 4}, 1),
                                pad_case({2, 3, 1, 5, 2, 3}, {0, 1, 0, 0, 2, 0}, {1, 0, 0, 0, 0, 1}, 7),
                                pad_case({7, 29}, {1, 1}, {1, 1}, 9, DType::i32),
                                pad_case({7, 5}, {1, 1}, {1, 1}, 1, DType::boolean),
                                {.name = "gradient of a slice with a step",
                                 .arguments = {{.shape = {29, 7}}, {.shape = {10, 7}}},
                                 .build =
                                     [](auto xs) {
                                       return gradients(slice(xs[0], 0, 1, 29, 3), xs.first(1),
                                                        Unreached::error, xs[1]);
                                     },
                                 .reference =
                                     [](auto xs) {
                                       Reference y(Shape{29, 7});
                                       for (int64_t i = 0; i < 10; ++i)
                                         for (int64_t j = 0; j < 7; ++j)
                                           y[(3 * i + 1) * 7 + j] = xs[1][i * 7 + j];
                                       return std::vector{y};
                                     }}}})};

}  // namespace
}  // namespace stithy::testing

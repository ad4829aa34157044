// Rows of the views and of the sources. References find the element that a view must show by its index.
#include <functional>

#include "engine/core/error.h"
#include "engine/graph/node.h"
#include "engine/ops.h"
#include "tests/harness.h"

namespace stithy::testing {
namespace {

Shape index_of(const Shape& shape, int64_t i) {
  Shape index = shape;
  for (int d = shape.rank() - 1; d >= 0; --d) {
    index[d] = i % shape[d];
    i /= shape[d];
  }
  return index;
}
int64_t place_of(const Shape& shape, const Shape& index) {
  int64_t at = 0;
  for (int d = 0; d < shape.rank(); ++d) at = at * shape[d] + index[d];
  return at;
}

// A view of `from` whose element at an index is x's at `source(index)`.
Case view_case(const std::string& name, const Shape& from, const Shape& to,
               const std::function<Tensor(const Tensor&)>& view, const std::function<Shape(Shape)>& source,
               DType dtype = DType::f32) {
  return {.name = name,
          .arguments = {{.shape = from, .dtype = dtype}},
          .build = [=](auto xs) { return std::vector{view(xs[0])}; },
          .reference =
              [=](auto xs) {
                Reference y(to);
                for (int64_t i = 0; i < y.numel(); ++i) y[i] = xs[0][place_of(from, source(index_of(to, i)))];
                return std::vector{y};
              },
          .tolerance = 0};
}
Case reshape_case(const std::string& name, const Shape& from, const Shape& to,
                  const std::function<Tensor(const Tensor&)>& view) {
  return view_case(name, from, to, view,
                   [=](const Shape& index) { return index_of(from, place_of(to, index)); });
}

// Shapes of tensors that must have been shown without a copy.
bool is_view(const Tensor& x) { return x.node()->out(x.output()).storage_node != x.node().get(); }
Tensor must_view(const Tensor& x) {
  if (!is_view(x)) throw Error("test", cat("shape ", x.shape(), " was copied"));
  return x;
}

const bool kRows[] = {
    add_row({"reshape",
             {reshape_case("split", {29, 90}, {29, 9, 10},
                           [](auto& x) {
                             return reshape(x, {29, 9, -1});
                           }),
              reshape_case("merge", {3, 1, 7, 5}, {21, 5},
                           [](auto& x) {
                             return reshape(x, {-1, 5});
                           }),
              reshape_case("scalar", {}, {1, 1},
                           [](auto& x) {
                             return reshape(x, {1, 1});
                           }),
              reshape_case("to scalar", {1, 1}, {}, [](auto& x) { return reshape(x, {}); }),
              reshape_case("rank 6", {2, 3, 5, 7}, {2, 1, 3, 5, 7, 1},
                           [](auto& x) {
                             return must_view(reshape(x, {2, 1, 3, 5, 7, 1}));
                           }),
              reshape_case("flatten", {2, 3, 5, 7}, {2, 15, 7}, [](auto& x) { return flatten(x, 1, 2); }),
              reshape_case("squeeze, unsqueeze", {2, 1, 7}, {1, 2, 7},
                           [](auto& x) { return must_view(unsqueeze(squeeze(x, 1), 0)); }),
              view_case(
                  "split of a transpose is a view", {6, 29}, {29, 2, 3},
                  [](auto& x) {
                    return must_view(reshape(transpose(x), {29, 2, 3}));
                  },
                  [](Shape i) {
                    return Shape{i[1] * 3 + i[2], i[0]};
                  }),
              view_case(
                  "merge of a transpose copies", {7, 29}, {203},
                  [](auto& x) { return reshape(transpose(x), {203}); },
                  [](Shape i) {
                    return Shape{i[0] % 7, i[0] / 7};
                  })}}),
    add_row({"permute",
             {view_case(
                  "matrix", {29, 89}, {89, 29}, [](auto& x) { return transpose(x); },
                  [](Shape i) {
                    return Shape{i[1], i[0]};
                  }),
              view_case(
                  "heads", {2, 7, 3, 5}, {2, 3, 7, 5}, [](auto& x) { return transpose(x, 1, 2); },
                  [](Shape i) {
                    return Shape{i[0], i[2], i[1], i[3]};
                  }),
              view_case(
                  "rank 6", {2, 3, 1, 5, 2, 3}, {3, 2, 5, 1, 3, 2},
                  [](auto& x) {
                    return permute(x, {-1, 4, 3, 2, 1, 0});
                  },
                  [](Shape i) { return Shape{i[5], i[4], i[3], i[2], i[1], i[0]}; }),
              view_case(
                  "bool", {29, 7}, {7, 29}, [](auto& x) { return transpose(x); },
                  [](Shape i) {
                    return Shape{i[1], i[0]};
                  },
                  DType::boolean)}}),
    add_row({"expand",
             {view_case(
                  "scalar", {}, {29, 7},
                  [](auto& x) {
                    return expand(x, {29, 7});
                  },
                  [](Shape) { return Shape{}; }),
              view_case(
                  "rows", {7}, {29, 7},
                  [](auto& x) {
                    return expand(x, {29, 7});
                  },
                  [](Shape i) { return Shape{i[1]}; }),
              view_case(
                  "columns", {29, 1}, {29, 113},
                  [](auto& x) {
                    return expand(x, {29, 113});
                  },
                  [](Shape i) {
                    return Shape{i[0], 0};
                  }),
              view_case(
                  "rank 6", {2, 1, 5, 1, 3}, {4, 2, 3, 5, 2, 3},
                  [](auto& x) {
                    return expand(x, {4, 2, 3, 5, 2, 3});
                  },
                  [](Shape i) {
                    return Shape{i[1], 0, i[3], 0, i[5]};
                  })}}),
    add_row(
        {"slice",
         {view_case(
              "rows", {29, 13}, {7, 13}, [](auto& x) { return slice(x, 0, 11, 18); },
              [](Shape i) {
                return Shape{i[0] + 11, i[1]};
              }),
          view_case(
              "columns from the end", {7, 29}, {7, 4}, [](auto& x) { return slice(x, -1, -5, -1); },
              [](Shape i) {
                return Shape{i[0], i[1] + 24};
              }),
          view_case(
              "step", {29, 7}, {10, 7}, [](auto& x) { return slice(x, 0, 1, 29, 3); },
              [](Shape i) {
                return Shape{i[0] * 3 + 1, i[1]};
              }),
          view_case(
              "rank 6", {2, 3, 1, 5, 2, 3}, {2, 3, 1, 2, 2, 3}, [](auto& x) { return slice(x, 3, 1, 4, 2); },
              [](Shape i) { return Shape{i[0], i[1], i[2], i[3] * 2 + 1, i[4], i[5]}; }),
          view_case(
              "u8", {7, 29}, {7, 11}, [](auto& x) { return slice(x, 1, 2, 13); },
              [](Shape i) {
                return Shape{i[0], i[1] + 2};
              },
              DType::u8)}}),
    add_row({"stop_gradient",
             {{.name = "a product",
               .arguments = {{.shape = {29, 7}}, {.shape = {29, 7}}},
               .build =
                   [](auto xs) {
                     return gradients(xs[0] * stop_gradient(xs[0] * xs[1]), xs.first(1), Unreached::error,
                                      ones(xs[0].shape()));
                   },
               .reference =
                   [](auto xs) {
                     Reference y(xs[0].shape);
                     for (int64_t i = 0; i < y.numel(); ++i) y[i] = xs[0][i] * xs[1][i];
                     return std::vector{y};
                   },
               .gradient = false}}})};

}  // namespace
}  // namespace stithy::testing

// Rows of convolution and its transpose.
#include "tests/harness.h"

#include <array>

#include "engine/ops.h"

namespace stithy::testing {
namespace {

using Axes = std::array<int64_t, 3>;

Axes spatial(const Shape& shape) {
  Axes axes{1, 1, 1};
  const int n = shape.rank() - 2;
  for (int i = 0; i < n; ++i) axes[static_cast<size_t>(3 - n + i)] = shape[2 + i];
  return axes;
}
Axes option(const Shape& values, int axes, int64_t missing) {
  Axes result{missing, missing, missing};
  for (int i = 0; i < axes; ++i)
    result[static_cast<size_t>(3 - axes + i)] = values[values.rank() == 1 ? 0 : i];
  return result;
}

// Calls f(place in x, place in w, place in y) for every product of y = conv(x, w).
template <class F>
void for_each_product(const Shape& x, const Shape& w, const Shape& y, const ConvOptions& o, const F& f) {
  const int axes = x.rank() - 2;
  const Axes in = spatial(x), taps = spatial(w), out = spatial(y), stride = option(o.stride, axes, 1),
             dilation = option(o.dilation, axes, 1);
  Axes padding = option(o.padding, axes, 0);
  for (size_t d = 0; o.same && d < 3; ++d) padding[d] = dilation[d] * (taps[d] - 1) / 2;
  const int64_t rows = w[0] / o.groups, x_size = in[0] * in[1] * in[2], w_size = taps[0] * taps[1] * taps[2],
                y_size = out[0] * out[1] * out[2];
  for (int64_t n = 0; n < x[0]; ++n)
    for (int64_t r = 0; r < w[0]; ++r)
      for (int64_t q = 0; q < y_size; ++q)
        for (int64_t c = 0; c < w[1]; ++c)
          for (int64_t t = 0; t < w_size; ++t) {
            const Axes at{q / out[2] / out[1], q / out[2] % out[1], q % out[2]};
            const Axes tap{t / taps[2] / taps[1], t / taps[2] % taps[1], t % taps[2]};
            int64_t place = 0;
            bool inside = true;
            for (size_t d = 0; d < 3; ++d) {
              const int64_t i = at[d] * stride[d] + tap[d] * dilation[d] - padding[d];
              inside = inside && i >= 0 && i < in[d];
              place = place * in[d] + i;
            }
            if (!inside) continue;
            f((n * x[1] + r / rows * w[1] + c) * x_size + place, (r * w[1] + c) * w_size + t,
              (n * w[0] + r) * y_size + q);
          }
}

Case conv_case(const std::string& name, const Shape& x, const Shape& w, const Shape& y,
               const ConvOptions& o = {}, bool strided = false) {
  return {.name = name,
          .arguments = {{.shape = x}, {.shape = w}},
          .build = [=](auto xs) { return std::vector{conv(xs[0], xs[1], o)}; },
          .reference =
              [=](auto xs) {
                Reference result(y);
                for_each_product(x, w, y, o,
                                 [&](int64_t i, int64_t j, int64_t k) { result[k] += xs[0][i] * xs[1][j]; });
                return std::vector{result};
              },
          .strided = strided};
}

Case transposed_case(const std::string& name, const Shape& x, const Shape& w, const Shape& y,
                     const ConvOptions& o = {}, const Shape& output_padding = {0}, bool strided = false) {
  return {.name = name,
          .arguments = {{.shape = x}, {.shape = w}},
          .build = [=](auto xs) { return std::vector{conv_transpose(xs[0], xs[1], o, output_padding)}; },
          .reference =
              [=](auto xs) {
                Reference result(y);
                for_each_product(y, w, x, o,
                                 [&](int64_t i, int64_t j, int64_t k) { result[i] += xs[0][k] * xs[1][j]; });
                return std::vector{result};
              },
          .strided = strided};
}

const bool kConvRow = add_row(
    {.op = "conv",
     .cases = {
         conv_case("2d, odd sizes", {2, 3, 7, 11}, {5, 3, 3, 3}, {2, 5, 5, 9}, {}, true),
         conv_case("2d, padded", {2, 3, 5, 8}, {8, 3, 3, 3}, {2, 8, 5, 8}, {.padding = {1}}),
         conv_case("2d, many channels", {3, 18, 6, 9}, {37, 18, 3, 3}, {3, 37, 6, 9}, {.padding = {1}}),
         conv_case("2d, stride 2", {2, 4, 9, 8}, {6, 4, 3, 3}, {2, 6, 5, 4}, {.stride = {2}, .padding = {1}}),
         conv_case("2d, strides, dilations and padding that differ", {1, 2, 13, 14}, {3, 2, 2, 3},
                   {1, 3, 6, 7}, {.stride = {3, 2}, .padding = {4, 1}, .dilation = {5, 1}}),
         conv_case("2d, stride and dilation share a factor", {1, 2, 13, 15}, {3, 2, 3, 3}, {1, 3, 3, 6},
                   {.stride = {4, 2}, .padding = {1, 2}, .dilation = {2, 4}}),
         conv_case("2d, stride beyond the kernel", {2, 2, 7, 10}, {3, 2, 1, 2}, {2, 3, 3, 3},
                   {.stride = {3}}),
         conv_case("2d, padding `same` of an even kernel", {2, 2, 6, 5}, {3, 2, 2, 4}, {2, 3, 6, 5},
                   {.same = true}),
         conv_case("2d, groups", {2, 6, 5, 6}, {9, 2, 3, 3}, {2, 9, 5, 6}, {.padding = {1}, .groups = 3}),
         conv_case("2d, depthwise", {2, 5, 8, 12}, {5, 1, 3, 3}, {2, 5, 8, 12},
                   {.padding = {1}, .groups = 5}),
         conv_case("2d, depthwise, stride 2, kernel 5", {2, 4, 9, 10}, {4, 1, 5, 5}, {2, 4, 5, 5},
                   {.stride = {2}, .padding = {2}, .groups = 4}),
         conv_case("2d, depthwise with a multiplier", {2, 3, 6, 7}, {6, 1, 3, 3}, {2, 6, 6, 7},
                   {.padding = {1}, .groups = 3}),
         conv_case("2d, one tap", {2, 9, 5, 6}, {7, 9, 1, 1}, {2, 7, 5, 6}, {}, true),
         conv_case("2d, one tap, many channels", {2, 37, 4, 4}, {20, 37, 1, 1}, {2, 20, 4, 4}),
         conv_case("2d, one tap, stride 2", {2, 3, 7, 6}, {4, 3, 1, 1}, {2, 4, 4, 3}, {.stride = {2}}),
         conv_case("2d, kernel as large as the image", {3, 2, 4, 5}, {6, 2, 4, 5}, {3, 6, 1, 1}),
         conv_case("2d, kernel 7, stride 2", {1, 3, 12, 16}, {4, 3, 7, 7}, {1, 4, 6, 8},
                   {.stride = {2}, .padding = {3}}),
         conv_case("2d, one channel to many", {2, 1, 8, 8}, {32, 1, 3, 3}, {2, 32, 8, 8}, {.padding = {1}}),
         conv_case("1d", {2, 3, 17}, {4, 3, 5}, {2, 4, 13}, {}, true),
         conv_case("1d, dilated", {2, 3, 20}, {4, 3, 3}, {2, 4, 20}, {.padding = {4}, .dilation = {4}}),
         conv_case("1d, a kernel in blocks", {1, 2, 40}, {3, 2, 26}, {1, 3, 15}),
         conv_case("1d, a long kernel of prime size", {1, 2, 33}, {2, 2, 29}, {1, 2, 5}),
         conv_case("3d", {1, 2, 4, 5, 6}, {3, 2, 2, 3, 3}, {1, 3, 3, 5, 6}, {.padding = {0, 1, 1}}, true),
         conv_case("3d, strides", {2, 2, 5, 5, 6}, {2, 2, 3, 2, 3}, {2, 2, 3, 2, 3},
                   {.stride = {2}, .padding = {1, 0, 1}}),
         conv_case("no items", {0, 3, 5, 5}, {4, 3, 3, 3}, {0, 4, 3, 3}),
         conv_case("sums in slices", {70, 1, 4, 8}, {2, 1, 1, 3}, {70, 2, 4, 8}, {.padding = {0, 1}})}});

const bool kTransposedRow = add_row(
    {.op = "conv_transpose",
     .cases = {transposed_case("2d", {2, 3, 5, 6}, {3, 5, 3, 3}, {2, 5, 7, 8}, {}, {0}, true),
               transposed_case("2d, stride 2, kernel 4", {2, 4, 5, 4}, {4, 6, 4, 4}, {2, 6, 10, 8},
                               {.stride = {2}, .padding = {1}}),
               transposed_case("2d, stride 2, output padding", {2, 3, 4, 5}, {3, 2, 3, 3}, {2, 2, 8, 10},
                               {.stride = {2}, .padding = {1}}, {1}),
               transposed_case("2d, stride beyond the kernel", {1, 2, 3, 4}, {2, 3, 2, 1}, {1, 3, 8, 10},
                               {.stride = {3}}),
               transposed_case("2d, stride and dilation", {1, 2, 4, 3}, {2, 3, 3, 2}, {1, 3, 13, 11},
                               {.stride = {2, 4}, .padding = {1, 0}, .dilation = {4, 2}}),
               transposed_case("2d, groups", {2, 4, 3, 4}, {4, 3, 2, 2}, {2, 6, 6, 8},
                               {.stride = {2}, .groups = 2}),
               transposed_case("1d", {2, 3, 7}, {3, 2, 5}, {2, 2, 23}, {.stride = {3}}),
               transposed_case("3d", {1, 2, 2, 3, 3}, {2, 2, 2, 2, 2}, {1, 2, 4, 6, 6}, {.stride = {2}})}});

// The weights' gradient as an op of its own: the gradient of a gradient.
Case second_case(const std::string& name, const Shape& x, const Shape& w, const Shape& y,
                 const ConvOptions& o) {
  return {.name = name,
          .arguments = {{.shape = x}, {.shape = y}},
          .build =
              [=](auto xs) {
                const Tensor weight = zeros(w);
                return gradients(conv(xs[0], weight, o), std::vector{weight}, Unreached::error, xs[1]);
              },
          .reference =
              [=](auto xs) {
                Reference dw(w);
                for_each_product(x, w, y, o,
                                 [&](int64_t i, int64_t j, int64_t k) { dw[j] += xs[0][i] * xs[1][k]; });
                return std::vector{dw};
              },
          .strided = false};
}
const bool kWeightRow =
    add_row({.op = "conv_weight",
             .cases = {second_case("2d", {3, 4, 6, 7}, {9, 4, 3, 3}, {3, 9, 6, 7}, {.padding = {1}}),
                       second_case("2d, stride 2, groups", {2, 4, 7, 8}, {6, 2, 3, 3}, {2, 6, 4, 4},
                                   {.stride = {2}, .padding = {1}, .groups = 2})}});

}  // namespace
}  // namespace stithy::testing

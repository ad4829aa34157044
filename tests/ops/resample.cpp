// Rows of resampling: interpolation and reversal. Pixel shuffles and rolls, which are views and joins, stand
// in tests/nn_vision_test.cpp.
#include <algorithm>
#include <cmath>

#include "engine/ops.h"
#include "engine/ops_vision.h"
#include "tests/harness.h"

namespace stithy::testing {
namespace {

// One axis of x interpolated to `out` elements, as PyTorch's functional.interpolate does.
Reference along(const Reference& x, int axis, int64_t out, double step, Interpolation mode,
                bool align_corners) {
  int64_t inner = 1;
  for (int d = axis + 1; d < x.shape.rank(); ++d) inner *= x.shape[d];
  const int64_t in = x.shape[axis];
  Shape shape = x.shape;
  shape[axis] = out;
  Reference y(shape);
  for (int64_t i = 0; i < y.numel(); ++i) {
    const int64_t o = i / inner % out, base = i / inner / out * in * inner + i % inner;
    const auto at = [&](double place) {
      return x[base + std::clamp<int64_t>(static_cast<int64_t>(place), 0, in - 1) * inner];
    };
    const double d = static_cast<double>(o);
    if (mode == Interpolation::nearest) {
      y[i] = at(std::floor(d * step + 1e-9));
      continue;
    }
    double place = (d + 0.5) * step - 0.5;
    if (align_corners) place = out > 1 ? d * static_cast<double>(in - 1) / static_cast<double>(out - 1) : 0;
    if (mode == Interpolation::linear) {
      place = std::max(place, 0.0);
      const double t = place - std::floor(place);
      y[i] = (1 - t) * at(std::floor(place)) + t * at(std::floor(place) + 1);
      continue;
    }
    // The convolution of Keys 1981 with a = -0.75.
    for (int k = -1; k <= 2; ++k) {
      const double r = std::abs(place - (std::floor(place) + k)), a = -0.75;
      const double w =
          r <= 1 ? (a + 2) * r * r * r - (a + 3) * r * r + 1 : a * (r * r * r - 5 * r * r + 8 * r - 4);
      y[i] += w * at(std::floor(place) + k);
    }
  }
  return y;
}

Case size_case(const std::string& name, const Shape& shape, const Shape& size, Interpolation mode,
               bool align_corners = false) {
  return {.name = name,
          .arguments = {{.shape = shape}},
          .build = [=](auto xs) { return std::vector{upsample(xs[0], size, mode, align_corners)}; },
          .reference =
              [=](auto xs) {
                Reference y = xs[0];
                for (int d = 0; d < size.rank(); ++d)
                  y = along(y, d + 2, size[d],
                            static_cast<double>(shape[d + 2]) / static_cast<double>(size[d]), mode,
                            align_corners);
                return std::vector{y};
              }};
}
Case factor_case(const std::string& name, const Shape& shape, const std::vector<double>& factors,
                 Interpolation mode) {
  return {.name = name,
          .arguments = {{.shape = shape}},
          .build = [=](auto xs) { return std::vector{upsample_by(xs[0], factors, mode)}; },
          .reference =
              [=](auto xs) {
                Reference y = xs[0];
                for (int d = 2; d < shape.rank(); ++d) {
                  const double factor = factors[static_cast<size_t>(d - 2)];
                  y = along(y, d, static_cast<int64_t>(static_cast<double>(shape[d]) * factor), 1 / factor,
                            mode, false);
                }
                return std::vector{y};
              }};
}
Case flip_case(const std::string& name, const Shape& shape, const Shape& axes) {
  return {.name = name,
          .arguments = {{.shape = shape}},
          .build = [=](auto xs) { return std::vector{flip(xs[0], axes)}; },
          .reference =
              [=](auto xs) {
                Reference y(shape);
                for (int64_t i = 0; i < y.numel(); ++i) {
                  int64_t rest = i, from = 0, stride = 1;
                  for (int d = shape.rank() - 1; d >= 0; --d) {
                    const int64_t at = rest % shape[d];
                    from += (axes.empty() || axes.contains(d) ? shape[d] - 1 - at : at) * stride;
                    stride *= shape[d];
                    rest /= shape[d];
                  }
                  y[i] = xs[0][from];
                }
                return std::vector{y};
              },
          .tolerance = 0};
}

using enum Interpolation;
const bool kResampleRow =
    add_row({.op = "resample",
             .cases = {size_case("nearest", {2, 3, 4, 5}, {8, 7}, nearest),
                       size_case("nearest, smaller", {2, 2, 9, 10}, {4, 3}, nearest),
                       size_case("nearest, 1-D", {2, 2, 7}, {21}, nearest),
                       size_case("bilinear", {2, 3, 4, 5}, {7, 11}, linear),
                       size_case("bilinear, smaller", {2, 2, 9, 10}, {4, 3}, linear),
                       size_case("bilinear, corners aligned", {2, 2, 4, 5}, {7, 11}, linear, true),
                       size_case("one output, corners aligned", {2, 2, 4, 5}, {1, 3}, linear, true),
                       size_case("linear, 1-D", {1, 3, 6}, {13}, linear),
                       size_case("trilinear", {1, 2, 3, 2, 4}, {5, 4, 3}, linear),
                       size_case("trilinear, corners aligned", {1, 2, 3, 2, 4}, {5, 4, 3}, linear, true),
                       size_case("bicubic", {2, 2, 5, 4}, {9, 10}, cubic),
                       size_case("bicubic, smaller", {1, 2, 9, 8}, {4, 3}, cubic),
                       size_case("bicubic, corners aligned", {1, 2, 5, 4}, {9, 7}, cubic, true),
                       size_case("from one element", {2, 1, 1, 1}, {3, 4}, cubic),
                       factor_case("by factors, nearest", {1, 2, 5, 6}, {1.7, 2.5}, nearest),
                       factor_case("by factors, bilinear", {1, 2, 5, 6}, {1.7, 0.6}, linear),
                       factor_case("by factors, bicubic", {1, 2, 5, 6}, {2.3, 1.5}, cubic),
                       flip_case("flip of the last axis", {3, 4, 5}, {2}),
                       flip_case("flip of the first", {4, 3}, {0}),
                       flip_case("flip of two", {2, 3, 4, 5}, {1, 3}),
                       flip_case("flip of all", {3, 2, 4}, {})}});

}  // namespace
}  // namespace stithy::testing

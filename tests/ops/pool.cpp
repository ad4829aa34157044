// Rows of pooling, and local response normalisation, which pools over channels.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "engine/core/error.h"
#include "engine/ops.h"
#include "engine/ops_vision.h"
#include "tests/harness.h"

namespace stithy::testing {
namespace {

struct Options {
  std::vector<int64_t> kernel, stride, padding, dilation;  // by spatial axis; empty: kernel, 0, 1
  bool ceil = false;
  std::vector<int64_t> adaptive = {};  // output sizes
};

// The elements of each output's window along one axis; `whole` also counts the padding.
struct Window {
  std::vector<int64_t> at;
  int64_t whole = 0;
};
std::vector<Window> windows_along(int64_t size, const Options& o, size_t axis) {
  std::vector<Window> windows;
  if (!o.adaptive.empty()) {
    const double out = static_cast<double>(o.adaptive[axis]);
    for (int64_t i = 0; i < o.adaptive[axis]; ++i) {
      Window w;
      const double step = static_cast<double>(size) / out,
                   first = std::floor(static_cast<double>(i) * step + 1e-9);
      for (double at = first; at < std::ceil(static_cast<double>(i + 1) * step - 1e-9); ++at)
        w.at.push_back(static_cast<int64_t>(at));
      w.whole = static_cast<int64_t>(w.at.size());
      windows.push_back(w);
    }
    return windows;
  }
  const auto value = [&](const std::vector<int64_t>& of, int64_t otherwise) {
    return of.empty() ? otherwise : of[axis];
  };
  const int64_t kernel = o.kernel[axis], stride = value(o.stride, kernel), padding = value(o.padding, 0),
                dilation = value(o.dilation, 1), span = (kernel - 1) * dilation + 1;
  for (int64_t first = -padding;; first += stride) {
    const bool fits = first + span <= size + padding;
    if (!fits && !(o.ceil && first < size && first - stride + span < size + padding)) break;
    Window w;
    for (int64_t k = 0; k < kernel; ++k)
      if (const int64_t at = first + k * dilation; at >= 0 && at < size) w.at.push_back(at);
    w.whole = std::min(first + kernel, size + padding) - first;
    windows.push_back(w);
  }
  return windows;
}

// f(elements, their places in the plane, size of the window with padding) of each window.
template <class F>
Reference pooled(const Reference& x, const Options& o, F f) {
  const int axes = x.shape.rank() - 2;
  std::array<int64_t, 3> in{1, 1, 1};
  std::array<std::vector<Window>, 3> windows{std::vector{Window{{0}, 1}}, {Window{{0}, 1}}, {Window{{0}, 1}}};
  Shape shape{x.shape[0], x.shape[1]};
  for (int d = 0; d < axes; ++d) {
    const auto at = static_cast<size_t>(3 - axes + d);
    in[at] = x.shape[2 + d];
    windows[at] = windows_along(in[at], o, static_cast<size_t>(d));
    shape.push_back(static_cast<int64_t>(windows[at].size()));
  }
  Reference y(shape);
  int64_t i = 0;
  for (int64_t plane = 0; plane < shape[0] * shape[1]; ++plane)
    for (const Window& d : windows[0])
      for (const Window& h : windows[1])
        for (const Window& w : windows[2]) {
          std::vector<double> values;
          std::vector<int64_t> places;
          for (const int64_t a : d.at)
            for (const int64_t b : h.at)
              for (const int64_t c : w.at) {
                places.push_back((a * in[1] + b) * in[2] + c);
                values.push_back(x[plane * in[0] * in[1] * in[2] + places.back()]);
              }
          y[i++] = f(values, places, d.whole * h.whole * w.whole);
        }
  return y;
}

Shape shape_of(const std::vector<int64_t>& values, const Shape& otherwise) {
  Shape shape;
  for (const int64_t v : values) shape.push_back(v);
  return values.empty() ? otherwise : shape;
}

using Places = std::vector<int64_t>;
size_t first_maximum(const std::vector<double>& values) {
  for (size_t i = values.size(); i-- > 0;)  // of several NaN PyTorch takes the last
    if (std::isnan(values[i])) return i;
  return static_cast<size_t>(std::max_element(values.begin(), values.end()) - values.begin());
}
std::vector<Reference> maxima(const Reference& x, const Options& o) {
  return {
      pooled(x, o, [](const auto& values, const Places&, int64_t) { return values[first_maximum(values)]; }),
      pooled(x, o, [](const auto& values, const Places& places, int64_t) {
        return static_cast<double>(places[first_maximum(values)]);
      })};
}
MaxPoolOutputs max_of(const Tensor& x, const Options& o) {
  if (!o.adaptive.empty()) return adaptive_maxpool(x, shape_of(o.adaptive, {}));
  return maxpool(x, shape_of(o.kernel, {}),
                 {.stride = shape_of(o.stride, {}),
                  .padding = shape_of(o.padding, {0}),
                  .dilation = shape_of(o.dilation, {1}),
                  .ceil_mode = o.ceil});
}
Case max_case(const std::string& name, const Shape& shape, const Options& o) {
  const double range = 0.05 * static_cast<double>(shape.numel());
  return {.name = name,
          .arguments = {{.shape = shape, .low = -range, .high = range, .distinct = true}},
          .build =
              [=](auto xs) {
                const auto [y, index] = max_of(xs[0], o);
                return std::vector{y, index};
              },
          .reference = [=](auto xs) { return maxima(xs[0], o); }};
}

struct Named {
  std::string name;
  Shape shape;
  Options options;
};
// Of max and average pooling.
std::vector<Named> windows() {
  return {
      {"windows side by side", {2, 3, 6, 8}, {.kernel = {2, 2}}},
      {"windows that overlap, padded", {2, 2, 7, 9}, {.kernel = {3, 3}, .stride = {2, 2}, .padding = {1, 1}}},
      {"a part is left over", {1, 3, 7, 8}, {.kernel = {3, 2}, .stride = {2, 3}}},
      {"ceil", {2, 2, 7, 8}, {.kernel = {3, 3}, .stride = {2, 2}, .ceil = true}},
      {"ceil, padded: the last window begins in the input",
       {1, 2, 5, 6},
       {.kernel = {2, 3}, .stride = {3, 3}, .padding = {1, 1}, .ceil = true}},
      {"gaps between windows", {1, 2, 9, 11}, {.kernel = {2, 1}, .stride = {3, 4}}},
      {"1-D", {3, 2, 13}, {.kernel = {4}, .stride = {3}, .padding = {2}}},
      {"3-D", {2, 2, 4, 5, 6}, {.kernel = {2, 3, 2}, .stride = {1, 2, 2}, .padding = {1, 0, 1}}},
      {"the whole plane", {3, 4, 5, 5}, {.kernel = {5, 5}}}};
}
std::vector<Named> adaptive_windows() {
  return {{"adaptive", {2, 3, 7, 10}, {.adaptive = {3, 4}}},
          {"adaptive, to more than there is", {1, 2, 3, 4}, {.adaptive = {5, 7}}},
          {"adaptive, 1-D", {2, 2, 11}, {.adaptive = {4}}},
          {"adaptive, 3-D", {1, 2, 3, 5, 4}, {.adaptive = {2, 3, 4}}}};
}

// Values as they are; y and index.
Case special_max(const std::string& name, const std::vector<float>& x, const std::vector<double>& y,
                 const std::vector<double>& index) {
  const Shape shape{1, 1, static_cast<int64_t>(x.size())}, out{1, 1, static_cast<int64_t>(y.size())};
  return {.name = name,
          .build =
              [=](auto) {
                const auto [values, places] =
                    maxpool(Array(shape, std::span<const float>(x)), {3}, {.stride = {2}});
                return std::vector{values, places};
              },
          .reference =
              [=](auto) {
                return std::vector{Reference(out, y), Reference(out, index)};
              }};
}

std::vector<Case> max_cases() {
  constexpr float kNaN = std::numeric_limits<float>::quiet_NaN(),
                  kInf = std::numeric_limits<float>::infinity();
  std::vector<Case> cases;
  for (const Named& w : windows()) cases.push_back(max_case(w.name, w.shape, w.options));
  for (const Named& w : adaptive_windows()) cases.push_back(max_case(w.name, w.shape, w.options));
  cases.push_back(max_case("dilation", {2, 2, 9, 8},
                           {.kernel = {3, 2}, .stride = {1, 2}, .padding = {1, 1}, .dilation = {2, 3}}));
  cases.push_back(max_case("dilation, ceil", {1, 2, 10},
                           {.kernel = {3}, .stride = {4}, .padding = {1}, .dilation = {2}, .ceil = true}));
  cases.push_back(special_max("of equals the first", {1, 1, 0, 0, 0, 3, 3}, {1, 0, 3}, {0, 2, 5}));
  cases.push_back(
      special_max("NaN is the maximum", {1, kNaN, kNaN, 3, kInf, 0, 1}, {kNaN, kNaN, kInf}, {2, 2, 4}));
  cases.push_back(special_max("-inf", {-kInf, -kInf, -kInf}, {-kInf}, {0}));
  return cases;
}
const bool kMaxpoolRow = add_row({.op = "maxpool", .cases = max_cases()});

Case average_case(const std::string& name, const Shape& shape, const Options& o, bool include_pad = true,
                  int64_t divisor = 0) {
  return {.name = name,
          .arguments = {{.shape = shape}},
          .build =
              [=](auto xs) {
                if (!o.adaptive.empty())
                  return std::vector{adaptive_avgpool(xs[0], shape_of(o.adaptive, {}))};
                return std::vector{avgpool(xs[0], shape_of(o.kernel, {}),
                                           {.stride = shape_of(o.stride, {}),
                                            .padding = shape_of(o.padding, {0}),
                                            .ceil_mode = o.ceil,
                                            .count_include_pad = include_pad,
                                            .divisor = divisor})};
              },
          .reference =
              [=](auto xs) {
                return std::vector{pooled(xs[0], o, [=](const auto& values, const Places&, int64_t whole) {
                  double sum = 0;
                  for (const double v : values) sum += v;
                  return sum / static_cast<double>(divisor       ? divisor
                                                   : include_pad ? whole
                                                                 : static_cast<int64_t>(values.size()));
                })};
              }};
}
Case lp_case(const std::string& name, const Shape& shape, const Options& o, double p) {
  return {.name = name,
          .arguments = {{.shape = shape, .low = 0.1, .high = 2}},
          .build =
              [=](auto xs) {
                return std::vector{lppool(xs[0], static_cast<float>(p), shape_of(o.kernel, {}),
                                          shape_of(o.stride, {}), o.ceil)};
              },
          .reference =
              [=](auto xs) {
                double size = 1;
                for (const int64_t k : o.kernel) size *= static_cast<double>(k);
                return std::vector{pooled(xs[0], o, [=](const auto& values, const Places&, int64_t whole) {
                  double sum = 0;
                  for (const double v : values) sum += std::pow(v, p);
                  return std::pow(sum / static_cast<double>(whole) * size, 1 / p);
                })};
              }};
}
Case response_case(const std::string& name, const Shape& shape, int64_t size, float alpha, float beta,
                   float k) {
  return {.name = name,
          .arguments = {{.shape = shape}},
          .build = [=](auto xs) { return std::vector{local_response_norm(xs[0], size, alpha, beta, k)}; },
          .reference =
              [=](auto xs) {
                const Reference& x = xs[0];
                const int64_t channels = shape[1], inner = x.numel() / shape[0] / channels;
                Reference y(shape);
                for (int64_t i = 0; i < x.numel(); ++i) {
                  const int64_t channel = i / inner % channels;
                  double sum = 0;
                  for (int64_t c = channel - size / 2; c < channel - size / 2 + size; ++c)
                    if (c >= 0 && c < channels) sum += std::pow(x[i + (c - channel) * inner], 2);
                  y[i] = x[i] / std::pow(k + alpha * sum / static_cast<double>(size), beta);
                }
                return std::vector{y};
              }};
}

std::vector<Case> average_cases() {
  std::vector<Case> cases;
  for (const Named& w : windows()) cases.push_back(average_case(w.name, w.shape, w.options));
  for (const Named& w : adaptive_windows()) cases.push_back(average_case(w.name, w.shape, w.options));
  const Options padded{.kernel = {3, 3}, .stride = {2, 2}, .padding = {1, 1}, .ceil = true};
  cases.push_back(average_case("without the padding", {2, 2, 6, 7}, padded, false));
  cases.push_back(average_case("a divisor of its own", {2, 2, 6, 7}, padded, true, 5));
  cases.push_back(lp_case("2-norm", {2, 2, 6, 7}, {.kernel = {2, 3}}, 2));
  cases.push_back(lp_case("3-norm", {2, 2, 6, 7}, {.kernel = {3, 2}, .stride = {2, 2}, .ceil = true}, 3));
  cases.push_back(lp_case("1-norm", {2, 2, 9}, {.kernel = {2}}, 1));
  cases.push_back(response_case("local response", {2, 7, 3, 4}, 5, 0.5f, 0.75f, 1));
  cases.push_back(response_case("local response, an even window", {1, 6, 5}, 4, 1, 0.5f, 2));
  return cases;
}
const bool kAvgpoolRow = add_row({.op = "avgpool", .cases = average_cases()});

}  // namespace
}  // namespace stithy::testing

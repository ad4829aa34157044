// Interpolation and reversal along axes: sums over tables that are made here, in double precision.
#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <memory>

#include "engine/ops.h"
#include "engine/ops/elements.h"
#include "engine/ops/rows.h"
#include "engine/ops_vision.h"
#include "shaders/resample.h"

namespace stithy {
namespace {

// Element o of an axis of `out` elements is the sum of weight * x[index] over taps[o]; none: it is kept as it
// is.
struct AxisTable {
  int64_t in = 1, out = 1;
  std::vector<std::map<int64_t, double>> taps;
  bool kept() const { return taps.empty(); }
};
using Tables = std::array<AxisTable, 3>;
AxisTable kept_axis(int64_t size) { return {size, size, {}}; }

AxisTable transposed(const AxisTable& table) {
  if (table.kept()) return table;
  AxisTable t{table.out, table.in, std::vector<std::map<int64_t, double>>(static_cast<size_t>(table.in))};
  for (size_t o = 0; o < table.taps.size(); ++o)
    for (const auto& [index, weight] : table.taps[o])
      t.taps[static_cast<size_t>(index)][static_cast<int64_t>(o)] = weight;
  return t;
}

struct Resample {
  std::shared_ptr<const Tables> tables;
};

// Inputs: x as [n, channels, depth, height, width], the tables' indices, their weights.
void launch_resample(const Node& n, Launch& launch) {
  const Tables& t = *n.attrs<Resample>().tables;
  const auto u32 = [](int64_t value) { return static_cast<uint32_t>(value); };
  shaders::resample kernel{
      .x = launch.in(0), .table = launch.in(1), .weight = launch.in(2), .y = launch.out()};
  kernel.spec = {.local_size_x = 64,
                 .KEPT_D = t[0].kept(),
                 .KEPT_H = t[1].kept(),
                 .KEPT_W = t[2].kept(),
                 .OUT_D = u32(t[0].out),
                 .OUT_H = u32(t[1].out),
                 .OUT_W = u32(t[2].out)};
  std::array<uint32_t, 4> begin{};
  for (size_t a = 0; a < 3; ++a) begin[a + 1] = begin[a] + (t[a].kept() ? 0 : u32(t[a].out) + 1);
  kernel.push = {.count = u32(n.out().shape.numel()),
                 .x_offset = u32(n.in(0).offset()),
                 .in_h = u32(t[1].in),
                 .in_w = u32(t[2].in),
                 .plane = u32(t[0].in * t[1].in * t[2].in),
                 .starts_h = begin[1],
                 .starts_w = begin[2],
                 .indices = begin[3]};
  launch(kernel, launch.grid((uint64_t{kernel.push.count} + 63) / 64));
}

int cut_resample(const Node&, int input, int axis) { return input > 0 ? kWhole : axis < 2 ? axis : kNever; }
[[maybe_unused]] const bool kCut = define_cut(cut_resample, {"resample"});

Tensor resampled(const Tensor& x, const Tables& tables);

const OpDef& kResample = define_op({.name = "resample",
                                    .dtypes = "f32 i32",
                                    .launch = launch_resample,
                                    .fuses_output = true,
                                    .gradient = [](const Backward& b) -> std::vector<Tensor> {
                                      Tables tables = *b.attrs<Resample>().tables;
                                      for (AxisTable& table : tables) table = transposed(table);
                                      return {resampled(b.dy(), tables), {}, {}};
                                    },
                                    .flops =
                                        [](const Node& n) {
                                          double flops =
                                              2 * static_cast<double>(n.out().shape[0] * n.out().shape[1]);
                                          for (const AxisTable& table : *n.attrs<Resample>().tables) {
                                            double taps = table.kept() ? static_cast<double>(table.out) : 0;
                                            for (const auto& of_one : table.taps)
                                              taps += static_cast<double>(of_one.size());
                                            flops *= taps;
                                          }
                                          return flops;
                                        }});

// x and the result are [n, channels, depth, height, width].
Tensor resampled(const Tensor& x, const Tables& tables) {
  std::vector<int32_t> starts, indices;
  std::vector<float> weights;
  for (const AxisTable& table : tables) {
    if (table.kept()) continue;
    for (const auto& taps : table.taps) {
      starts.push_back(static_cast<int32_t>(indices.size()));
      for (const auto& [index, weight] : taps) {
        indices.push_back(static_cast<int32_t>(index));
        weights.push_back(static_cast<float>(weight));
      }
    }
    starts.push_back(static_cast<int32_t>(indices.size()));
  }
  starts.insert(starts.end(), indices.begin(), indices.end());
  const auto length = [](const auto& list) { return Shape{static_cast<int64_t>(list.size())}; };
  return make_node(kResample, Resample{std::make_shared<const Tables>(tables)},
                   {contiguous(x), Array(length(starts), std::span<const int32_t>(starts)),
                    Array(length(weights), std::span<const float>(weights))},
                   {{{x.dim(0), x.dim(1), tables[0].out, tables[1].out, tables[2].out}}});
}

// PyTorch's conventions; `step` is the distance of two outputs in the input where corners are not aligned.
AxisTable interpolation(int64_t in, int64_t out, double step, Interpolation mode, bool align_corners) {
  AxisTable table{in, out, std::vector<std::map<int64_t, double>>(static_cast<size_t>(out))};
  for (int64_t o = 0; o < out; ++o) {
    const auto add = [&](int64_t index, double weight) {
      table.taps[static_cast<size_t>(o)][std::clamp<int64_t>(index, 0, in - 1)] += weight;
    };
    const auto at = static_cast<double>(o);
    if (mode == Interpolation::nearest) {
      // A quotient of integers may come out just below one.
      add(static_cast<int64_t>(std::floor(at * step * (1 + 1e-14))), 1);
      continue;
    }
    double source = (at + 0.5) * step - 0.5;
    if (align_corners) source = out > 1 ? at * static_cast<double>(in - 1) / static_cast<double>(out - 1) : 0;
    if (mode == Interpolation::linear) source = std::max(source, 0.0);
    const double whole = std::floor(source), t = source - whole;
    const auto first = static_cast<int64_t>(whole);
    if (mode == Interpolation::linear) {
      add(first, 1 - t);
      add(first + 1, t);
      continue;
    }
    constexpr double a = -0.75;  // Keys 1981
    const auto near = [](double d) { return ((a + 2) * d - (a + 3)) * d * d + 1; };
    const auto far = [](double d) { return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a; };
    add(first - 1, far(t + 1));
    add(first, near(t));
    add(first + 1, near(1 - t));
    add(first + 2, far(2 - t));
  }
  return table;
}

Shape five_axes(const Shape& shape) {
  Shape five = shape;
  while (five.rank() < 5) five.insert(2, 1);
  return five;
}

// `factors`: empty, or the scale of each spatial axis.
Tensor interpolated(const char* op, const Tensor& x, const Shape& size, const std::vector<double>& factors,
                    Interpolation mode, bool align_corners) {
  if (align_corners && mode == Interpolation::nearest)
    throw Error(op, "nearest interpolation has no corners to align", "leave align_corners out");
  Tables tables{kept_axis(1), kept_axis(1), kept_axis(1)};
  Shape result = x.shape();
  for (int d = 2; d < x.rank(); ++d) {
    const int64_t in = x.shape()[d], out = size[d - 2];
    if (out < 1) throw Error(op, cat("an output size of ", size, " for x ", x.shape(), " is not positive"));
    const double step = factors.empty() ? static_cast<double>(in) / static_cast<double>(out)
                                        : 1 / factors[static_cast<size_t>(d - 2)];
    tables[static_cast<size_t>(5 - x.rank() + d - 2)] = interpolation(in, out, step, mode, align_corners);
    result[d] = out;
  }
  return reshape(resampled(reshape(x, five_axes(x.shape())), tables), result);
}

void check_images(const char* op, const Tensor& x) {
  require_dtype(op, x, {DType::f32});
  if (x.rank() < 3 || x.rank() > 5 || x.numel() == 0)
    throw Error(op,
                cat("x of shape ", x.shape(), " is not [n, channels, ...] with one to three spatial axes"));
}

}  // namespace

Tensor upsample(const Tensor& x, const Shape& size, Interpolation mode, bool align_corners) {
  check_images("upsample", x);
  if (size.rank() != 1 && size.rank() != x.rank() - 2)
    throw Error("upsample", cat("the size ", size, " does not fit x ", x.shape()),
                "give one value, or one for each spatial axis");
  const Shape sizes = size.rank() == 1 ? Shape::filled(x.rank() - 2, size[0]) : size;
  return interpolated("upsample", x, sizes, {}, mode, align_corners);
}

Tensor upsample_by(const Tensor& x, const std::vector<double>& factors, Interpolation mode,
                   bool align_corners) {
  check_images("upsample_by", x);
  const auto axes = static_cast<size_t>(x.rank() - 2);
  if ((factors.size() != 1 && factors.size() != axes) ||
      std::ranges::any_of(factors, [](double f) { return !(f > 0); }))
    throw Error("upsample_by",
                cat(factors.size(), " factors do not fit x ", x.shape(), ", or are not positive"),
                "give one factor, or one for each spatial axis");
  std::vector<double> all(axes, factors[0]);
  if (factors.size() == axes) all = factors;
  Shape size = Shape::filled(static_cast<int>(axes), 1);
  for (size_t d = 0; d < axes; ++d)
    size[static_cast<int>(d)] =
        static_cast<int64_t>(static_cast<double>(x.shape()[static_cast<int>(d) + 2]) * all[d]);
  return interpolated("upsample_by", x, size, all, mode, align_corners);
}

Tensor flip(const Tensor& x, const Shape& axes) {
  require_dtype("flip", x, {DType::f32});
  Tensor y = x;
  for (const int64_t axis : normalize_axes("flip", axes, x.shape())) {
    // The axis as the height of planes whose width is all that comes after it.
    const auto a = static_cast<int>(axis);
    const int64_t size = x.shape()[a];
    if (size < 2 || x.numel() == 0) continue;
    int64_t inner = 1;
    for (int d = a + 1; d < x.rank(); ++d) inner *= x.shape()[d];
    AxisTable reversed{size, size, std::vector<std::map<int64_t, double>>(static_cast<size_t>(size))};
    for (int64_t o = 0; o < size; ++o) reversed.taps[static_cast<size_t>(o)][size - 1 - o] = 1;
    const Tensor planes = reshape(y, {x.numel() / size / inner, 1, 1, size, inner});
    y = reshape(resampled(planes, {kept_axis(1), reversed, kept_axis(inner)}), x.shape());
  }
  return y;
}

Tensor roll(const Tensor& x, int64_t shift, int64_t axis) {
  if (!x.defined()) throw Error("roll", "the input is undefined");
  const int a = normalize_axis("roll", axis, x.shape());
  const int64_t size = x.shape()[a], first = size ? ((-shift) % size + size) % size : 0;
  if (first == 0) return x;
  return concat(std::vector{slice(x, a, first, size), slice(x, a, 0, first)}, a);
}

Tensor pixel_shuffle(const Tensor& x, int64_t factor) {
  require_dtype("pixel_shuffle", x, {DType::f32});
  if (x.rank() != 4 || factor < 1 || x.dim(1) % (factor * factor) != 0)
    throw Error("pixel_shuffle",
                cat("x of shape ", x.shape(), " is not [n, channels ", factor, "^2, height, width]"));
  const int64_t n = x.dim(0), c = x.dim(1) / factor / factor, h = x.dim(2), w = x.dim(3);
  return reshape(permute(reshape(x, {n, c, factor, factor, h, w}), {0, 1, 4, 2, 5, 3}),
                 {n, c, h * factor, w * factor});
}

Tensor pixel_unshuffle(const Tensor& x, int64_t factor) {
  require_dtype("pixel_unshuffle", x, {DType::f32});
  if (x.rank() != 4 || factor < 1 || x.dim(2) % factor != 0 || x.dim(3) % factor != 0)
    throw Error("pixel_unshuffle", cat("height and width of x ", x.shape(), " are no multiples of ", factor));
  const int64_t n = x.dim(0), c = x.dim(1), h = x.dim(2) / factor, w = x.dim(3) / factor;
  return reshape(permute(reshape(x, {n, c, h, factor, w, factor}), {0, 1, 3, 5, 2, 4}),
                 {n, c * factor * factor, h, w});
}

}  // namespace stithy

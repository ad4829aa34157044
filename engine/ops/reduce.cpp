// Reductions and cumulative sums. shaders/reduce.comp explains the kernels.
#include <algorithm>
#include <cmath>

#include "engine/ops.h"
#include "engine/ops/elements.h"
#include "engine/ops/rows.h"
#include "shaders/cumsum.h"
#include "shaders/reduce.h"

namespace stithy {
namespace {

using Gradients = std::vector<Tensor>;

struct Reduction {
  Shape axes;  // sorted
  float scale = 1;
};

Shape kept_shape(const Shape& shape, const Shape& axes, bool keepdims) {
  Shape result;
  for (int d = 0; d < shape.rank(); ++d)
    if (!axes.contains(d))
      result.push_back(shape[d]);
    else if (keepdims)
      result.push_back(1);
  return result;
}

// What a kernel walks: kept dimensions, then reduced ones, each merged.
struct Axes {
  Shape shape, strides;
  int64_t numel() const { return shape.numel(); }
  int64_t inner_stride() const { return strides.empty() ? 0 : strides.back(); }
};
struct Layout {
  Ref x;
  int64_t offset = 0;
  Axes kept, reduced;
};

Layout layout_of(const Node& n, const Launch& launch, const Shape& axes) {
  const Tensor& x = n.in(0);
  Layout layout{launch.in(0), x.offset(), {}, {}};
  for (int d = 0; d < x.rank(); ++d) {
    Axes& to = axes.contains(d) ? layout.reduced : layout.kept;
    to.shape.push_back(x.shape()[d]);
    to.strides.push_back(x.strides()[d]);
  }
  merge_dimensions(layout.kept.shape, {&layout.kept.strides, 1});
  merge_dimensions(layout.reduced.shape, {&layout.reduced.strides, 1});
  return layout;
}

bool whole_vectors(std::span<const int64_t> values) {
  return std::all_of(values.begin(), values.end(), [](int64_t v) { return v % 4 == 0; });
}
// True when all but the last of the strides, which is 1, leave vectors of four whole.
bool vectors_along(const Axes& along, const Axes& other) {
  return along.inner_stride() == 1 && whole_vectors({along.strides.begin(), along.strides.end() - 1}) &&
         whole_vectors({other.strides.begin(), other.strides.end()});
}

template <class Kernel>
void fill_kernel(Kernel& kernel, const Layout& layout, uint32_t chunk, uint32_t parts, float scale) {
  kernel.push.outputs = static_cast<uint32_t>(layout.kept.numel());
  kernel.push.count = static_cast<uint32_t>(layout.reduced.numel());
  kernel.push.chunk = chunk;
  kernel.push.parts = parts;
  kernel.push.x_offset = static_cast<uint32_t>(layout.offset);
  kernel.push.scale = parts == 1 ? scale : 1;
  size_t d = 0;
  for (const Axes* axes : {&layout.kept, &layout.reduced})
    for (int i = 0; i < axes->shape.rank(); ++i, ++d) {
      kernel.push.shape[d] = static_cast<uint32_t>(axes->shape[i]);
      kernel.push.strides[d] = static_cast<uint32_t>(axes->strides[i]);
    }
  kernel.spec.KEPT = static_cast<uint32_t>(layout.kept.shape.rank());
  kernel.spec.REDUCED = static_cast<uint32_t>(layout.reduced.shape.rank());
}

void reduce(Launch& launch, std::string_view op, const Layout& layout, Ref y, float scale) {
  const int64_t outputs = layout.kept.numel(), length = layout.reduced.numel();
  if (outputs == 0) return;
  const vk::DeviceInfo& device = launch.device();
  // Lanes side by side should read side by side; a workgroup for a handful of elements is a waste.
  const bool rows = length >= 2 * int64_t{device.subgroup_size} &&
                    (outputs == 1 || layout.reduced.inner_stride() <= layout.kept.inner_stride() ||
                     outputs < int64_t{device.subgroup_size});
  const bool vector = layout.offset % 4 == 0 &&
                      (rows ? layout.reduced.shape.rank() == 1 && vectors_along(layout.reduced, layout.kept)
                            : layout.kept.shape.rank() > 0 && layout.kept.shape.back() % 4 == 0 &&
                                  vectors_along(layout.kept, layout.reduced));

  // Enough workgroups (rows) or invocations (columns) to fill the device, each with enough to do.
  const bool splits = op != "argmax" && op != "argmin";
  const int64_t ways = rows ? outputs : outputs / (vector ? 4 : 1);
  const int64_t wanted = rows ? (device.is_cpu() ? 16 : 512) : (device.is_cpu() ? 1024 : 32768);
  const int64_t smallest = rows ? (device.is_cpu() ? 16384 : 4096) : 64;
  int64_t parts = splits ? std::clamp<int64_t>(wanted / ways, 1, std::max<int64_t>(1, length / smallest)) : 1;
  const int64_t chunk = ((length + parts - 1) / parts + 3) / 4 * 4;
  parts = length == 0 ? 1 : (length + chunk - 1) / chunk;

  const Ref to = parts == 1 ? y : launch.scratch(static_cast<uint64_t>(parts * outputs) * 4);
  const auto call = [&](auto kernel, uint64_t groups) {
    fill_kernel(kernel, layout, static_cast<uint32_t>(chunk), static_cast<uint32_t>(parts), scale);
    kernel.x = layout.x;
    kernel.y = to;
    kernel.variant = decltype(kernel)::variant_named(op).value();
    kernel.spec.VECTOR = vector;
    launch(kernel, launch.grid(groups));
  };
  if (rows) {
    shaders::reduce_rows kernel;
    kernel.spec.ONE_SUBGROUP = device.fixed_subgroup_size && (device.is_cpu() || chunk <= 1024);
    kernel.spec.local_size_x = kernel.spec.ONE_SUBGROUP ? device.subgroup_size
                               : device.is_cpu()        ? 64
                                                        : std::min(256u, device.max_workgroup_invocations);
    call(kernel, static_cast<uint64_t>(outputs * parts));
  } else {
    shaders::reduce_columns kernel;
    kernel.spec.local_size_x = 64;
    call(kernel, (static_cast<uint64_t>(ways * parts) + 63) / 64);
  }
  if (parts > 1) reduce(launch, op, {to, 0, {{outputs}, {1}}, {{parts}, {outputs}}}, y, scale);
}

// The axis with the longest steps, which cuts memory into the shortest pieces.
int outermost_axis(const Tensor& x) {
  int axis = 0;
  for (int d = 1; d < x.rank(); ++d)
    if (x.shape()[axis] == 1 || (x.shape()[d] > 1 && x.strides()[d] > x.strides()[axis])) axis = d;
  return axis;
}

// x is beyond a binding, and its outermost axis is reduced: parts of it, then their results.
void reduce_parts(const Node& n, Launch& launch, std::string_view op, const Reduction& r) {
  const Tensor& x = n.in(0);
  const int axis = outermost_axis(x);
  const auto stride = static_cast<uint64_t>(x.strides()[axis]), length = static_cast<uint64_t>(x.dim(axis));
  // Whole vectors for every part, and then as many elements of the axis as a window holds.
  const uint64_t step = std::min(length, rows_at_once(launch, op, stride, 4));
  const uint64_t parts = (length + step - 1) / step;
  const auto outputs = static_cast<uint64_t>(n.out().shape.numel());
  const uint64_t slot = (outputs * 4 + launch.window_alignment() - 1) / launch.window_alignment() *
                        launch.window_alignment() / 4;
  const Ref results = launch.scratch(parts * slot * 4);
  for (uint64_t part = 0; part < parts; ++part) {
    const uint64_t first = part * step, count = std::min(step, length - first);
    Layout layout{{}, 0, {}, {}};
    uint64_t last = 0;
    for (int d = 0; d < x.rank(); ++d) {
      Axes& to = r.axes.contains(d) ? layout.reduced : layout.kept;
      const int64_t size = d == axis ? static_cast<int64_t>(count) : x.shape()[d];
      last += static_cast<uint64_t>((size - 1) * x.strides()[d]);
      to.shape.push_back(size);
      to.strides.push_back(x.strides()[d]);
    }
    merge_dimensions(layout.kept.shape, {&layout.kept.strides, 1});
    merge_dimensions(layout.reduced.shape, {&layout.reduced.strides, 1});
    const Part window =
        part_of(launch, launch.in(0), static_cast<uint64_t>(x.offset()) + first * stride, last + 1);
    layout.x = window.ref;
    layout.offset = window.offset;
    reduce(launch, op, layout, part_of(launch, results, part * slot, outputs).ref, 1);
  }
  const auto wide = [](uint64_t value) { return static_cast<int64_t>(value); };
  reduce(launch, op, {results, 0, {{wide(outputs)}, {1}}, {{wide(parts)}, {wide(slot)}}}, launch.out(),
         r.scale);
}

void launch_reduce(const Node& n, Launch& launch) {
  const Reduction& r = n.attrs<Reduction>();
  const std::string_view op = n.op->name == "mean" ? "sum" : n.op->name;
  if (n.out().shape.numel() > 0 && beyond_binding(n.in(0), launch.device()))
    return reduce_parts(n, launch, op, r);
  reduce(launch, op, layout_of(n, launch, r.axes), launch.out(), r.scale);
}

int cut_reduction(const Node& n, int, int axis) {
  const Tensor& x = n.in(0);
  const Shape& reduced = n.attrs<Reduction>().axes;
  if (reduced.contains(outermost_axis(x)))
    return n.op->name == "argmax" || n.op->name == "argmin" ? kNever : kSelf;
  if (n.out().shape.rank() == x.rank()) return axis;
  for (int d = 0; d < x.rank(); ++d)
    if (!reduced.contains(d) && axis-- == 0) return d;
  return kNever;
}
[[maybe_unused]] const bool kCut =
    define_cut(cut_reduction, {"sum", "mean", "max", "min", "prod", "argmax", "argmin"});

double input_elements(const Node& n) { return static_cast<double>(n.in(0).numel()); }

// `of_kept`, whose shape is x's without the axes or with 1 in their place, as x's shape.
Tensor spread(const Tensor& of_kept, const Backward& b) {
  const Shape shape = b.x().shape();
  return expand(reshape(of_kept, kept_shape(shape, b.attrs<Reduction>().axes, true)), shape);
}

// Every element equal to the result has an equal share of its gradient.
Gradients extremum_gradient(const Backward& b) {
  const Tensor chosen = cast(equal(b.x(), spread(b.y(), b)), DType::f32);
  const Tensor count = sum(chosen, b.attrs<Reduction>().axes, true);
  return {chosen * spread(b.dy() / reshape(count, b.dy().shape()), b)};
}

const OpDef& kSum = define_op({.name = "sum",
                               .launch = launch_reduce,
                               .fuses_input = true,
                               .fuses_output = true,
                               .gradient =
                                   [](const Backward& b) {
                                     const float scale = b.attrs<Reduction>().scale;
                                     return Gradients{spread(scale == 1 ? b.dy() : b.dy() * scale, b)};
                                   },
                               .flops = input_elements});
const OpDef& kMean = define_op({.name = "mean",
                                .launch = launch_reduce,
                                .fuses_input = true,
                                .fuses_output = true,
                                .gradient = kSum.gradient,
                                .flops = input_elements});
const OpDef& kMax = define_op({.name = "max",
                               .launch = launch_reduce,
                               .fuses_input = true,
                               .fuses_output = true,
                               .gradient = extremum_gradient,
                               .flops = input_elements});
const OpDef& kMin = define_op({.name = "min",
                               .launch = launch_reduce,
                               .fuses_input = true,
                               .fuses_output = true,
                               .gradient = extremum_gradient,
                               .flops = input_elements});
// dy times the product of the others: without zeros y / x; with one zero, the rest's product goes to it
// alone; with more, nothing has a gradient. (A second derivative through an exact zero is not followed.)
const OpDef& kProd = define_op({.name = "prod",
                                .launch = launch_reduce,
                                .fuses_input = true,
                                .fuses_output = true,
                                .gradient =
                                    [](const Backward& b) {
                                      const Shape& axes = b.attrs<Reduction>().axes;
                                      const Tensor is_zero = equal(b.x(), 0.0f);
                                      const Tensor zeros = sum(cast(is_zero, DType::f32), axes, true);
                                      const Tensor others = where(is_zero, 1.0f, b.x());
                                      const Tensor rest = prod(others, axes, true);
                                      return Gradients{spread(b.dy(), b) *
                                                       where(is_zero, where(equal(zeros, 1.0f), rest, 0.0f),
                                                             where(equal(zeros, 0.0f), rest / others, 0.0f))};
                                    },
                                .flops = input_elements});
Gradients zero(const Backward&) { return {Tensor()}; }
const OpDef& kArgmax =
    define_op({.name = "argmax", .launch = launch_reduce, .gradient = zero, .flops = input_elements});
const OpDef& kArgmin =
    define_op({.name = "argmin", .launch = launch_reduce, .gradient = zero, .flops = input_elements});

Tensor reduced(const OpDef& op, const Tensor& x, const Shape& axes, bool keepdims, float scale = 1,
               DType result = DType::f32) {
  require_dtype(op.name, x, {DType::f32});
  const Shape normal = normalize_axes(op.name, axes, x.shape());
  if (&op != &kSum && &op != &kMean && &op != &kProd)
    for (int64_t axis : normal)
      if (x.shape()[static_cast<int>(axis)] == 0)
        throw Error(std::string(op.name), cat("nothing to choose from along axis ", axis, " of ", x.shape()));
  return make_node(op, Reduction{normal, scale}, {x}, {{kept_shape(x.shape(), normal, keepdims), result}});
}

int64_t reduced_count(std::string_view op, const Tensor& x, const Shape& axes) {
  int64_t count = 1;
  for (int64_t axis : normalize_axes(op, axes, x.shape())) count *= x.shape()[static_cast<int>(axis)];
  return count;
}

Tensor arg_reduced(const OpDef& op, const Tensor& x, int64_t axis, bool keepdims) {
  require_dtype(op.name, x, {DType::f32});
  if (x.rank() == 0) throw Error(std::string(op.name), "a scalar has no axis");
  return reduced(op, x, {axis}, keepdims, 1, DType::i32);
}

struct Cumulation {
  int axis = 0;
  bool reverse = false;
};
Tensor cumulated(const Tensor& x, Cumulation c);

const OpDef& kCumsum =
    define_op({.name = "cumsum",
               .launch =
                   [](const Node& n, Launch& launch) {
                     const auto [axis, reverse] = n.attrs<Cumulation>();
                     const Shape& shape = n.out().shape;
                     uint32_t inner = 1;
                     for (int d = axis + 1; d < shape.rank(); ++d) inner *= static_cast<uint32_t>(shape[d]);
                     const uint32_t count = static_cast<uint32_t>(shape.numel());
                     if (count == 0) return;
                     const uint32_t length = static_cast<uint32_t>(shape[axis]), lines = count / length;
                     const auto call = [&](auto kernel, uint32_t local_size, uint64_t groups) {
                       kernel.x = launch.in(0);
                       kernel.y = launch.out();
                       kernel.push = {.lines = lines,
                                      .n = length,
                                      .inner = inner,
                                      .x_offset = static_cast<uint32_t>(n.in(0).offset())};
                       kernel.spec = {.local_size_x = local_size, .REVERSE = reverse};
                       const uint32_t range = launch.device().most_turns;
                       for (uint32_t begin = 0; begin < length; begin = kernel.push.end) {
                         kernel.push.begin = begin;
                         kernel.push.end = length - begin > range ? begin + range : length;
                         launch(kernel, launch.grid(groups));
                       }
                     };
                     if (inner == 1 && length >= 32)
                       call(shaders::cumsum_rows{}, launch.device().max_subgroup_size, lines);
                     else
                       call(shaders::cumsum_lines{}, 64, (uint64_t{lines} + 63) / 64);
                   },
               .gradient =
                   [](const Backward& b) {
                     const auto [axis, reverse] = b.attrs<Cumulation>();
                     return Gradients{cumulated(b.dy(), {axis, !reverse})};
                   }});

Tensor cumulated(const Tensor& x, Cumulation c) {
  return make_node(kCumsum, c, {contiguous(x)}, {{x.shape()}});
}

}  // namespace

Tensor sum(const Tensor& x, const Shape& axes, bool keepdims) { return reduced(kSum, x, axes, keepdims); }
Tensor mean(const Tensor& x, const Shape& axes, bool keepdims) {
  require_dtype("mean", x, {DType::f32});
  return reduced(kMean, x, axes, keepdims,
                 static_cast<float>(1.0 / static_cast<double>(reduced_count("mean", x, axes))));
}
Tensor max(const Tensor& x, const Shape& axes, bool keepdims) { return reduced(kMax, x, axes, keepdims); }
Tensor min(const Tensor& x, const Shape& axes, bool keepdims) { return reduced(kMin, x, axes, keepdims); }
Tensor prod(const Tensor& x, const Shape& axes, bool keepdims) { return reduced(kProd, x, axes, keepdims); }
Tensor argmax(const Tensor& x, int64_t axis, bool keepdims) {
  return arg_reduced(kArgmax, x, axis, keepdims);
}
Tensor argmin(const Tensor& x, int64_t axis, bool keepdims) {
  return arg_reduced(kArgmin, x, axis, keepdims);
}

Tensor var(const Tensor& x, const Shape& axes, bool keepdims, int64_t correction) {
  require_dtype("var", x, {DType::f32});
  const int64_t freedom = reduced_count("var", x, axes) - correction;
  if (freedom <= 0)
    throw Error("var",
                cat("correction ", correction, " leaves nothing of the ", freedom + correction,
                    " elements reduced in ", x.shape()),
                "reduce more elements, or use correction 0");
  return reduced(kMean, square(x - mean(x, axes, true)), axes, keepdims,
                 static_cast<float>(1.0 / static_cast<double>(freedom)));
}

Tensor logsumexp(const Tensor& x, const Shape& axes, bool keepdims) {
  const Tensor largest = stop_gradient(max(x, axes, true));
  // An infinite maximum would make inf - inf of the elements equal to it.
  const Tensor shift = where(isfinite(largest), largest, 0.0f);
  const Tensor total = log(sum(exp(x - shift), axes, keepdims));
  return total + reshape(shift, total.shape());
}

Tensor norm(const Tensor& x, const Shape& axes, bool keepdims, float p) {
  if (!(p > 0)) throw Error("norm", cat("p = ", p, " is not positive"));
  if (std::isinf(p)) return max(abs(x), axes, keepdims);
  if (p == 1) return sum(abs(x), axes, keepdims);
  const Tensor total = sum(p == 2 ? square(x) : pow(abs(x), p), axes, keepdims);
  // The root's derivative is infinite at 0, where the norm has the subgradient 0.
  const Tensor at_zero = equal(total, 0.0f), safe = where(at_zero, 1.0f, total);
  return where(at_zero, 0.0f, p == 2 ? sqrt(safe) : pow(safe, 1 / p));
}

Tensor cumsum(const Tensor& x, int64_t axis) {
  require_dtype("cumsum", x, {DType::f32});
  return cumulated(x, {normalize_axis("cumsum", axis, x.shape()), false});
}

Tensor sum_to(const Tensor& x, const Shape& shape) {
  require_dtype("sum_to", x, {DType::f32});
  if (x.shape() == shape) return x;
  const int added = x.rank() - shape.rank();
  Shape axes;
  for (int d = 0; d < x.rank(); ++d) {
    const int64_t to = d < added ? 1 : shape[d - added];
    if (to != x.shape()[d] && (to != 1 || added < 0))
      throw Error("sum_to", cat(x.shape(), " is no broadcast of ", shape));
    if (d < added || to != x.shape()[d]) axes.push_back(d);
  }
  if (added < 0) throw Error("sum_to", cat(x.shape(), " is no broadcast of ", shape));
  return reshape(axes.empty() ? x : sum(x, axes), shape);
}

}  // namespace stithy

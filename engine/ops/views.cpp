// Views, and the sources that are views: a constant element seen in every place.
#include <algorithm>
#include <numeric>

#include "engine/ops.h"
#include "engine/ops/elements.h"
#include "engine/ops/place.h"

namespace stithy {
namespace {

using Gradients = std::vector<Tensor>;

constexpr std::string_view kAnything = "f32 f16 bf16 i32 u8 bool";

const OpDef& kReshape = define_op({.name = "reshape", .dtypes = kAnything, .gradient = [](const Backward& b) {
                                     return Gradients{reshape(b.dy(), b.x().shape())};
                                   }});
const OpDef& kPermute = define_op({.name = "permute", .dtypes = kAnything, .gradient = [](const Backward& b) {
                                     const Shape& axes = b.attrs<Shape>();
                                     Shape inverse = axes;
                                     for (int i = 0; i < axes.rank(); ++i)
                                       inverse[static_cast<int>(axes[i])] = i;
                                     return Gradients{permute(b.dy(), inverse)};
                                   }});
const OpDef& kExpand = define_op({.name = "expand", .dtypes = kAnything, .gradient = [](const Backward& b) {
                                    return Gradients{sum_to(b.dy(), b.x().shape())};
                                  }});
const OpDef& kSlice = define_op({.name = "slice", .dtypes = kAnything, .gradient = [](const Backward& b) {
                                   return Gradients{place(b.dy(), b.x().shape(), b.attrs<Region>(), 0)};
                                 }});
const OpDef& kStopGradient =
    define_op({.name = "stop_gradient", .dtypes = kAnything, .gradient = [](const Backward&) {
                 return Gradients{Tensor()};
               }});

void require_defined(std::string_view op, const Tensor& x) {
  if (!x.defined()) throw Error(std::string(op), "the input is undefined");
}

// The strides that show `x` in another shape of as many elements, if there are any: every group of x's
// dimensions that is split or merged must be walked in one step (NumPy's rule).
std::optional<Shape> reshaped_strides(const Tensor& x, const Shape& shape) {
  if (x.is_contiguous() || x.numel() == 0) return contiguous_strides(shape);
  Shape from = x.shape(), strides = x.strides();
  merge_dimensions(from, {&strides, 1});
  // What remains of x is one dimension per step; each must be split into whole new dimensions.
  Shape result = Shape::filled(shape.rank(), 1);
  int d = shape.rank() - 1;
  for (int s = from.rank() - 1; s >= 0; --s) {
    int64_t covered = 1;
    while (covered < from[s]) {
      if (d < 0) return {};
      result[d] = strides[s] * covered;
      covered *= shape[d];
      --d;
    }
    if (covered != from[s]) return {};
  }
  return result;
}

}  // namespace

Tensor full(const Shape& shape, float value) { return expand(Tensor(value), shape); }
Tensor zeros(const Shape& shape) { return full(shape, 0); }
Tensor ones(const Shape& shape) { return full(shape, 1); }

Tensor arange(int64_t n, DType dtype) {
  if (n < 0) throw Error("arange", cat("length ", n, " is negative"));
  if (dtype != DType::i32 && dtype != DType::f32)
    throw Error("arange", cat("makes i32 or f32, not ", dtype), "convert with cast()");
  Array values({n}, dtype);
  for (int64_t i = 0; i < n; ++i) values.set(i, static_cast<double>(i));
  return values;
}

namespace {
const bool kProvided = provide_autograd_ops({.add = add, .full = full});
}

Tensor reshape(const Tensor& x, const Shape& shape) {
  require_defined("reshape", x);
  Shape full_shape = shape;
  const auto unknown = std::find(full_shape.begin(), full_shape.end(), -1);
  if (unknown != full_shape.end()) *unknown = 1;
  const bool valid = std::all_of(full_shape.begin(), full_shape.end(), [](int64_t d) { return d >= 0; });
  if (valid && unknown != full_shape.end())
    *unknown = full_shape.numel() ? x.numel() / full_shape.numel() : 0;
  if (!valid || full_shape.numel() != x.numel())
    throw Error("reshape", cat("shape ", x.shape(), " of ", x.numel(), " elements cannot become ", shape));
  if (full_shape == x.shape()) return x;
  const std::optional<Shape> strides = reshaped_strides(x, full_shape);
  if (!strides) return reshape(contiguous(x), full_shape);
  return make_view(kReshape, {}, x, full_shape, *strides, x.offset());
}

Tensor permute(const Tensor& x, const Shape& axes) {
  require_defined("permute", x);
  Shape order = axes;
  for (int64_t& axis : order) axis = normalize_axis("permute", axis, x.shape());
  bool each_once = order.rank() == x.rank();
  for (int i = 0; i < x.rank(); ++i) each_once = each_once && order.contains(i);
  if (!each_once)
    throw Error("permute", cat("axes ", axes, " do not name each axis of ", x.shape(), " once"));
  Shape shape = x.shape(), strides = x.strides();
  for (int i = 0; i < x.rank(); ++i) {
    shape[i] = x.shape()[static_cast<int>(order[i])];
    strides[i] = x.strides()[static_cast<int>(order[i])];
  }
  return make_view(kPermute, order, x, shape, strides, x.offset());
}

Tensor transpose(const Tensor& x, int64_t axis_a, int64_t axis_b) {
  require_defined("transpose", x);
  Shape axes = Shape::filled(x.rank(), 0);
  std::iota(axes.begin(), axes.end(), 0);
  std::swap(axes[normalize_axis("transpose", axis_a, x.shape())],
            axes[normalize_axis("transpose", axis_b, x.shape())]);
  return permute(x, axes);
}

Tensor expand(const Tensor& x, const Shape& shape) {
  require_defined("expand", x);
  if (shape == x.shape()) return x;
  const int added = shape.rank() - x.rank();
  Shape strides = Shape::filled(shape.rank(), 0);
  bool fits = added >= 0;
  for (int i = 0; fits && i < x.rank(); ++i) {
    const int64_t from = x.shape()[i], to = shape[i + added];
    fits = from == to || from == 1;
    strides[i + added] = from == to ? x.strides()[i] : 0;
  }
  if (!fits || std::any_of(shape.begin(), shape.end(), [](int64_t d) { return d < 0; }))
    throw Error("expand", cat("shape ", x.shape(), " does not broadcast to ", shape),
                "sizes must be equal or 1, counted from the last dimension");
  return make_view(kExpand, {}, x, shape, strides, x.offset());
}

Tensor slice(const Tensor& x, int64_t axis, int64_t begin, int64_t end, int64_t step) {
  require_defined("slice", x);
  const int d = normalize_axis("slice", axis, x.shape());
  const int64_t size = x.shape()[d];
  const int64_t first = begin < 0 ? begin + size : begin, last = end < 0 ? end + size : end;
  if (first < 0 || last < first || last > size)
    throw Error("slice", cat("[", begin, ", ", end, ") is out of range for axis ", axis, " of ", x.shape()));
  if (step < 1) throw Error("slice", cat("step ", step, " is not positive"));
  if (first == 0 && last == size && step == 1) return x;
  Shape shape = x.shape(), strides = x.strides();
  shape[d] = (last - first + step - 1) / step;
  strides[d] *= step;
  Region region{Shape::filled(x.rank(), 0), Shape::filled(x.rank(), 1)};
  region.begin[d] = first;
  region.step[d] = step;
  return make_view(kSlice, region, x, shape, strides, x.offset() + first * x.strides()[d]);
}

Tensor squeeze(const Tensor& x, int64_t axis) {
  require_defined("squeeze", x);
  Shape shape = x.shape();
  const int d = normalize_axis("squeeze", axis, shape);
  if (shape[d] != 1) throw Error("squeeze", cat("axis ", axis, " of ", shape, " is not of size 1"));
  shape.erase(d);
  return reshape(x, shape);
}

Tensor unsqueeze(const Tensor& x, int64_t axis) {
  require_defined("unsqueeze", x);
  Shape shape = x.shape();
  if (axis < -shape.rank() - 1 || axis > shape.rank())
    throw Error("unsqueeze", cat("axis ", axis, " is out of range for shape ", shape));
  shape.insert(static_cast<int>(axis < 0 ? axis + shape.rank() + 1 : axis), 1);
  return reshape(x, shape);
}

Tensor flatten(const Tensor& x, int64_t start_axis, int64_t end_axis) {
  require_defined("flatten", x);
  if (x.rank() == 0) return reshape(x, {1});
  const int first = normalize_axis("flatten", start_axis, x.shape());
  const int last = normalize_axis("flatten", end_axis, x.shape());
  if (first > last) throw Error("flatten", cat("start axis ", start_axis, " is after end axis ", end_axis));
  Shape shape = x.shape();
  for (int d = last; d > first; --d) {
    shape[d - 1] *= shape[d];
    shape.erase(d);
  }
  return reshape(x, shape);
}

Tensor stop_gradient(const Tensor& x) {
  require_defined("stop_gradient", x);
  return make_view(kStopGradient, {}, x, x.shape(), x.strides(), x.offset());
}

}  // namespace stithy

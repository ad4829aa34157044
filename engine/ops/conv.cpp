// Convolution, its transpose, and the gradient of its weights: three linear maps, each of which has the two
// others for gradients. conv_launch.cpp computes them.
#include "engine/ops/conv.h"

#include <algorithm>

#include "engine/graph/op.h"
#include "engine/graph/pieces.h"
#include "engine/ops.h"
#include "engine/ops/elements.h"

namespace stithy {
namespace {

template <int kWeight, int kOut>
double conv_flops(const Node& n) {
  const auto shape = [&](int i) -> const Shape& { return i < 0 ? n.out().shape : n.in(i).shape(); };
  const Shape& w = shape(kWeight);
  return 2.0 * static_cast<double>(shape(kOut).numel()) * static_cast<double>(w.numel()) /
         static_cast<double>(std::max<int64_t>(w[0], 1));
}

Tensor conv_node(const ConvGeometry& o, const Tensor& x, const Tensor& w, const Shape& y);
Tensor transposed_node(const ConvGeometry& o, const Tensor& x, const Tensor& w, const Shape& y);
Tensor weight_node(const ConvGeometry& o, const Tensor& x, const Tensor& dy, const Shape& w);

const OpDef& kConv = define_op({.name = "conv",
                                .launch = launch_conv,
                                .fuses_output = true,
                                .gradient =
                                    [](const Backward& b) {
                                      const ConvGeometry& o = b.attrs<ConvGeometry>();
                                      std::vector<Tensor> dxs(2);
                                      if (b.needs(0))
                                        dxs[0] = transposed_node(o, b.dy(), b.x(1), b.x(0).shape());
                                      if (b.needs(1)) dxs[1] = weight_node(o, b.x(0), b.dy(), b.x(1).shape());
                                      return dxs;
                                    },
                                .flops = conv_flops<1, -1>});
const OpDef& kTransposed = define_op({.name = "conv_transpose",
                                      .launch = launch_conv_transpose,
                                      .fuses_output = true,
                                      .gradient =
                                          [](const Backward& b) {
                                            const ConvGeometry& o = b.attrs<ConvGeometry>();
                                            std::vector<Tensor> dxs(2);
                                            if (b.needs(0))
                                              dxs[0] = conv_node(o, b.dy(), b.x(1), b.x(0).shape());
                                            if (b.needs(1))
                                              dxs[1] = weight_node(o, b.dy(), b.x(0), b.x(1).shape());
                                            return dxs;
                                          },
                                      .flops = conv_flops<1, 0>});
const OpDef& kWeight = define_op({.name = "conv_weight",
                                  .launch = launch_conv_weight,
                                  .gradient =
                                      [](const Backward& b) {
                                        const ConvGeometry& o = b.attrs<ConvGeometry>();
                                        std::vector<Tensor> dxs(2);
                                        if (b.needs(0))
                                          dxs[0] = transposed_node(o, b.x(1), b.dy(), b.x(0).shape());
                                        if (b.needs(1)) dxs[1] = conv_node(o, b.x(0), b.dy(), b.x(1).shape());
                                        return dxs;
                                      },
                                  .flops = conv_flops<-1, 1>});

Tensor conv_node(const ConvGeometry& o, const Tensor& x, const Tensor& w, const Shape& y) {
  return make_node(kConv, o, {contiguous(x), contiguous(w)}, {{y}});
}
Tensor transposed_node(const ConvGeometry& o, const Tensor& x, const Tensor& w, const Shape& y) {
  return make_node(kTransposed, o, {contiguous(x), contiguous(w)}, {{y}});
}
Tensor weight_node(const ConvGeometry& o, const Tensor& x, const Tensor& dy, const Shape& w) {
  return make_node(kWeight, o, {contiguous(x), contiguous(dy)}, {{w}});
}

// Items of the batch are independent.
int cut_batch(const Node&, int input, int axis) { return axis != 0 ? kNever : input == 0 ? 0 : kWhole; }
[[maybe_unused]] const bool kCut =
    define_cut(cut_batch, {"conv", "conv_transpose"}) && define_cut(launch_makes_windows, {"conv_weight"});

// ---- what users write, checked

// One value for all of the `n` axes, or one each.
ConvAxes axes_of(std::string_view op, const char* what, const Shape& values, int n, int64_t missing,
                 int64_t least) {
  if (values.rank() != 1 && values.rank() != n)
    throw Error(std::string(op),
                cat(what, " ", values, " has ", values.rank(), " entries for ", n, " spatial axes"),
                "give one for all, or one an axis");
  ConvAxes axes{missing, missing, missing};
  for (int i = 0; i < n; ++i) {
    const int64_t value = values[values.rank() == 1 ? 0 : i];
    if (value < least || value > INT32_MAX)
      throw Error(std::string(op), cat(what, " ", values, " must be at least ", least));
    axes[static_cast<size_t>(kConvAxes - n + i)] = value;
  }
  return axes;
}

// Checks all but the sizes; returns the number of spatial axes.
int check(std::string_view op, const Tensor& x, const Tensor& w, int64_t groups, int weight_axis) {
  require_dtype(op, x, {DType::f32});
  require_dtype(op, w, {DType::f32});
  const int n = x.rank() - 2;
  if (n < 1 || n > kConvAxes || w.rank() != x.rank())
    throw Error(std::string(op), cat("x ", x.shape(), " and weight ", w.shape(), " do not fit"),
                "x is [n, channels, spatial...] with one to three spatial axes, the weight of the same rank");
  if (groups < 1 || x.dim(1) % groups != 0 || w.dim(0) % groups != 0)
    throw Error(std::string(op),
                cat(x.dim(1), " channels of x and a weight ", w.shape(), " are not ", groups, " groups"));
  if (const int64_t channels = weight_axis == 1 ? w.dim(1) * groups : w.dim(0); x.dim(1) != channels)
    throw Error(std::string(op),
                cat("x ", x.shape(), " has ", x.dim(1), " channels, the weight ", w.shape(), " in ", groups,
                    groups == 1 ? " group takes " : " groups takes ", channels));
  for (int d = 2; d < w.rank(); ++d)
    if (w.dim(d) < 1) throw Error(std::string(op), cat("the weight ", w.shape(), " has no taps"));
  return n;
}

ConvGeometry conv_of(std::string_view op, const ConvOptions& options, int n) {
  return {axes_of(op, "stride", options.stride, n, 1, 1), axes_of(op, "padding", options.padding, n, 0, 0),
          axes_of(op, "dilation", options.dilation, n, 1, 1), options.groups};
}

}  // namespace

Tensor conv(const Tensor& x, const Tensor& weight, const ConvOptions& options) {
  const int n = check("conv", x, weight, options.groups, 1);
  ConvGeometry o = conv_of("conv", options, n);
  Shape y{x.dim(0), weight.dim(0)};
  for (int d = 2; d < x.rank(); ++d) {
    const auto at = static_cast<size_t>(kConvAxes - n + d - 2);
    const int64_t reach = o.dilation[at] * (weight.dim(d) - 1) + 1;
    int64_t padding = 2 * o.padding[at];
    if (options.same) {
      if (o.stride[at] != 1)
        throw Error("conv", cat("padding `same` with stride ", options.stride),
                    "the output would be smaller; give the padding in numbers");
      padding = reach - 1;
      o.padding[at] = padding / 2;
    }
    const int64_t size = x.dim(d) + padding - reach;
    if (size < 0)
      throw Error("conv",
                  cat("a kernel that reaches over ", reach, " elements does not fit axis ", d, " of x ",
                      x.shape(), " with padding ", o.padding[at]),
                  "pad more, or use a smaller kernel or dilation");
    y.push_back(size / o.stride[at] + 1);
  }
  return conv_node(o, x, weight, y);
}

Tensor conv_transpose(const Tensor& x, const Tensor& weight, const ConvOptions& options,
                      const Shape& output_padding) {
  const int n = check("conv_transpose", x, weight, options.groups, 0);
  if (options.same)
    throw Error("conv_transpose", "padding `same` is for conv alone", "give the padding in numbers");
  const ConvGeometry o = conv_of("conv_transpose", options, n);
  const ConvAxes extra = axes_of("conv_transpose", "output padding", output_padding, n, 0, 0);
  Shape y{x.dim(0), weight.dim(1) * options.groups};
  for (int d = 2; d < x.rank(); ++d) {
    const auto at = static_cast<size_t>(kConvAxes - n + d - 2);
    if (extra[at] >= std::max(o.stride[at], o.dilation[at]))
      throw Error("conv_transpose", cat("output padding ", output_padding, " must be below the stride ",
                                        options.stride, " or the dilation ", options.dilation));
    const int64_t size = (x.dim(d) - 1) * o.stride[at] - 2 * o.padding[at] +
                         o.dilation[at] * (weight.dim(d) - 1) + 1 + extra[at];
    if (size < 1 && x.dim(d) > 0)
      throw Error("conv_transpose",
                  cat("nothing is left of axis ", d, " of x ", x.shape(), " with padding ", options.padding));
    y.push_back(std::max<int64_t>(size, 0));
  }
  return transposed_node(o, x, weight, y);
}

}  // namespace stithy

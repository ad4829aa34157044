// Pooling. shaders/pool.comp states which elements a window has.
#include <algorithm>
#include <array>

#include "engine/ops.h"
#include "engine/ops/elements.h"
#include "engine/ops/rows.h"
#include "engine/ops_vision.h"
#include "shaders/pool.h"

namespace stithy {
namespace {

using Sizes = std::array<int32_t, 3>;  // depth, height, width

struct Pool {
  bool adaptive = false, include_padding = true;
  Sizes in{1, 1, 1}, out{1, 1, 1}, kernel{1, 1, 1}, stride{1, 1, 1}, padding{}, dilation{1, 1, 1};
  int32_t divisor = 0;
};

uint32_t offset_of(const Tensor& x) { return static_cast<uint32_t>(x.offset()); }

template <class Kernel>
void launch_pool(Launch& launch, const Node& n, Kernel kernel) {
  const Pool& p = n.attrs<Pool>();
  kernel.spec = {.local_size_x = 64,
                 .ADAPTIVE = p.adaptive,
                 .IN_D = p.in[0],
                 .IN_H = p.in[1],
                 .IN_W = p.in[2],
                 .OUT_D = p.out[0],
                 .OUT_H = p.out[1],
                 .OUT_W = p.out[2],
                 .KERNEL_D = p.kernel[0],
                 .KERNEL_H = p.kernel[1],
                 .KERNEL_W = p.kernel[2],
                 .STRIDE_D = p.stride[0],
                 .STRIDE_H = p.stride[1],
                 .STRIDE_W = p.stride[2],
                 .PAD_D = p.padding[0],
                 .PAD_H = p.padding[1],
                 .PAD_W = p.padding[2],
                 .DILATION_D = p.dilation[0],
                 .DILATION_H = p.dilation[1],
                 .DILATION_W = p.dilation[2],
                 .INCLUDE_PADDING = p.include_padding,
                 .DIVISOR = p.divisor};
  kernel.push.count = static_cast<uint32_t>(n.out().shape.numel());
  kernel.push.x_offset = offset_of(n.in(0));
  if (n.inputs.size() > 1) kernel.push.index_offset = offset_of(n.in(1));
  launch(kernel, launch.grid((uint64_t{kernel.push.count} + 63) / 64));
}

void launch_maxpool(const Node& n, Launch& launch) {
  launch_pool(launch, n, shaders::maxpool{.x = launch.in(0), .y = launch.out(0), .index = launch.out(1)});
}
// Inputs: dy, index.
void launch_maxpool_backward(const Node& n, Launch& launch) {
  launch_pool(launch, n,
              shaders::maxpool_backward{.dy = launch.in(0), .dx = launch.out(), .index = launch.in(1)});
}
void launch_avgpool(const Node& n, Launch& launch) {
  launch_pool(launch, n, shaders::avgpool{.x = launch.in(0), .y = launch.out()});
}
void launch_avgpool_backward(const Node& n, Launch& launch) {
  launch_pool(launch, n, shaders::avgpool_backward{.dy = launch.in(0), .dx = launch.out()});
}

// Planes are on their own.
int cut_planes(const Node&, int, int axis) { return axis < 2 ? axis : kNever; }
[[maybe_unused]] const bool kCut =
    define_cut(cut_planes, {"maxpool", "maxpool_backward", "avgpool", "avgpool_backward"});

// Additions or comparisons.
double window_flops(const Node& n) {
  const Pool& p = n.attrs<Pool>();
  double window = 1, planes = static_cast<double>(n.out().shape[0] * n.out().shape[1]);
  for (size_t d = 0; d < 3; ++d) {
    planes *= p.out[d];
    window *= p.adaptive ? static_cast<double>(p.in[d]) / p.out[d] : p.kernel[d];
  }
  return planes * window;
}

// [n, channels, out ...] of shape [n, channels, in ...], and the other way.
Shape with_spatial(const Shape& shape, const Sizes& sizes) {
  Shape result = shape;
  for (int d = 2; d < shape.rank(); ++d) result[d] = sizes[static_cast<size_t>(3 - shape.rank() + d)];
  return result;
}

const OpDef& kMaxpoolBackward =
    define_op({.name = "maxpool_backward",
               .dtypes = "f32 i32",
               .launch = launch_maxpool_backward,
               .fuses_output = true,
               .flops = window_flops,
               .composition = [](const Node& n) -> std::vector<Tensor> {
                 const Shape& shape = n.out().shape;
                 const int64_t planes = shape[0] * shape[1];
                 const Tensor dx =
                     scatter_add(zeros({planes, shape.numel() / planes}), reshape(n.in(1), {planes, -1}),
                                 reshape(n.in(0), {planes, -1}), 1);
                 return {reshape(dx, shape)};
               }});
const OpDef& kMaxpool = define_op(
    {.name = "maxpool",
     .launch = launch_maxpool,
     .fuses_output = true,
     .gradient = [](const Backward& b) -> std::vector<Tensor> {
       return {make_node(kMaxpoolBackward, b.attrs<Pool>(), {contiguous(b.dy()), b.y(1)}, {{b.x().shape()}})};
     },
     .flops = window_flops});

Tensor averaged(const Pool& p, const Tensor& x);

const OpDef& kAvgpoolBackward = define_op(
    {.name = "avgpool_backward",
     .launch = launch_avgpool_backward,
     .fuses_output = true,
     .gradient = [](const Backward& b) -> std::vector<Tensor> { return {averaged(b.attrs<Pool>(), b.dy())}; },
     .flops = window_flops});
const OpDef& kAvgpool = define_op(
    {.name = "avgpool",
     .launch = launch_avgpool,
     .fuses_output = true,
     .gradient = [](const Backward& b) -> std::vector<Tensor> {
       return {make_node(kAvgpoolBackward, b.attrs<Pool>(), {contiguous(b.dy())}, {{b.x().shape()}})};
     },
     .flops = window_flops});

Tensor averaged(const Pool& p, const Tensor& x) {
  return make_node(kAvgpool, p, {contiguous(x)}, {{with_spatial(x.shape(), p.out)}});
}
MaxPoolOutputs maximal(const Pool& p, const Tensor& x) {
  const Shape shape = with_spatial(x.shape(), p.out);
  const Tensor y = make_node(kMaxpool, p, {contiguous(x)}, {{shape}, {shape, DType::i32}});
  return {y, y.node()->tensor(1)};
}

int check_input(std::string_view op, const Tensor& x) {
  require_dtype(op, x, {DType::f32});
  if (x.rank() < 3 || x.rank() > 5 || x.numel() == 0)
    throw Error(std::string(op),
                cat("x of shape ", x.shape(), " is not [n, channels, ...] with one to three spatial axes"),
                "give the batch and the channels axes of size 1 where there are none");
  return x.rank() - 2;
}

// One value for all spatial axes, or one for each, not below `least`.
Sizes sizes_of(std::string_view op, std::string_view what, const Shape& values, int axes, int64_t least,
               int32_t otherwise) {
  if (values.rank() != 1 && values.rank() != axes)
    throw Error(std::string(op), cat(what, " ", values, " does not fit ", axes, " spatial axes"),
                "give one value, or one for each spatial axis");
  Sizes sizes;
  sizes.fill(otherwise);
  for (int d = 0; d < axes; ++d) {
    const int64_t value = values[values.rank() == 1 ? 0 : d];
    if (value < least || value > 0x7fffffff)
      throw Error(std::string(op), cat(what, " ", values, " has a value that is out of range"),
                  cat("values must be at least ", least));
    sizes[static_cast<size_t>(3 - axes + d)] = static_cast<int32_t>(value);
  }
  return sizes;
}
Sizes spatial_of(const Shape& shape) {
  Sizes sizes{1, 1, 1};
  for (int d = 2; d < shape.rank(); ++d)
    sizes[static_cast<size_t>(3 - shape.rank() + d)] = static_cast<int32_t>(shape[d]);
  return sizes;
}

Pool windows_of(std::string_view op, const Tensor& x, const Shape& kernel, const Shape& stride,
                const Shape& padding, const Shape& dilation, bool ceil_mode) {
  const int axes = check_input(op, x);
  Pool p{.in = spatial_of(x.shape()),
         .kernel = sizes_of(op, "the kernel", kernel, axes, 1, 1),
         .stride = sizes_of(op, "the stride", stride.empty() ? kernel : stride, axes, 1, 1),
         .padding = sizes_of(op, "the padding", padding, axes, 0, 0),
         .dilation = sizes_of(op, "the dilation", dilation, axes, 1, 1)};
  for (size_t d = 0; d < 3; ++d) {
    if (2 * p.padding[d] > p.kernel[d])
      throw Error(std::string(op), cat("the padding ", padding, " is more than half of the kernel ", kernel));
    const int64_t span = int64_t{p.dilation[d]} * (p.kernel[d] - 1) + 1,
                  room = p.in[d] + 2 * int64_t{p.padding[d]} - span;
    const int64_t rest = ceil_mode ? p.stride[d] - 1 : 0;
    int64_t out = room + rest < 0 ? 0 : (room + rest) / p.stride[d] + 1;
    // With ceil_mode the last window must begin in the input or in the padding before it.
    if (ceil_mode && (out - 1) * p.stride[d] >= p.in[d] + int64_t{p.padding[d]}) --out;
    if (out < 1)
      throw Error(std::string(op), cat("a window of kernel ", kernel, " and dilation ", dilation,
                                       " is larger than x ", x.shape(), " with padding ", padding));
    p.out[d] = static_cast<int32_t>(out);
  }
  return p;
}
Pool adaptive_of(std::string_view op, const Tensor& x, const Shape& size) {
  const int axes = check_input(op, x);
  return {.adaptive = true,
          .include_padding = false,
          .in = spatial_of(x.shape()),
          .out = sizes_of(op, "the output size", size, axes, 1, 1)};
}

}  // namespace

MaxPoolOutputs maxpool(const Tensor& x, const Shape& kernel, const MaxPoolOptions& options) {
  return maximal(
      windows_of("maxpool", x, kernel, options.stride, options.padding, options.dilation, options.ceil_mode),
      x);
}

Tensor avgpool(const Tensor& x, const Shape& kernel, const AvgPoolOptions& options) {
  Pool p = windows_of("avgpool", x, kernel, options.stride, options.padding, {1}, options.ceil_mode);
  if (options.divisor < 0 || options.divisor > 0x7fffffff)
    throw Error("avgpool", cat("the divisor ", options.divisor, " is out of range"),
                "0 is the size of the window");
  p.include_padding = options.count_include_pad;
  p.divisor = static_cast<int32_t>(options.divisor);
  return averaged(p, x);
}

Tensor lppool(const Tensor& x, float p, const Shape& kernel, const Shape& stride, bool ceil_mode) {
  if (!(p > 0)) throw Error("lppool", cat("p = ", p, " is not positive"));
  const Pool windows = windows_of("lppool", x, kernel, stride, {0}, {1}, ceil_mode);
  // As in PyTorch a window that ceil_mode cuts off counts as a whole one of the same mean.
  const float size = static_cast<float>(windows.kernel[0] * windows.kernel[1] * windows.kernel[2]);
  const Tensor total = averaged(windows, p == 2 ? square(x) : p == 1 ? x : pow(x, p)) * size;
  if (p == 1) return total;
  // The root's derivative is infinite at 0, where the norm has the subgradient 0.
  const Tensor at_zero = equal(total, 0.0f), safe = where(at_zero, 1.0f, total);
  return where(at_zero, 0.0f, p == 2 ? sqrt(safe) : pow(safe, 1 / p));
}

MaxPoolOutputs adaptive_maxpool(const Tensor& x, const Shape& size) {
  return maximal(adaptive_of("adaptive_maxpool", x, size), x);
}

Tensor adaptive_avgpool(const Tensor& x, const Shape& size) {
  const Pool p = adaptive_of("adaptive_avgpool", x, size);
  if (p.out != Sizes{1, 1, 1}) return averaged(p, x);
  // A reduction fills the device also where there are few planes.
  Shape axes;
  for (int d = 2; d < x.rank(); ++d) axes.push_back(d);
  return mean(x, axes, true);
}

Tensor local_response_norm(const Tensor& x, int64_t size, float alpha, float beta, float k) {
  require_dtype("local_response_norm", x, {DType::f32});
  if (x.rank() < 2 || x.numel() == 0)
    throw Error("local_response_norm",
                cat("x of shape ", x.shape(), " is not [n, channels, ...] with elements"));
  if (size < 1 || size > 0x7fffffff)
    throw Error("local_response_norm", cat("a window of ", size, " channels"), "give at least 1");
  // Over channels, with as many outputs as channels: an even window has its longer side before the channel.
  const int64_t n = x.dim(0), channels = x.dim(1), inner = x.numel() / n / channels;
  Pool p{.in = {1, static_cast<int32_t>(channels), static_cast<int32_t>(inner)}};
  p.out = p.in;
  p.kernel[1] = p.divisor = static_cast<int32_t>(size);
  p.padding[1] = static_cast<int32_t>(size / 2);
  const Tensor squares = averaged(p, reshape(square(x), {n, 1, channels, inner}));
  return x / pow(reshape(squares, x.shape()) * alpha + k, beta);
}

}  // namespace stithy

// Batch and group normalisation: one family of kernels. shaders/batchnorm.comp states the formulas.
#include <algorithm>
#include <bit>

#include "engine/ops.h"
#include "engine/ops/elements.h"
#include "engine/ops/rows.h"
#include "engine/ops_vision.h"
#include "shaders/batchnorm.h"
#include "shaders/batchnorm_update.h"
#include "shaders/sum_slices.h"

namespace stithy {
namespace {

struct PlaneNorm {
  float epsilon = 1e-5f;
  int64_t groups =
      0;  // 0: a mean for each channel; otherwise one for each group of each element of the batch
};

uint32_t u32(int64_t value) { return static_cast<uint32_t>(value); }
uint32_t offset_of(const Tensor& x) { return u32(x.offset()); }

struct Sizes {
  int64_t batch = 1, channels = 1, inner = 1;
  int64_t means = 1, planes_a_mean = 1;  // the latter in memory, side by side
  int64_t count = 1;                     // elements that share a mean
  int64_t planes() const { return batch * channels; }
};
Sizes sizes_of(const Shape& shape, int64_t groups) {
  Sizes s{.batch = shape[0], .channels = shape[1]};
  for (int d = 2; d < shape.rank(); ++d) s.inner *= shape[d];
  s.means = groups ? s.batch * groups : s.channels;
  s.planes_a_mean = groups ? s.channels / groups : 1;
  s.count = s.means ? s.planes() * s.inner / s.means : 0;
  return s;
}

// Rows of `count` elements, in slices where there are too few rows to fill the device.
struct Slices {
  uint32_t slice = 1, slices = 1;
};
Slices slices_of(const Launch& launch, int64_t rows, int64_t count) {
  const bool cpu = launch.device().is_cpu();
  const int64_t wanted = cpu ? 16 : 512, smallest = cpu ? 16384 : 2048;
  const int64_t most =
      std::clamp<int64_t>(wanted / std::max<int64_t>(rows, 1), 1, std::max<int64_t>(1, count / smallest));
  const int64_t slice = ((count + most - 1) / most + 3) / 4 * 4;
  return {u32(slice), u32((count + slice - 1) / slice)};
}

template <class Kernel>
void launch_planes(Launch& launch, Kernel kernel, const Sizes& s, bool vector, int64_t coefficients) {
  const vk::DeviceInfo& device = launch.device();
  const uint32_t lanes =
      device.is_cpu() ? device.subgroup_size : std::min(256u, device.max_workgroup_invocations);
  const auto along = static_cast<uint64_t>(vector ? s.inner / 4 : s.inner);
  kernel.spec.local_size_x = std::bit_floor(lanes);
  kernel.spec.SPAN = static_cast<uint32_t>(
      std::min<uint64_t>(std::bit_ceil(along), std::min(kernel.spec.local_size_x, 64u)));
  kernel.spec.INNER = u32(s.inner);
  kernel.spec.VECTOR = vector;
  // A workgroup costs a CPU driver much more than a turn of a loop, but all its cores want some.
  constexpr int64_t kLongest = 8192;
  const int64_t parts = (s.inner + kLongest - 1) / kLongest;
  const int64_t part_size = ((s.inner + parts - 1) / parts + 3) / 4 * 4, units = s.planes() * parts;
  const int64_t at_once = kernel.spec.local_size_x / kernel.spec.SPAN, total = s.planes() * s.inner;
  const int64_t elements = device.is_cpu() ? std::clamp<int64_t>(total / 64, 1024, 65536)
                                           : std::clamp<int64_t>(total / 2048, 1024, 8192);
  const int64_t rounds = std::max<int64_t>(1, elements / (part_size * at_once));
  kernel.push.planes = u32(s.planes());
  kernel.push.coefficients = u32(coefficients);
  kernel.push.parts = u32(parts);
  kernel.push.part_size = u32(part_size);
  kernel.push.rounds = u32(rounds);
  launch(kernel, launch.grid(static_cast<uint64_t>((units + at_once * rounds - 1) / (at_once * rounds))));
}

Groups groups_of(const Launch& launch, int64_t invocations) {
  return launch.grid(static_cast<uint64_t>(invocations + 63) / 64);
}

// Inputs: x, w, b. Outputs: y, mean, var.
void launch_planenorm(const Node& n, Launch& launch) {
  const PlaneNorm& o = n.attrs<PlaneNorm>();
  const Sizes s = sizes_of(n.out().shape, o.groups);
  if (s.planes() == 0) return;
  const bool vector = s.inner % 4 == 0 && n.in(0).offset() % 4 == 0;
  const Slices slices = slices_of(launch, s.means, s.count);
  const int64_t coefficients = s.means * s.planes_a_mean;
  const Ref c = launch.scratch(static_cast<uint64_t>(coefficients) * 16);
  const Ref partial = launch.scratch(slices.slices > 1 ? uint64_t{slices.slices} * u32(s.means) * 8 : 16);
  shaders::batchnorm_stats stats{.w = launch.in(1),
                                 .b = launch.in(2),
                                 .mean = launch.out(1),
                                 .var = launch.out(2),
                                 .c = c,
                                 .x = launch.in(0),
                                 .partial = partial};
  stats.spec.INNER = u32(o.groups ? s.count : s.inner);
  stats.spec.VECTOR = vector;
  stats.push = {.rows = u32(s.means),
                .count = u32(s.count),
                .slice = slices.slice,
                .slices = slices.slices,
                .planes_a_row = u32(s.planes_a_mean),
                .channels = u32(s.channels),
                .x_offset = offset_of(n.in(0)),
                .w_offset = offset_of(n.in(1)),
                .b_offset = offset_of(n.in(2)),
                .epsilon = o.epsilon};
  launch_rows(launch, stats, uint64_t{stats.push.rows} * slices.slices, slices.slice);
  if (slices.slices > 1) {
    shaders::batchnorm_finish finish{.w = stats.w,
                                     .b = stats.b,
                                     .mean = stats.mean,
                                     .var = stats.var,
                                     .c = c,
                                     .partial = partial,
                                     .push = std::bit_cast<shaders::batchnorm_finish::Push>(stats.push)};
    launch(finish, groups_of(launch, s.means));
  }
  shaders::batchnorm_apply apply{.x = launch.in(0), .c = c, .y = launch.out(0)};
  apply.push.x_offset = offset_of(n.in(0));
  launch_planes(launch, apply, s, vector, coefficients);
}

// Inputs: x, w, dy, mean, var. Outputs: dx, dw, db.
void launch_planenorm_backward(const Node& n, Launch& launch) {
  const PlaneNorm& o = n.attrs<PlaneNorm>();
  const Sizes s = sizes_of(n.out().shape, o.groups);
  if (s.planes() == 0) return;
  const bool vector = s.inner % 4 == 0 && n.in(0).offset() % 4 == 0 && n.in(2).offset() % 4 == 0;
  // For groups, the sums of each plane: dw and db need those of every channel.
  const int64_t rows = s.means * s.planes_a_mean, count = s.planes() * s.inner / rows;
  const Slices slices = slices_of(launch, rows, count);
  const Ref c = launch.scratch(static_cast<uint64_t>(rows) * 16);
  const bool finishes = slices.slices > 1 || s.planes_a_mean > 1, batch_wise = o.groups && s.batch > 1;
  const Ref partial = launch.scratch(finishes ? static_cast<uint64_t>(slices.slices * rows) * 8 : 16);
  shaders::batchnorm_sums sums{
      .w = launch.in(1),
      .mean = launch.in(3),
      .var = launch.in(4),
      .dw = batch_wise ? launch.scratch(static_cast<uint64_t>(rows) * 4) : launch.out(1),
      .db = batch_wise ? launch.scratch(static_cast<uint64_t>(rows) * 4) : launch.out(2),
      .c = c,
      .x = launch.in(0),
      .dy = launch.in(2),
      .partial = partial};
  sums.spec.INNER = u32(s.inner);
  sums.spec.VECTOR = vector;
  sums.push = {.rows = u32(rows),
               .count = u32(count),
               .slice = slices.slice,
               .slices = slices.slices,
               .planes_a_mean = u32(s.planes_a_mean),
               .channels = u32(s.channels),
               .x_offset = offset_of(n.in(0)),
               .dy_offset = offset_of(n.in(2)),
               .w_offset = offset_of(n.in(1)),
               .epsilon = o.epsilon,
               .per_element = static_cast<float>(1.0 / static_cast<double>(s.count))};
  launch_rows(launch, sums, static_cast<uint64_t>(rows) * slices.slices, slices.slice);
  if (finishes) {
    shaders::batchnorm_backward_finish finish{
        .w = sums.w,
        .mean = sums.mean,
        .var = sums.var,
        .dw = sums.dw,
        .db = sums.db,
        .c = c,
        .partial = partial,
        .push = std::bit_cast<shaders::batchnorm_backward_finish::Push>(sums.push)};
    launch(finish, groups_of(launch, s.means));
  }
  for (int i = 1; batch_wise && i < 3; ++i)
    launch(
        shaders::sum_slices{
            .x = i == 1 ? sums.dw : sums.db,
            .y = launch.out(i),
            .push = {.count = u32(s.channels), .slices = u32(s.batch), .stride = u32(s.channels)}},
        groups_of(launch, s.channels));
  shaders::batchnorm_dx dx{.x = launch.in(0), .dy = launch.in(2), .c = c, .dx = launch.out(0)};
  dx.push.x_offset = offset_of(n.in(0));
  dx.push.dy_offset = offset_of(n.in(2));
  launch_planes(launch, dx, s, vector, rows);
}

// x as [batch, groups, channels of a group, inner]; what is one to a mean, and one to a channel, beside it.
struct Views {
  Shape shape, axes, of_mean, of_channel;
  Views(const Shape& x, int64_t groups) {
    const Sizes s = sizes_of(x, groups);
    const int64_t g = groups ? groups : s.channels;
    shape = {s.batch, g, s.channels / g, s.inner};
    axes = groups ? Shape{2, 3} : Shape{0, 2, 3};
    of_mean = {groups ? s.batch : 1, g, 1, 1};
    of_channel = {1, g, s.channels / g, 1};
  }
};

std::vector<Tensor> planenorm_composition(const Node& n) {
  const PlaneNorm& o = n.attrs<PlaneNorm>();
  const Views v(n.in(0).shape(), o.groups);
  const Tensor x = reshape(n.in(0), v.shape), centre = mean(x, v.axes, true);
  const Tensor variance = mean(square(x - centre), v.axes, true);
  const Tensor y = (x - centre) * rsqrt(variance + o.epsilon) * reshape(n.in(1), v.of_channel) +
                   reshape(n.in(2), v.of_channel);
  return {reshape(y, n.out().shape), reshape(centre, n.out(1).shape), reshape(variance, n.out(2).shape)};
}

std::vector<Tensor> planenorm_backward_composition(const Node& n) {
  const PlaneNorm& o = n.attrs<PlaneNorm>();
  const Views v(n.in(0).shape(), o.groups);
  const Tensor scale = rsqrt(reshape(n.in(4), v.of_mean) + o.epsilon), dy = reshape(n.in(2), v.shape);
  const Tensor xhat = (reshape(n.in(0), v.shape) - reshape(n.in(3), v.of_mean)) * scale;
  const Tensor d = dy * reshape(n.in(1), v.of_channel);
  const Tensor dx = scale * (d - mean(d, v.axes, true) - xhat * mean(d * xhat, v.axes, true));
  const Shape channels = n.out(1).shape;
  return {reshape(dx, n.out().shape), reshape(sum(dy * xhat, {0, 3}), channels),
          reshape(sum(dy, {0, 3}), channels)};
}

template <int PerElement>
double element_flops(const Node& n) {
  return PerElement * static_cast<double>(n.out().shape.numel());
}

const OpDef& kBatchnormBackward = define_op({.name = "batchnorm_backward",
                                             .launch = launch_planenorm_backward,
                                             .fuses_output = true,
                                             .flops = element_flops<9>,
                                             .composition = planenorm_backward_composition});
const OpDef& kGroupnormBackward = define_op({.name = "groupnorm_backward",
                                             .launch = launch_planenorm_backward,
                                             .fuses_output = true,
                                             .flops = element_flops<9>,
                                             .composition = planenorm_backward_composition});

std::vector<Tensor> planenorm_gradient(const Backward& b) {
  const PlaneNorm& o = b.attrs<PlaneNorm>();
  const Tensor x = b.x(0), w = b.x(1);
  std::vector<Tensor> dxs(3);
  if (b.dy(0).defined()) {
    const Tensor dx =
        make_node(o.groups ? kGroupnormBackward : kBatchnormBackward, o,
                  {x, w, contiguous(b.dy(0)), b.y(1), b.y(2)}, {{x.shape()}, {w.shape()}, {w.shape()}});
    for (int i = 0; i < 3; ++i)
      if (b.needs(i)) dxs[static_cast<size_t>(i)] = dx.node()->tensor(i);
  }
  // Of the mean and the variance, where a graph uses them: 1 / m and 2 (x - mean) / m.
  const Views v(x.shape(), o.groups);
  const float per_element = 1.0f / static_cast<float>(sizes_of(x.shape(), o.groups).count);
  const auto add_dx = [&](const Tensor& d) {
    const Tensor shaped = reshape(expand(d, v.shape), x.shape());
    dxs[0] = dxs[0].defined() ? dxs[0] + shaped : shaped;
  };
  if (b.needs(0) && b.dy(1).defined()) add_dx(reshape(b.dy(1) * per_element, v.of_mean));
  if (b.needs(0) && b.dy(2).defined())
    add_dx((reshape(x, v.shape) - reshape(b.y(1), v.of_mean)) *
           reshape(b.dy(2) * (2 * per_element), v.of_mean));
  return dxs;
}

const OpDef& kBatchnorm = define_op({.name = "batchnorm",
                                     .launch = launch_planenorm,
                                     .fuses_output = true,
                                     .gradient = planenorm_gradient,
                                     .flops = element_flops<7>,
                                     .composition = planenorm_composition});
const OpDef& kGroupnorm = define_op({.name = "groupnorm",
                                     .launch = launch_planenorm,
                                     .fuses_output = true,
                                     .gradient = planenorm_gradient,
                                     .flops = element_flops<7>,
                                     .composition = planenorm_composition});

Tensor planenorm(const OpDef& op, const Tensor& x, const Tensor& weight, const Tensor& bias,
                 const PlaneNorm& o) {
  require_dtype(op.name, x, {DType::f32});
  if (x.rank() < 2 || x.numel() == 0)
    throw Error(std::string(op.name),
                cat("x of shape ", x.shape(), " is not [n, channels, ...] with elements"));
  const Shape channels{x.dim(1)};
  const auto checked = [&](const Tensor& parameter, std::string_view what, float otherwise) {
    if (!parameter.defined()) {
      Array values(channels, DType::f32);
      std::ranges::fill(values.values<float>(), otherwise);
      return Tensor(values);
    }
    require_dtype(op.name, parameter, {DType::f32});
    if (parameter.shape() != channels)
      throw Error(std::string(op.name),
                  cat(what, " of shape ", parameter.shape(), " does not fit the channels of x ", x.shape()),
                  "channels are axis 1");
    return contiguous(parameter);
  };
  const Tensor w = checked(weight, "weight", 1), b = checked(bias, "bias", 0);
  const Shape means = o.groups ? Shape{x.dim(0), o.groups} : channels;
  return make_node(op, o, {contiguous(x), w, b}, {{x.shape()}, {means}, {means}});
}

// Inputs: running mean, running variance and count of batches, which it updates, then mean and var.
struct Running {
  float rate, unbiased;
};
const OpDef& kBatchnormUpdate =
    define_op({.name = "batchnorm_update",
               .dtypes = "f32 i32",
               .launch =
                   [](const Node& n, Launch& launch) {
                     const Running& o = n.attrs<Running>();
                     const uint32_t channels = u32(n.in(0).numel());
                     launch(shaders::batchnorm_update{.running_mean = launch.in(0),
                                                      .running_var = launch.in(1),
                                                      .batches = launch.in(2),
                                                      .mean = launch.in(3),
                                                      .var = launch.in(4),
                                                      .push = {.channels = channels,
                                                               .mean_offset = offset_of(n.in(3)),
                                                               .var_offset = offset_of(n.in(4)),
                                                               .rate = o.rate,
                                                               .unbiased = o.unbiased}},
                            Groups{});
                   },
               .flops = [](const Node& n) { return 7 * static_cast<double>(n.in(0).numel()); }});

}  // namespace

BatchNormOutputs batchnorm(const Tensor& x, const Tensor& weight, const Tensor& bias, float epsilon) {
  const Tensor y = planenorm(kBatchnorm, x, weight, bias, {epsilon, 0});
  return {y, y.node()->tensor(1), y.node()->tensor(2)};
}

Tensor groupnorm(const Tensor& x, int64_t groups, const Tensor& weight, const Tensor& bias, float epsilon) {
  require_dtype("groupnorm", x, {DType::f32});
  if (groups < 1 || (x.rank() > 1 && x.dim(1) % groups != 0))
    throw Error("groupnorm", cat(groups, " groups do not divide the channels of ", x.shape()),
                "channels are axis 1");
  return planenorm(kGroupnorm, x, weight, bias, {epsilon, groups});
}

Tensor batchnorm_update(const Variable& running_mean, const Variable& running_var, const Variable& batches,
                        const BatchNormOutputs& statistics, int64_t count, std::optional<float> momentum) {
  for (const Tensor& x : {running_mean.tensor(), running_var.tensor(), statistics.mean, statistics.var}) {
    require_dtype("batchnorm_update", x, {DType::f32});
    if (x.shape() != running_mean.shape())
      throw Error("batchnorm_update",
                  cat("statistics of shapes ", x.shape(), " and ", running_mean.shape(), " differ"));
  }
  require_dtype("batchnorm_update", batches, {DType::i32});
  if (batches.shape().numel() != 1)
    throw Error("batchnorm_update", cat("the count of batches has the shape ", batches.shape()),
                "make it a scalar");
  if (count < 2)
    throw Error("batchnorm_update", cat("a variance of ", count, " value a channel"),
                "in training, give more than one value for each channel");
  const auto m = static_cast<double>(count);
  return make_update(
      kBatchnormUpdate, Running{momentum.value_or(-1.0f), static_cast<float>(m / (m - 1))},
      {running_mean, running_var, batches, contiguous(statistics.mean), contiguous(statistics.var)}, 3);
}

}  // namespace stithy

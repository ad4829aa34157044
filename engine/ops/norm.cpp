// Softmax and normalisation over the last axis. The shaders state the formulas.
#include <algorithm>

#include "engine/ops.h"
#include "engine/ops/elements.h"
#include "engine/ops/rows.h"
#include "shaders/layernorm.h"
#include "shaders/softmax.h"
#include "shaders/sum_slices.h"

namespace stithy {
namespace {

uint32_t offset_of(const Tensor& x) { return static_cast<uint32_t>(x.offset()); }

template <int PerElement>
double row_flops(const Node& n) {
  return PerElement * static_cast<double>(n.out().shape.numel());
}

// ---- softmax and log_softmax

template <bool Log>
void launch_softmax(const Node& n, Launch& launch) {
  const Rows size = rows_of(n.out().shape);
  shaders::softmax kernel{.x = launch.in(0), .y = launch.out()};
  kernel.spec.LOG = Log;
  kernel.push = {.rows = size.rows, .columns = size.columns, .x_offset = offset_of(n.in(0))};
  launch_rows(launch, kernel, size.rows, size.columns);
}

// Inputs: y, dy.
template <bool Log>
void launch_softmax_backward(const Node& n, Launch& launch) {
  const Rows size = rows_of(n.out().shape);
  shaders::softmax_backward kernel{.y = launch.in(0), .dy = launch.in(1), .dx = launch.out()};
  kernel.spec.LOG = Log;
  kernel.push = {.rows = size.rows,
                 .columns = size.columns,
                 .y_offset = offset_of(n.in(0)),
                 .dy_offset = offset_of(n.in(1))};
  launch_rows(launch, kernel, size.rows, size.columns);
}

const OpDef& kSoftmaxBackward = define_op({.name = "softmax_backward",
                                           .launch = launch_softmax_backward<false>,
                                           .fuses_output = true,
                                           .flops = row_flops<4>,
                                           .composition = [](const Node& n) -> std::vector<Tensor> {
                                             const Tensor y = n.in(0), dy = n.in(1);
                                             return {y * (dy - sum(y * dy, {-1}, true))};
                                           }});
const OpDef& kLogSoftmaxBackward = define_op({.name = "log_softmax_backward",
                                              .launch = launch_softmax_backward<true>,
                                              .fuses_output = true,
                                              .flops = row_flops<4>,
                                              .composition = [](const Node& n) -> std::vector<Tensor> {
                                                const Tensor y = n.in(0), dy = n.in(1);
                                                return {dy - exp(y) * sum(dy, {-1}, true)};
                                              }});

const OpDef& kSoftmax =
    define_op({.name = "softmax",
               .launch = launch_softmax<false>,
               .fuses_input = true,
               .fuses_output = true,
               .gradient = [](const Backward& b) -> std::vector<Tensor> {
                 return {make_node(kSoftmaxBackward, {}, {b.y(), contiguous(b.dy())}, {{b.x().shape()}})};
               },
               .flops = row_flops<5>,
               .composition = [](const Node& n) -> std::vector<Tensor> {
                 const Tensor e = exp(n.in(0) - stop_gradient(max(n.in(0), {-1}, true)));
                 return {e / sum(e, {-1}, true)};
               }});
const OpDef& kLogSoftmax =
    define_op({.name = "log_softmax",
               .launch = launch_softmax<true>,
               .fuses_input = true,
               .fuses_output = true,
               .gradient = [](const Backward& b) -> std::vector<Tensor> {
                 return {make_node(kLogSoftmaxBackward, {}, {b.y(), contiguous(b.dy())}, {{b.x().shape()}})};
               },
               .flops = row_flops<5>,
               .composition = [](const Node& n) -> std::vector<Tensor> {
                 const Tensor shifted = n.in(0) - stop_gradient(max(n.in(0), {-1}, true));
                 return {shifted - log(sum(exp(shifted), {-1}, true))};
               }});

Tensor softmax_over(const OpDef& op, const Tensor& x, int64_t axis) {
  require_dtype(op.name, x, {DType::f32});
  const int a = normalize_axis(op.name, axis, x.shape());
  if (a != x.rank() - 1) return transpose(softmax_over(op, transpose(x, a, -1), -1), a, -1);
  return make_node(op, {}, {contiguous(x)}, {{x.shape()}});
}

// ---- layernorm and rmsnorm: one family of kernels, CENTERED for layernorm

struct Norm {
  float epsilon = 1e-5f;
  bool centered = true;
};

// Inputs: x, w, and b where centered. Outputs: y, rstd, and the mean where centered, by row.
void launch_layernorm(const Node& n, Launch& launch) {
  const Norm& o = n.attrs<Norm>();
  const Rows size = rows_of(n.out().shape);
  shaders::layernorm kernel{.x = launch.in(0),
                            .w = launch.in(1),
                            .b = launch.in(o.centered ? 2 : 1),
                            .y = launch.out(0),
                            .rstd = launch.out(1),
                            .mean = launch.out(o.centered ? 2 : 1)};
  kernel.spec.CENTERED = o.centered;
  kernel.push = {.rows = size.rows,
                 .columns = size.columns,
                 .x_offset = offset_of(n.in(0)),
                 .w_offset = offset_of(n.in(1)),
                 .b_offset = o.centered ? offset_of(n.in(2)) : 0,
                 .epsilon = o.epsilon};
  launch_rows(launch, kernel, size.rows, size.columns);
}

// Inputs: x, w, dy, rstd, and the mean where centered.
void launch_layernorm_backward(const Node& n, Launch& launch) {
  const bool centered = n.attrs<Norm>().centered;
  const Rows size = rows_of(n.out().shape);
  shaders::layernorm_backward kernel{.x = launch.in(0),
                                     .w = launch.in(1),
                                     .rstd = launch.in(3),
                                     .mean = launch.in(centered ? 4 : 3),
                                     .dy = launch.in(2),
                                     .dx = launch.out()};
  kernel.spec.CENTERED = centered;
  kernel.push = {.rows = size.rows,
                 .columns = size.columns,
                 .x_offset = offset_of(n.in(0)),
                 .w_offset = offset_of(n.in(1)),
                 .dy_offset = offset_of(n.in(2))};
  launch_rows(launch, kernel, size.rows, size.columns);
}

// Inputs: x, dy, rstd, and the mean where centered. Outputs: dw, and db where centered.
void launch_layernorm_weights(const Node& n, Launch& launch) {
  const bool centered = n.attrs<Norm>().centered;
  const Rows size = rows_of(n.in(0).shape());
  // About as many invocations as a large device keeps busy, each with 32 rows or more.
  const uint32_t wanted = std::max(1u, (launch.device().is_cpu() ? 256 : 16384) / size.columns);
  const uint32_t slice_rows = std::max(32u, (size.rows + wanted - 1) / wanted);
  const uint32_t slices = std::max(1u, (size.rows + slice_rows - 1) / slice_rows);
  const uint64_t bytes = uint64_t{slices} * size.columns * 4;
  shaders::layernorm_weights kernel{.x = launch.in(0),
                                    .rstd = launch.in(2),
                                    .mean = launch.in(centered ? 3 : 2),
                                    .dy = launch.in(1),
                                    .dw = slices > 1 ? launch.scratch(bytes) : launch.out(0),
                                    .db = Ref{}};
  kernel.db = !centered ? kernel.dw : slices > 1 ? launch.scratch(bytes) : launch.out(1);
  kernel.spec.CENTERED = centered;
  kernel.push = {.rows = size.rows,
                 .columns = size.columns,
                 .x_offset = offset_of(n.in(0)),
                 .dy_offset = offset_of(n.in(1)),
                 .slice_rows = slice_rows,
                 .slices = slices};
  const auto groups = [](uint64_t count) { return (count + 63) / 64; };
  launch(kernel, launch.grid(groups(uint64_t{size.columns} * slices)));
  if (slices == 1) return;
  for (int i = 0; i < (centered ? 2 : 1); ++i)
    launch(shaders::sum_slices{.x = i == 0 ? kernel.dw : kernel.db,
                               .y = launch.out(i),
                               .push = {.count = size.columns, .slices = slices, .stride = size.columns}},
           launch.grid(groups(size.columns)));
}

// The parts of the formulas, from x, rstd and, where centered, the mean.
Tensor normalized(const Tensor& x, const Tensor& rstd, const Tensor& mean) {
  return (mean.defined() ? x - unsqueeze(mean, -1) : x) * unsqueeze(rstd, -1);
}

std::vector<Tensor> layernorm_backward_composition(const Node& n) {
  const bool centered = n.attrs<Norm>().centered;
  const Tensor xhat = normalized(n.in(0), n.in(3), centered ? n.in(4) : Tensor());
  const Tensor d = n.in(2) * n.in(1);
  Tensor rest = d - xhat * mean(d * xhat, {-1}, true);
  if (centered) rest = rest - mean(d, {-1}, true);
  return {rest * unsqueeze(n.in(3), -1)};
}
std::vector<Tensor> layernorm_weights_composition(const Node& n) {
  const bool centered = n.attrs<Norm>().centered;
  const Tensor xhat = normalized(n.in(0), n.in(2), centered ? n.in(3) : Tensor());
  const Shape columns{n.in(0).dim(-1)};
  std::vector<Tensor> ys{sum_to(n.in(1) * xhat, columns)};
  if (centered) ys.push_back(sum_to(n.in(1), columns));
  return ys;
}
std::vector<Tensor> layernorm_composition(const Node& n) {
  const Norm& o = n.attrs<Norm>();
  const Tensor x = n.in(0), centre = o.centered ? mean(x, {-1}, true) : Tensor();
  const Tensor d = o.centered ? x - centre : x;
  const Tensor scale = rsqrt(mean(square(d), {-1}, true) + o.epsilon);
  Tensor y = d * scale * n.in(1);
  if (o.centered) y = y + n.in(2);
  std::vector<Tensor> ys{y, squeeze(scale, -1)};
  if (o.centered) ys.push_back(squeeze(centre, -1));
  return ys;
}

const OpDef& kLayernormBackward = define_op({.name = "layernorm_backward",
                                             .launch = launch_layernorm_backward,
                                             .fuses_output = true,
                                             .flops = row_flops<10>,
                                             .composition = layernorm_backward_composition});
const OpDef& kLayernormWeights =
    define_op({.name = "layernorm_weights",
               .launch = launch_layernorm_weights,
               .flops = [](const Node& n) { return 5.0 * static_cast<double>(n.in(0).numel()); },
               .composition = layernorm_weights_composition});

std::vector<Tensor> layernorm_gradient(const Backward& b) {
  const Norm& o = b.attrs<Norm>();
  const Tensor x = b.x(0), w = b.x(1), rstd = b.y(1), mean = o.centered ? b.y(2) : Tensor();
  std::vector<Tensor> dxs(b.node.inputs.size());
  const auto with_mean = [&](std::vector<Tensor> inputs) {
    if (o.centered) inputs.push_back(mean);
    return inputs;
  };
  const auto add_dx = [&](const Tensor& d) { dxs[0] = dxs[0].defined() ? dxs[0] + d : d; };
  if (b.dy(0).defined()) {
    const Tensor dy = contiguous(b.dy(0));
    if (b.needs(0)) dxs[0] = make_node(kLayernormBackward, o, with_mean({x, w, dy, rstd}), {{x.shape()}});
    const bool bias = o.centered && b.needs(2);
    if (b.needs(1) || bias) {
      std::vector<Output> outputs{{w.shape()}};
      if (o.centered) outputs.push_back({w.shape()});
      const Tensor dw = make_node(kLayernormWeights, o, with_mean({x, dy, rstd}), outputs);
      if (b.needs(1)) dxs[1] = dw;
      if (bias) dxs[2] = dw.node()->tensor(1);
    }
  }
  // Of rstd and of the mean, where a graph uses them: d rstd / dx = -rstd^2 xhat / n, d mean / dx = 1 / n.
  const float per_element = 1.0f / static_cast<float>(x.dim(-1));
  if (b.needs(0) && b.dy(1).defined())
    add_dx(normalized(x, rstd, mean) * unsqueeze(b.dy(1) * square(rstd) * -per_element, -1));
  if (b.needs(0) && o.centered && b.dy(2).defined())
    add_dx(expand(unsqueeze(b.dy(2) * per_element, -1), x.shape()));
  return dxs;
}

const OpDef& kLayernorm = define_op({.name = "layernorm",
                                     .launch = launch_layernorm,
                                     .fuses_input = true,
                                     .fuses_output = true,
                                     .gradient = layernorm_gradient,
                                     .flops = row_flops<8>,
                                     .composition = layernorm_composition});
const OpDef& kRmsnorm = define_op({.name = "rmsnorm",
                                   .launch = launch_layernorm,
                                   .fuses_input = true,
                                   .fuses_output = true,
                                   .gradient = layernorm_gradient,
                                   .flops = row_flops<6>,
                                   .composition = layernorm_composition});

void check_norm(const OpDef& op, const Tensor& x, std::string_view what, const Tensor& parameter) {
  require_dtype(op.name, parameter, {DType::f32});
  if (x.rank() == 0 || x.dim(-1) == 0 || parameter.shape() != Shape{x.dim(-1)})
    throw Error(std::string(op.name),
                cat(what, " of shape ", parameter.shape(), " does not fit the last axis of x ", x.shape()));
}

}  // namespace

Tensor softmax(const Tensor& x, int64_t axis) { return softmax_over(kSoftmax, x, axis); }
Tensor log_softmax(const Tensor& x, int64_t axis) { return softmax_over(kLogSoftmax, x, axis); }

Tensor layernorm(const Tensor& x, const Tensor& weight, const Tensor& bias, float epsilon) {
  require_dtype("layernorm", x, {DType::f32});
  check_norm(kLayernorm, x, "weight", weight);
  check_norm(kLayernorm, x, "bias", bias);
  Shape rows = x.shape();
  rows.erase(rows.rank() - 1);
  return make_node(kLayernorm, Norm{epsilon, true}, {contiguous(x), contiguous(weight), contiguous(bias)},
                   {{x.shape()}, {rows}, {rows}});
}

Tensor rmsnorm(const Tensor& x, const Tensor& weight, float epsilon) {
  require_dtype("rmsnorm", x, {DType::f32});
  check_norm(kRmsnorm, x, "weight", weight);
  Shape rows = x.shape();
  rows.erase(rows.rank() - 1);
  return make_node(kRmsnorm, Norm{epsilon, false}, {contiguous(x), contiguous(weight)},
                   {{x.shape()}, {rows}});
}

}  // namespace stithy

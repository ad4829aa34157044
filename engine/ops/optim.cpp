// In-place updates of variables: assign, and the optimizers' rules.
#include <algorithm>
#include <cmath>

#include "engine/graph/op.h"
#include "engine/ops.h"
#include "engine/ops/elements.h"
#include "engine/ops_optim.h"
#include "shaders/accumulate.h"
#include "shaders/assign_slice.h"
#include "shaders/copy.h"
#include "shaders/optim.h"

namespace stithy {
namespace {

// Inputs of an update: the parameter and its states, which it changes, then dw, lr, step, grad_scale.
template <class Options>
struct Update {
  Options options;
  int states = 0;
};

float f32(double value) { return static_cast<float>(value); }
// Small enough to be 0 when raised to any power, but finite.
float log_of(double beta) { return f32(std::max(std::log(beta), -1e3)); }

// Fills in what all rules share, and launches.
template <class Options, class Kernel>
void launch_update(const Node& n, Launch& launch, Kernel kernel) {
  const Update<Options>& update = n.attrs<Update<Options>>();
  const int first = 1 + update.states;
  kernel.w = launch.in(0);
  kernel.dw = launch.in(first);
  kernel.lr = launch.in(first + 1);
  kernel.step_count = launch.in(first + 2);
  kernel.grad_scale = launch.in(first + 3);
  kernel.spec.STEP_I32 = n.in(first + 2).dtype() == DType::i32;
  const int64_t count = n.out().shape.numel();
  kernel.push.count = static_cast<uint32_t>(count);
  kernel.push.dw_offset = static_cast<uint32_t>(n.in(first).offset());
  kernel.push.lr_offset = static_cast<uint32_t>(n.in(first + 1).offset());
  kernel.push.step_offset = static_cast<uint32_t>(n.in(first + 2).offset());
  kernel.push.scale_offset = static_cast<uint32_t>(n.in(first + 3).offset());
  kernel.push.l1 = f32(update.options.penalties.l1);
  kernel.push.l2 = f32(update.options.penalties.l2);
  kernel.push.decay = f32(update.options.penalties.decay);
  kernel.spec.VECTOR = n.in(first).offset() % 4 == 0;
  // A workgroup costs a CPU driver much more than a turn of a loop, but all its cores want some.
  const uint64_t vectors = (static_cast<uint64_t>(count) + 3) / 4;
  kernel.spec.local_size_x = 64;
  kernel.spec.ROUNDS =
      launch.device().is_cpu() ? static_cast<uint32_t>(std::clamp<uint64_t>(vectors / (64 * 64), 1, 64)) : 1;
  const uint64_t per_group = uint64_t{64} * kernel.spec.ROUNDS;
  launch(kernel, launch.grid((vectors + per_group - 1) / per_group));
}

template <class Options>
const Options& options_of(const Node& n) {
  return n.attrs<Update<Options>>().options;
}

void launch_sgd(const Node& n, Launch& launch) {
  const SgdOptions& o = options_of<SgdOptions>(n);
  const bool momentum = o.momentum != 0;
  shaders::sgd_update kernel{.m = launch.in(momentum ? 1 : 0)};
  kernel.spec.MOMENTUM = momentum;
  kernel.spec.NESTEROV = o.nesterov;
  kernel.spec.DAMPENING = o.dampening != 0;
  kernel.push.momentum = f32(o.momentum);
  kernel.push.undamped = f32(1 - o.dampening);
  launch_update<SgdOptions>(n, launch, kernel);
}

void launch_adam(const Node& n, Launch& launch) {
  const AdamOptions& o = options_of<AdamOptions>(n);
  const bool amsgrad = n.attrs<Update<AdamOptions>>().states == 3;
  shaders::adam_update kernel{.m = launch.in(1), .v = launch.in(2), .largest_v = launch.in(amsgrad ? 3 : 0)};
  kernel.spec.AMSGRAD = amsgrad;
  kernel.push.beta1 = f32(o.beta1);
  kernel.push.rest1 = f32(1 - o.beta1);
  kernel.push.log_beta1 = log_of(o.beta1);
  kernel.push.beta2 = f32(o.beta2);
  kernel.push.rest2 = f32(1 - o.beta2);
  kernel.push.log_beta2 = log_of(o.beta2);
  kernel.push.epsilon = f32(o.epsilon);
  launch_update<AdamOptions>(n, launch, kernel);
}

void launch_nadam(const Node& n, Launch& launch) {
  const NadamOptions& o = options_of<NadamOptions>(n);
  shaders::nadam_update kernel{.m = launch.in(1), .v = launch.in(2), .mu_product = launch.in(7)};
  kernel.push.beta1 = f32(o.beta1);
  kernel.push.rest1 = f32(1 - o.beta1);
  kernel.push.beta2 = f32(o.beta2);
  kernel.push.rest2 = f32(1 - o.beta2);
  kernel.push.log_beta2 = log_of(o.beta2);
  kernel.push.epsilon = f32(o.epsilon);
  kernel.push.momentum_decay = f32(o.momentum_decay);
  kernel.push.mu_offset = static_cast<uint32_t>(n.in(7).offset());
  launch_update<NadamOptions>(n, launch, kernel);
}

void launch_rmsprop(const Node& n, Launch& launch) {
  const RmspropOptions& o = options_of<RmspropOptions>(n);
  const bool momentum = o.momentum != 0;
  shaders::rmsprop_update kernel{.mean_square = launch.in(1),
                                 .m = launch.in(momentum ? 2 : 0),
                                 .mean = launch.in(o.centered ? 2 + momentum : 0)};
  kernel.spec.MOMENTUM = momentum;
  kernel.spec.CENTERED = o.centered;
  kernel.push.alpha = f32(o.alpha);
  kernel.push.rest = f32(1 - o.alpha);
  kernel.push.epsilon = f32(o.epsilon);
  kernel.push.momentum = f32(o.momentum);
  launch_update<RmspropOptions>(n, launch, kernel);
}

void launch_adagrad(const Node& n, Launch& launch) {
  const AdagradOptions& o = options_of<AdagradOptions>(n);
  shaders::adagrad_update kernel{.sum = launch.in(1)};
  kernel.push.lr_decay = f32(o.lr_decay);
  kernel.push.epsilon = f32(o.epsilon);
  launch_update<AdagradOptions>(n, launch, kernel);
}

void launch_lion(const Node& n, Launch& launch) {
  const LionOptions& o = options_of<LionOptions>(n);
  shaders::lion_update kernel{.m = launch.in(1)};
  kernel.push.beta1 = f32(o.beta1);
  kernel.push.rest1 = f32(1 - o.beta1);
  kernel.push.beta2 = f32(o.beta2);
  kernel.push.rest2 = f32(1 - o.beta2);
  launch_update<LionOptions>(n, launch, kernel);
}

// About the arithmetic of one element.
template <int PerElement>
double update_flops(const Node& n) {
  return PerElement * static_cast<double>(n.out().shape.numel());
}

const OpDef& kSgd = define_op({.name = "sgd_update", .launch = launch_sgd, .flops = update_flops<8>});
const OpDef& kAdam = define_op({.name = "adam_update", .launch = launch_adam, .flops = update_flops<18>});
const OpDef& kNadam = define_op({.name = "nadam_update", .launch = launch_nadam, .flops = update_flops<22>});
const OpDef& kRmsprop =
    define_op({.name = "rmsprop_update", .launch = launch_rmsprop, .flops = update_flops<14>});
const OpDef& kAdagrad =
    define_op({.name = "adagrad_update", .launch = launch_adagrad, .flops = update_flops<10>});
const OpDef& kLion = define_op({.name = "lion_update", .launch = launch_lion, .flops = update_flops<12>});

// Inputs: the variable, the value.
void launch_assign(const Node& n, Launch& launch) {
  const Elements e = walk_elements(n.out().shape, {operand(n.in(1))});
  const auto dtype = static_cast<uint32_t>(n.out().dtype);
  launch_elements(
      launch,
      shaders::copy{
          .x = launch.in(1),
          .y = launch.out(),
          .push = {.count = e.count, .x_offset = e[0].offset, .shape = e.shape, .x_strides = e[0].strides},
          .spec = {.DIMS = e.dims, .X_MODE = e[0].mode, .X_DTYPE = dtype, .Y_DTYPE = dtype}},
      e.count);
}
const OpDef& kAssign = define_op({.name = "assign",
                                  .dtypes = "f32 f16 bf16 i32 u8 bool",
                                  .launch = launch_assign,
                                  .flops = update_flops<0>});

// Inputs: the variable, what is added.
void launch_accumulate(const Node& n, Launch& launch) {
  const auto count = static_cast<uint32_t>(n.out().shape.numel());
  launch_elements(
      launch,
      shaders::accumulate{.x = launch.in(1),
                          .y = launch.out(),
                          .push = {.count = count, .x_offset = static_cast<uint32_t>(n.in(1).offset())}},
      count);
}
const OpDef& kAccumulate = define_op({.name = "accumulate", .launch = launch_accumulate});

// Inputs: the variable, the value, the place.
struct SliceAxis {
  int axis = 0;
};
const OpDef& kAssignSlice = define_op(
    {.name = "assign_slice",
     .dtypes = "f32 i32",
     .launch =
         [](const Node& n, Launch& launch) {
           const Shape &shape = n.out().shape, &value = n.in(1).shape();
           const int axis = n.attrs<SliceAxis>().axis;
           uint32_t inner = 1;
           for (int d = axis + 1; d < shape.rank(); ++d) inner *= static_cast<uint32_t>(shape[d]);
           shaders::assign_slice kernel{.x = launch.in(1), .place = launch.in(2), .y = launch.out()};
           kernel.push = {.elements = static_cast<uint32_t>(value.numel()),
                          .count = static_cast<uint32_t>(value[axis]),
                          .size = static_cast<uint32_t>(shape[axis]),
                          .inner = inner,
                          .x_offset = static_cast<uint32_t>(n.in(1).offset()),
                          .place_offset = static_cast<uint32_t>(n.in(2).offset())};
           launch(kernel, launch.grid((static_cast<uint64_t>(value.numel()) + 63) / 64));
         },
     .flops = [](const Node&) { return 0.0; },
     .bytes = [](const Node& n) { return 8 * static_cast<double>(n.in(1).numel()); }});

Tensor scalar_of(std::string_view op, std::string_view what, const Tensor& x, bool integer = false) {
  if (x.numel() != 1 || !(x.dtype() == DType::f32 || (integer && x.dtype() == DType::i32)))
    throw Error(std::string(op), cat(what, " is ", x.dtype(), " ", x.shape(),
                                     ", but must be one number of f32", integer ? " or i32" : ""));
  return x;
}

struct State {
  std::string_view name;
  const Variable& variable;
};

template <class Options>
Tensor make_rule(const OpDef& op, const Options& options, const Variable& w, const Tensor& dw,
                 std::initializer_list<State> states, const UpdateScalars& scalars, bool needs_step,
                 const Tensor& more = {}) {
  const std::string name(op.name);
  const auto check = [&](std::string_view what, const Tensor& x) {
    if (x.shape() != w.shape() || x.dtype() != DType::f32)
      throw Error(name, cat(what, " is ", x.dtype(), " ", x.shape(), ", but the parameter '", w.name(),
                            "' is f32 ", w.shape()));
  };
  if (!w.defined() || !dw.defined()) throw Error(name, "the parameter or its gradient is undefined");
  check("the parameter", w.tensor());
  check("dw", dw);
  std::vector<Tensor> inputs{w.tensor()};
  for (const State& state : states) {
    if (!state.variable.defined())
      throw Error(name, cat("the state '", state.name, "' of '", w.name(), "' is undefined"),
                  "these options need a variable of the parameter's shape, zero at first");
    check(state.name, state.variable.tensor());
    inputs.push_back(state.variable.tensor());
  }
  const int updated = static_cast<int>(inputs.size());
  inputs.push_back(contiguous(dw));
  if (!scalars.lr.defined()) throw Error(name, "the learning rate is undefined");
  inputs.push_back(scalar_of(name, "lr", scalars.lr));
  if (needs_step && !scalars.step.defined()) throw Error(name, "the step count is undefined");
  inputs.push_back(scalars.step.defined() ? scalar_of(name, "step", scalars.step, true) : scalars.lr);
  inputs.push_back(scalars.grad_scale.defined() ? scalar_of(name, "grad_scale", scalars.grad_scale)
                                                : Tensor(1.0f));
  if (more.defined()) inputs.push_back(more);
  return make_update(op, Update<Options>{options, updated - 1}, std::move(inputs), updated);
}

}  // namespace

Tensor assign(const Variable& variable, const Tensor& value) {
  if (value.shape() != variable.shape() || value.dtype() != variable.dtype())
    throw Error("assign",
                cat("a value of ", value.dtype(), " ", value.shape(), " does not fit the variable '",
                    variable.name(), "', ", variable.dtype(), " ", variable.shape()),
                "use expand() or cast()");
  // A transposed view of the variable itself would be overwritten while it is read.
  const bool own = value.node()->out(value.output()).storage_node == variable.tensor().node().get();
  return make_update(kAssign, {}, {variable.tensor(), own ? contiguous(value) : value});
}

Tensor assign_slice(const Variable& variable, const Tensor& value, int64_t axis, const Tensor& place) {
  const int a = normalize_axis("assign_slice", axis, variable.shape());
  bool fits = value.rank() == variable.shape().rank() && value.dtype() == variable.dtype() &&
              (value.dtype() == DType::f32 || value.dtype() == DType::i32);
  for (int d = 0; fits && d < value.rank(); ++d)
    fits = d == a ? value.dim(d) <= variable.shape()[d] : value.dim(d) == variable.shape()[d];
  if (!fits)
    throw Error("assign_slice",
                cat("a value of ", value.dtype(), " ", value.shape(), " is no part of the variable '",
                    variable.name(), "', ", variable.dtype(), " ", variable.shape(), ", along axis ", a),
                "it has the variable's shape but for that axis, where it is no larger, and is f32 or i32");
  if (place.numel() != 1 || place.dtype() != DType::i32)
    throw Error("assign_slice",
                cat("the place is ", place.dtype(), " ", place.shape(), ", but must be one number of i32"));
  const bool own = value.node()->out(value.output()).storage_node == variable.tensor().node().get();
  if (own && value.is_contiguous())
    throw Error("assign_slice", cat("a part of the variable '", variable.name(), "' cannot move within it"));
  return make_update(kAssignSlice, SliceAxis{a}, {variable.tensor(), contiguous(value), place});
}

Tensor accumulate(const Variable& variable, const Tensor& x) {
  if (x.shape() != variable.shape() || x.dtype() != DType::f32 || variable.dtype() != DType::f32)
    throw Error("accumulate", cat(x.dtype(), " ", x.shape(), " cannot be added to the variable '",
                                  variable.name(), "', ", variable.dtype(), " ", variable.shape()));
  if (!x.is_contiguous() || x.offset() % 4 != 0) return assign(variable, variable.tensor() + x);
  return make_update(kAccumulate, {}, {variable.tensor(), x});
}

Tensor sgd_update(const Variable& w, const Tensor& dw, const Variable& buffer, const UpdateScalars& scalars,
                  const SgdOptions& options) {
  if (options.momentum == 0) return make_rule(kSgd, options, w, dw, {}, scalars, false);
  return make_rule(kSgd, options, w, dw, {{"buffer", buffer}}, scalars, options.dampening != 0);
}

Tensor adam_update(const Variable& w, const Tensor& dw, const Variable& m, const Variable& v,
                   const UpdateScalars& scalars, const AdamOptions& options, const Variable& largest_v) {
  if (!largest_v.defined()) return make_rule(kAdam, options, w, dw, {{"m", m}, {"v", v}}, scalars, true);
  return make_rule(kAdam, options, w, dw, {{"m", m}, {"v", v}, {"largest_v", largest_v}}, scalars, true);
}

Tensor nadam_update(const Variable& w, const Tensor& dw, const Variable& m, const Variable& v,
                    const Tensor& mu_product, const UpdateScalars& scalars, const NadamOptions& options) {
  return make_rule(kNadam, options, w, dw, {{"m", m}, {"v", v}}, scalars, true,
                   scalar_of("nadam_update", "mu_product", mu_product));
}

Tensor update_mu_product(const Variable& mu_product, const UpdateScalars& scalars,
                         const NadamOptions& options) {
  const Tensor& step = scalars.step;
  const Tensor t = step.dtype() == DType::i32 ? cast(step, DType::f32) : step;
  const Tensor power = exp(t * f32(options.momentum_decay * std::log(0.96)));
  Tensor product = mu_product * (f32(options.beta1) * (1.0f - 0.5f * power));
  if (scalars.grad_scale.defined()) product = where(equal(scalars.grad_scale, 0.0f), mu_product, product);
  return assign(mu_product, reshape(product, mu_product.shape()));
}

Tensor rmsprop_update(const Variable& w, const Tensor& dw, const Variable& mean_square,
                      const Variable& buffer, const Variable& mean, const UpdateScalars& scalars,
                      const RmspropOptions& options) {
  const State square{"mean_square", mean_square}, momentum{"buffer", buffer}, average{"mean", mean};
  if (options.momentum == 0 && !options.centered)
    return make_rule(kRmsprop, options, w, dw, {square}, scalars, false);
  if (options.momentum == 0) return make_rule(kRmsprop, options, w, dw, {square, average}, scalars, false);
  if (!options.centered) return make_rule(kRmsprop, options, w, dw, {square, momentum}, scalars, false);
  return make_rule(kRmsprop, options, w, dw, {square, momentum, average}, scalars, false);
}

Tensor adagrad_update(const Variable& w, const Tensor& dw, const Variable& sum, const UpdateScalars& scalars,
                      const AdagradOptions& options) {
  return make_rule(kAdagrad, options, w, dw, {{"sum", sum}}, scalars, options.lr_decay != 0);
}

Tensor lion_update(const Variable& w, const Tensor& dw, const Variable& m, const UpdateScalars& scalars,
                   const LionOptions& options) {
  return make_rule(kLion, options, w, dw, {{"m", m}}, scalars, false);
}

}  // namespace stithy

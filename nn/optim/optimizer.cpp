#include "nn/optim/optimizer.h"

#include <cmath>

#include "engine/core/error.h"
#include "engine/ops.h"
#include "nn/init.h"

namespace stithy::nn {

namespace {
// `pattern` with * for any text, none included.
bool matches(std::string_view pattern, std::string_view name) {
  if (pattern.empty()) return name.empty();
  if (pattern[0] != '*')
    return !name.empty() && pattern[0] == name[0] && matches(pattern.substr(1), name.substr(1));
  for (size_t skip = 0; skip <= name.size(); ++skip)
    if (matches(pattern.substr(1), name.substr(skip))) return true;
  return false;
}

void check_factor(const std::string& where, const char* name, float value) {
  if (!std::isfinite(value) || value < 0)
    throw Error(where, cat(name, " must be finite and at least 0, got ", value));
}
}  // namespace

Optimizer::Optimizer(Rule rule) : rule_(std::move(rule)), lr_(rule_.lr) {
  check_factor(rule_.name, "the learning rate", lr_);
  check_factor(rule_.name, "l1", rule_.penalties.l1);
  check_factor(rule_.name, "weight_decay", rule_.penalties.l2 + rule_.penalties.decay);
}

Optimizer& Optimizer::group(const std::string& pattern, const GroupOptions& options) {
  check_factor(rule_.name, "lr_scale", options.lr_scale);
  check_factor(rule_.name, "weight_decay", options.weight_decay.value_or(0));
  check_factor(rule_.name, "l1", options.l1.value_or(0));
  groups_.push_back({pattern, options});
  return *this;
}

Optimizer& Optimizer::group_vectors(const GroupOptions& options) { return group("", options); }

void Optimizer::bind(const std::vector<NamedVariable>& parameters) {
  trained_.clear();
  options_.clear();
  slots_.clear();
  step_ = Variable("optimizer.step", Array({}, DType::i32));
  shared_ = rule_.prepare ? Variable("optimizer.shared", Array::scalar(1)) : Variable();
  std::vector<bool> used(groups_.size());
  for (const NamedVariable& parameter : parameters) {
    GroupOptions options;
    for (size_t i = 0; i < groups_.size(); ++i) {
      const Group& group = groups_[i];
      if (group.pattern.empty() ? parameter.variable.shape().rank() < 2
                                : matches(group.pattern, parameter.name)) {
        options = group.options;
        used[i] = true;
      }
    }
    if (!options.trainable) continue;
    trained_.push_back(parameter);
    options_.push_back(options);
    Slots& slots = slots_.emplace_back();
    for (const auto& [name, initial] : rule_.slots)
      slots[name] = Variable(cat("optimizer.", parameter.name, ".", name),
                             init::constant(parameter.variable.shape(), initial));
  }
  for (size_t i = 0; i < groups_.size(); ++i)
    if (!used[i] && !groups_[i].pattern.empty())
      throw Error(rule_.name, cat("no parameter's name matches \"", groups_[i].pattern, "\""),
                  parameters.empty() ? "the model has no parameters"
                                     : cat("a name is such as \"", parameters.front().name, "\""));
  if (trained_.empty()) throw Error(rule_.name, "there is no parameter to train");
}

std::vector<Tensor> Optimizer::step(std::span<const Tensor> gradients, const Tensor& lr,
                                    const Tensor& grad_scale) {
  if (!step_.defined()) throw Error(rule_.name, "has no parameters yet", "call bind() first");
  if (gradients.size() != trained_.size())
    throw Error(rule_.name, cat(gradients.size(), " gradients for ", trained_.size(), " parameters"));
  const PhaseGuard phase(Phase::optimizer);
  // A skipped step does not count: bias corrections follow the steps that were taken.
  const Tensor one(Array({}, std::initializer_list<float>{1}).to(DType::i32));
  const Tensor taken = grad_scale.defined() ? cast(not_equal(grad_scale, Tensor(0.0f)), DType::i32) : one;
  const Tensor number = assign(step_, step_.tensor() + taken);
  std::vector<Tensor> updates{number};
  UpdateScalars scalars{lr, number, grad_scale};
  Tensor shared;
  if (rule_.prepare) updates.push_back(shared = rule_.prepare(shared_, scalars));
  std::map<float, Tensor> rates{{1.0f, lr}};
  for (size_t i = 0; i < trained_.size(); ++i) {
    const NamedVariable& parameter = trained_[i];
    const GroupOptions& options = options_[i];
    const ScopeGuard scope(parameter.name, true);
    Tensor& rate = rates[options.lr_scale];
    if (!rate.defined()) rate = lr * options.lr_scale;
    scalars.lr = rate;
    Penalties penalties = rule_.penalties;
    if (options.l1) penalties.l1 = *options.l1;
    if (options.weight_decay) (rule_.decoupled ? penalties.decay : penalties.l2) = *options.weight_decay;
    updates.push_back(
        rule_.update({parameter.variable, gradients[i], scalars, penalties, shared, slots_[i]}));
  }
  return updates;
}

std::vector<NamedVariable> Optimizer::state() const {
  std::vector<NamedVariable> out;
  if (step_.defined()) out.push_back({step_.name(), step_});
  if (shared_.defined()) out.push_back({shared_.name(), shared_});
  for (const Slots& slots : slots_)
    for (const auto& [name, variable] : slots) out.push_back({variable.name(), variable});
  return out;
}

std::string Optimizer::describe() const { return cat(rule_.name, " lr ", lr_); }

namespace {
using SlotList = std::map<std::string, float>;

SlotList with(SlotList slots, bool condition, const std::string& name) {
  if (condition) slots[name] = 0;
  return slots;
}
stithy::NadamOptions nadam_options(const NadamOptions& o, const Penalties& penalties) {
  return {o.beta1, o.beta2, o.epsilon, o.momentum_decay, penalties};
}
}  // namespace

Sgd::Sgd(const SgdOptions& o)
    : Optimizer({.name = "sgd",
                 .lr = o.lr,
                 .penalties = {.l1 = o.l1, .l2 = o.weight_decay},
                 .slots = with({}, o.momentum != 0, "momentum"),
                 .update = [o](const Update& u) {
                   return sgd_update(u.w, u.dw, u.slot("momentum"), u.scalars,
                                     {o.momentum, o.dampening, o.nesterov, u.penalties});
                 }}) {}

Rmsprop::Rmsprop(const RmspropOptions& o)
    : Optimizer({.name = "rmsprop",
                 .lr = o.lr,
                 .penalties = {.l1 = o.l1, .l2 = o.weight_decay},
                 .slots = with(with({{"mean_square", 0}}, o.momentum != 0, "momentum"), o.centered, "mean"),
                 .update = [o](const Update& u) {
                   return rmsprop_update(u.w, u.dw, u.slot("mean_square"), u.slot("momentum"), u.slot("mean"),
                                         u.scalars,
                                         {o.alpha, o.epsilon, o.momentum, o.centered, u.penalties});
                 }}) {}

Adagrad::Adagrad(const AdagradOptions& o)
    : Optimizer(
          {.name = "adagrad",
           .lr = o.lr,
           .penalties = {.l1 = o.l1, .l2 = o.weight_decay},
           .slots = {{"sum", o.initial_accumulator}},
           .update = [o](const Update& u) {
             return adagrad_update(u.w, u.dw, u.slot("sum"), u.scalars, {o.lr_decay, o.epsilon, u.penalties});
           }}) {}

Adam::Adam(const AdamOptions& o)
    : Optimizer({.name = "adam",
                 .lr = o.lr,
                 .penalties = {.l1 = o.l1, .l2 = o.weight_decay},
                 .slots = with({{"m", 0}, {"v", 0}}, o.amsgrad, "largest_v"),
                 .update = [o](const Update& u) {
                   return adam_update(u.w, u.dw, u.slot("m"), u.slot("v"), u.scalars,
                                      {o.beta1, o.beta2, o.epsilon, u.penalties}, u.slot("largest_v"));
                 }}) {}

AdamW::AdamW(const AdamWOptions& o)
    : Optimizer({.name = "adamw",
                 .lr = o.lr,
                 .penalties = {.l1 = o.l1, .decay = o.weight_decay},
                 .decoupled = true,
                 .slots = with({{"m", 0}, {"v", 0}}, o.amsgrad, "largest_v"),
                 .update = [o](const Update& u) {
                   return adam_update(u.w, u.dw, u.slot("m"), u.slot("v"), u.scalars,
                                      {o.beta1, o.beta2, o.epsilon, u.penalties}, u.slot("largest_v"));
                 }}) {}

Nadam::Nadam(const NadamOptions& o)
    : Optimizer({.name = "nadam",
                 .lr = o.lr,
                 .penalties = {.l1 = o.l1, .l2 = o.weight_decay},
                 .slots = {{"m", 0}, {"v", 0}},
                 .update =
                     [o](const Update& u) {
                       return nadam_update(u.w, u.dw, u.slot("m"), u.slot("v"), u.shared, u.scalars,
                                           nadam_options(o, u.penalties));
                     },
                 .prepare =
                     [o](const Variable& mu_product, const UpdateScalars& scalars) {
                       return update_mu_product(mu_product, scalars, nadam_options(o, {}));
                     }}) {}

Lion::Lion(const LionOptions& o)
    : Optimizer({.name = "lion",
                 .lr = o.lr,
                 .penalties = {.l1 = o.l1, .decay = o.weight_decay},
                 .decoupled = true,
                 .slots = {{"m", 0}},
                 .update = [o](const Update& u) {
                   return lion_update(u.w, u.dw, u.slot("m"), u.scalars, {o.beta1, o.beta2, u.penalties});
                 }}) {}

Tensor global_norm(std::span<const Tensor> gradients) {
  Tensor total;
  for (const Tensor& dw : gradients) {
    const Tensor squares = sum(square(dw));
    total = total.defined() ? total + squares : squares;
  }
  return sqrt(total.defined() ? total : Tensor(0.0f));
}

std::vector<Tensor> clip_by_value(std::span<const Tensor> gradients, float limit) {
  std::vector<Tensor> clipped;
  for (const Tensor& dw : gradients) clipped.push_back(clamp(dw, -limit, limit));
  return clipped;
}

Tensor clip_coefficient(const Tensor& norm, float limit) {
  return minimum(Tensor(1.0f), Tensor(limit) / maximum(norm, Tensor(limit)));
}

}  // namespace stithy::nn

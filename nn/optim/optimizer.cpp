#include "nn/optim/optimizer.h"

#include <algorithm>
#include <cmath>

#include "engine/core/error.h"
#include "engine/graph/device.h"
#include "engine/ops.h"
#include "nn/init.h"

namespace stithy::nn {

namespace {
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
  arenas_.clear();
  state_.clear();
  step_ = Variable("optimizer.step", Array({}, DType::i32));
  shared_ = rule_.prepare ? Variable("optimizer.shared", Array::scalar(1)) : Variable();
  const vk::DeviceInfo& device = default_device_info();
  const auto limit = static_cast<int64_t>(
      std::min({device.max_storage_buffer_range, device.max_allocation, device.max_buffer}) /
      size_of(DType::f32));
  std::vector<bool> used(groups_.size());
  for (const NamedVariable& parameter : parameters) {
    GroupOptions options;
    for (size_t i = 0; i < groups_.size(); ++i) {
      const Group& group = groups_[i];
      if (group.pattern.empty() ? parameter.variable.shape().rank() < 2
                                : name_matches(group.pattern, parameter.name)) {
        options = group.options;
        used[i] = true;
      }
    }
    if (!options.trainable) continue;
    Penalties penalties = rule_.penalties;
    if (options.l1) penalties.l1 = *options.l1;
    if (options.weight_decay) (rule_.decoupled ? penalties.decay : penalties.l2) = *options.weight_decay;
    const Variable& w = parameter.variable;
    const int64_t elements = arena_elements(w.shape().numel(), w.dtype());
    auto arena = std::find_if(arenas_.begin(), arenas_.end(), [&](const Arena& a) {
      return a.lr_scale == options.lr_scale && a.penalties == penalties && a.elements + elements <= limit &&
             trained_[a.members[0]].variable.dtype() == w.dtype();
    });
    if (arena == arenas_.end())
      arena = arenas_.insert(arenas_.end(), {.lr_scale = options.lr_scale, .penalties = penalties});
    arena->members.push_back(trained_.size());
    arena->elements += elements;
    trained_.push_back(parameter);
  }
  for (size_t i = 0; i < groups_.size(); ++i)
    if (!used[i] && !groups_[i].pattern.empty())
      throw Error(rule_.name, cat("no parameter's name matches \"", groups_[i].pattern, "\""),
                  parameters.empty() ? "the model has no parameters"
                                     : cat("a name is such as \"", parameters.front().name, "\""));
  if (trained_.empty())
    throw Error(rule_.name, "there is no parameter to train",
                "unfreeze a part of the model, or make a group trainable");
  make_arenas(limit);
}

void Optimizer::make_arenas(int64_t limit) {
  std::vector<Arena> arenas;
  for (Arena& arena : arenas_) {
    std::vector<Variable> ws;
    for (size_t i : arena.members) ws.push_back(trained_[i].variable);
    arena.w = make_arena("parameters", ws);
    if (arena.w.defined()) {
      arenas.push_back(arena);
      continue;
    }
    // Another optimizer has put some of them together with others: each is updated by itself.
    for (size_t i : arena.members) {
      Arena& single = arenas.emplace_back(arena);
      single.members = {i};
      single.w = trained_[i].variable;
      single.elements = arena_elements(single.w.shape().numel(), single.w.dtype());
    }
  }
  arenas_ = std::move(arenas);

  packs_ = 0;
  int64_t end = limit + 1;
  for (Arena& arena : arenas_) {
    if (end + arena.elements > limit) ++packs_, end = 0;
    arena.pack = packs_ - 1;
    arena.begin = end;
    end += arena.elements;
    for (const auto& [slot, initial] : rule_.slots) {
      std::vector<Variable> parts;
      for (size_t i : arena.members) {
        const std::string name = cat("optimizer.", trained_[i].name, ".", slot);
        parts.emplace_back(name, init::constant(trained_[i].variable.shape(), initial));
        state_.push_back({name, parts.back()});
      }
      const bool flat = arena.w.shape() == Shape{arena.elements};
      arena.slots[slot] = flat ? make_arena("optimizer." + slot, parts) : parts[0];
    }
  }
}

std::vector<size_t> Optimizer::packed_members(size_t pack) const {
  std::vector<size_t> members;
  for (const Arena& arena : arenas_)
    if (arena.pack == pack) members.insert(members.end(), arena.members.begin(), arena.members.end());
  return members;
}

std::vector<Tensor> Optimizer::pack(std::span<const Tensor> gradients) const {
  if (!step_.defined()) throw Error(rule_.name, "has no parameters yet", "call bind() first");
  if (gradients.size() != trained_.size())
    throw Error(rule_.name, cat(gradients.size(), " gradients for ", trained_.size(), " parameters"));
  std::vector<Tensor> packed;
  for (size_t pack = 0; pack < packs_; ++pack) {
    std::vector<Tensor> pieces;
    for (size_t i : packed_members(pack)) {
      if (gradients[i].shape() != trained_[i].variable.shape())
        throw Error(rule_.name, cat("the gradient of ", trained_[i].name, " is ", gradients[i].shape(),
                                    ", the parameter ", trained_[i].variable.shape()));
      pieces.push_back(gradients[i]);
    }
    packed.push_back(stithy::pack(pieces));
  }
  return packed;
}

std::vector<Variable> Optimizer::join(const std::string& name,
                                      std::span<const NamedVariable> variables) const {
  std::vector<Variable> joined;
  for (size_t pack = 0; pack < packs_; ++pack) {
    std::vector<Variable> parts;
    for (size_t i : packed_members(pack)) parts.push_back(variables[i].variable);
    joined.push_back(make_arena(name, parts));
  }
  return joined;
}

std::vector<Tensor> Optimizer::step(std::span<const Tensor> packed, const Tensor& lr,
                                    const Tensor& grad_scale) {
  if (!step_.defined()) throw Error(rule_.name, "has no parameters yet", "call bind() first");
  if (packed.size() != packs_)
    throw Error(rule_.name, cat(packed.size(), " packed gradients instead of ", packs_), "call pack()");
  const PhaseGuard phase(Phase::optimizer);
  const ScopeGuard scope("optimizer", true);
  // A skipped step does not count: bias corrections follow the steps that were taken.
  const Tensor one(Array({}, std::initializer_list<float>{1}).to(DType::i32));
  const Tensor taken = grad_scale.defined() ? cast(not_equal(grad_scale, Tensor(0.0f)), DType::i32) : one;
  const Tensor number = assign(step_, step_.tensor() + taken);
  std::vector<Tensor> updates{number};
  UpdateScalars scalars{lr, number, grad_scale};
  Tensor shared;
  if (rule_.prepare) updates.push_back(shared = rule_.prepare(shared_, scalars));
  std::map<float, Tensor> rates{{1.0f, lr}};
  for (const Arena& arena : arenas_) {
    Tensor& rate = rates[arena.lr_scale];
    if (!rate.defined()) rate = lr * arena.lr_scale;
    scalars.lr = rate;
    const Shape& shape = arena.w.shape();
    const Tensor dw = slice(packed[arena.pack], 0, arena.begin, arena.begin + shape.numel());
    updates.push_back(
        rule_.update({arena.w, reshape(dw, shape), scalars, arena.penalties, shared, arena.slots}));
  }
  return updates;
}

std::vector<NamedVariable> Optimizer::state() const {
  std::vector<NamedVariable> out;
  if (step_.defined()) out.push_back({step_.name(), step_});
  if (shared_.defined()) out.push_back({shared_.name(), shared_});
  out.insert(out.end(), state_.begin(), state_.end());
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

// Optimizers: they build the update nodes of a training step and own the state that goes with each parameter.
// Parameters that share options lie in one arena, as do their states, so that one kernel updates them all.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/ops_optim.h"
#include "nn/module.h"

namespace stithy::nn {

// What a group of parameters has of its own.
struct GroupOptions {
  float lr_scale = 1;                      // multiplies the learning rate
  std::optional<float> weight_decay = {};  // instead of the optimizer's
  std::optional<float> l1 = {};
  bool trainable = true;  // false: no gradient, no update, no state
};

// A value: pass Sgd, Adam ... where an Optimizer is wanted. bind() gives it the parameters.
class Optimizer {
 public:
  // Parameters whose names match `pattern` (* stands for any text): "*.bias". A parameter belongs to the
  // last group that takes it. Call before bind(), which throws Error for a pattern that matches nothing.
  Optimizer& group(const std::string& pattern, const GroupOptions& options);
  // Parameters of rank below 2: biases and the weights of normalisations, which usually go without decay.
  Optimizer& group_vectors(const GroupOptions& options);

  // Starts with fresh state for `parameters`, each by its name.
  void bind(const std::vector<NamedVariable>& parameters);
  // The parameters that are trained, in order: gradients are given in this order.
  const std::vector<NamedVariable>& trained() const { return trained_; }

  // The gradients of the trained parameters as flat tensors, f32 [n], with zeros between them: one, unless
  // the device's kernels cannot reach so much. Clipping, norm and step() work on these.
  std::vector<Tensor> pack(std::span<const Tensor> gradients) const;
  // Variables that go with the trained parameters, one each, as arenas laid out as pack() does.
  std::vector<Variable> join(const std::string& name, std::span<const NamedVariable> variables) const;

  // Builds one step: counts it, and updates every trained parameter and its state. `packed` is what pack()
  // gave, `lr` is f32 []; where `grad_scale`, f32 [], is given, it multiplies the gradients, and 0 skips the
  // step. Returns the updates that the program must run.
  std::vector<Tensor> step(std::span<const Tensor> packed, const Tensor& lr, const Tensor& grad_scale = {});

  // "optimizer.step", the number of steps taken (i32), and "optimizer.0.weight.m" and the like.
  std::vector<NamedVariable> state() const;
  float lr() const { return lr_; }
  // "adam lr 0.001".
  std::string describe() const;

 protected:
  using Slots = std::map<std::string, Variable>;
  // The update of one arena of parameters.
  struct Update {
    const Variable& w;
    const Tensor& dw;
    const UpdateScalars& scalars;
    const Penalties& penalties;
    const Tensor& shared;  // what `prepare` returned
    const Slots& slots;
    // The state of that name; undefined when the rule has none.
    Variable slot(const std::string& name) const {
      const auto found = slots.find(name);
      return found == slots.end() ? Variable() : found->second;
    }
  };
  struct Rule {
    std::string name;
    float lr = 0;
    Penalties penalties = {};
    bool decoupled = false;                   // a group's weight_decay is Penalties::decay, not l2
    std::map<std::string, float> slots = {};  // state of each parameter, with its initial value
    std::function<Tensor(const Update&)> update = {};
    // Once a step, before the arenas; `shared` is a variable f32 [] that starts at 1.
    std::function<Tensor(const Variable& shared, const UpdateScalars&)> prepare = {};
  };
  // Throws Error when lr or a penalty is negative or not finite.
  explicit Optimizer(Rule rule);

 private:
  struct Group {
    std::string pattern;  // empty: by rank
    GroupOptions options;
  };
  // Parameters with the same options.
  struct Arena {
    float lr_scale = 1;
    Penalties penalties = {};
    std::vector<size_t> members = {};  // of trained_
    int64_t elements = 0;
    Variable w = {};
    Slots slots = {};
    size_t pack = 0;  // where its gradients are: which packed tensor, and the first element
    int64_t begin = 0;
  };
  void make_arenas(int64_t limit);
  // The trained parameters whose gradients are in that packed tensor, in its order.
  std::vector<size_t> packed_members(size_t pack) const;

  Rule rule_;
  float lr_;
  std::vector<Group> groups_;
  std::vector<NamedVariable> trained_, state_;
  std::vector<Arena> arenas_;
  size_t packs_ = 0;
  Variable step_, shared_;
};

// `weight_decay` is what torch.optim calls so: an L2 penalty for Sgd, Rmsprop, Adagrad, Adam and Nadam,
// decoupled decay for AdamW and Lion. `l1` adds l1 * sign(w) to the gradient. Defaults are torch.optim's.
struct SgdOptions {
  float lr = 0.01f, momentum = 0, dampening = 0;
  bool nesterov = false;
  float weight_decay = 0, l1 = 0;
};
struct RmspropOptions {
  float lr = 0.01f, alpha = 0.99f, epsilon = 1e-8f, momentum = 0;
  bool centered = false;
  float weight_decay = 0, l1 = 0;
};
struct AdagradOptions {
  float lr = 0.01f, lr_decay = 0, initial_accumulator = 0, epsilon = 1e-10f, weight_decay = 0, l1 = 0;
};
struct AdamOptions {
  float lr = 1e-3f, beta1 = 0.9f, beta2 = 0.999f, epsilon = 1e-8f;
  bool amsgrad = false;
  float weight_decay = 0, l1 = 0;
};
struct AdamWOptions {
  float lr = 1e-3f, beta1 = 0.9f, beta2 = 0.999f, epsilon = 1e-8f;
  bool amsgrad = false;
  float weight_decay = 0.01f, l1 = 0;
};
struct NadamOptions {
  float lr = 2e-3f, beta1 = 0.9f, beta2 = 0.999f, epsilon = 1e-8f, momentum_decay = 0.004f;
  float weight_decay = 0, l1 = 0;
};
struct LionOptions {
  float lr = 1e-4f, beta1 = 0.9f, beta2 = 0.99f, weight_decay = 0, l1 = 0;
};

struct Sgd : Optimizer {
  explicit Sgd(const SgdOptions& options = {});
};
struct Rmsprop : Optimizer {
  explicit Rmsprop(const RmspropOptions& options = {});
};
struct Adagrad : Optimizer {
  explicit Adagrad(const AdagradOptions& options = {});
};
struct Adam : Optimizer {
  explicit Adam(const AdamOptions& options = {});
};
struct AdamW : Optimizer {
  explicit AdamW(const AdamWOptions& options = {});
};
struct Nadam : Optimizer {
  explicit Nadam(const NadamOptions& options = {});
};
struct Lion : Optimizer {
  explicit Lion(const LionOptions& options = {});
};

// The 2-norm of all gradients as one vector, f32 []; packed or not.
Tensor global_norm(std::span<const Tensor> gradients);
// Each element moved into [-limit, limit].
std::vector<Tensor> clip_by_value(std::span<const Tensor> gradients, float limit);
// min(1, limit / norm): the factor that brings a norm down to `limit` (Pascanu et al. 2013).
Tensor clip_coefficient(const Tensor& norm, float limit);

}  // namespace stithy::nn

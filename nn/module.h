// Module: a layer, or a tree of layers, with named parameters and buffers. Names are PyTorch's:
// "encoder.0.weight".
//
//   struct Net : nn::Module {
//     nn::Child<nn::Linear> hidden = child("hidden", nn::Linear(784, 256));
//     nn::Child<nn::Linear> output = child("output", nn::Linear(256, 10));
//     Tensor forward(const Tensor& x) override { return output(relu(hidden(x))); }
//   };
#pragma once

#include <concepts>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/graph/node.h"
#include "engine/graph/variable.h"

namespace stithy::nn {

class Module;

struct NamedVariable {
  std::string name;
  Variable variable;
};
// Whether a name is of the pattern, in which * stands for any text, none included: "*.bias".
bool name_matches(std::string_view pattern, std::string_view name);

// A module as a member of another. Calling it builds its layer under its name.
template <class M>
class Child {
 public:
  Child() = default;
  explicit Child(std::shared_ptr<M> module) : module_(std::move(module)) {}
  template <class... Arguments>
  auto operator()(Arguments&&... arguments) const;
  M* operator->() const { return module_.get(); }
  M& operator*() const { return *module_; }
  explicit operator bool() const { return module_ != nullptr; }

 private:
  std::shared_ptr<M> module_;
};

// Copies share parameters, buffers and children, as Variables do.
class Module {
 public:
  virtual ~Module() = default;
  Module(const Module&) = default;
  Module(Module&&) = default;
  Module& operator=(const Module&) = default;
  Module& operator=(Module&&) = default;

  // Builds the graph of the layer. Layers with several inputs have a forward() of their own and throw here.
  virtual Tensor forward(const Tensor& x);
  // forward() under the layer's name, which errors and profiles then show.
  Tensor operator()(const Tensor& x);
  // "Linear(784, 256)".
  virtual std::string describe() const { return "Module"; }

  // Of this module and all below it, in the order of registration; a shared variable comes once.
  std::vector<NamedVariable> named_parameters() const;
  std::vector<NamedVariable> named_buffers() const;
  struct NamedModule {
    std::string name;  // the root's is empty
    const Module* module;
  };
  std::vector<NamedModule> named_modules() const;
  // The elements of all parameters.
  int64_t parameter_count() const;

  // Layers such as Dropout build another graph in training than in evaluation. The mode counts when
  // forward() is called, not when the program runs. A new module is in training mode.
  void train(bool on = true);
  void eval() { train(false); }
  bool training() const { return training_ && !frozen_; }

  // This module and all below it keep their values: a Trainer that is made afterwards computes no gradients
  // of their parameters and does not update them, and they build the graph of evaluation even in training, so
  // that batch norm keeps its statistics. For transfer: model.freeze(); model.submodule("fc").freeze(false);
  void freeze(bool on = true);
  bool frozen() const { return frozen_; }
  // named_parameters() without those that a frozen module has.
  std::vector<NamedVariable> trainable_parameters() const;
  // The module below this one of that name, "layer1.0"; this one for "". Throws Error when there is none.
  Module& submodule(const std::string& path);

  // Backward computes what is inside this module anew instead of keeping it: memory for time (activation
  // checkpointing, Chen et al. 2016). Gradients are the same, bit for bit. Counts when forward() is called.
  void recompute(bool on = true) { recompute_ = on; }

 protected:
  Module() = default;
  // Parameters are trained; buffers are only kept and saved. Throws Error when the name is taken.
  Variable parameter(const std::string& name, const Array& initial);
  Variable buffer(const std::string& name, const Array& initial);
  // A parameter that another module owns too (tied weights): saved under the name that comes first.
  void share_parameter(const std::string& name, const Variable& variable);
  template <std::derived_from<Module> M>
  Child<M> child(const std::string& name, M module) {
    auto shared = std::make_shared<M>(std::move(module));
    add_child(name, shared);
    return Child<M>(std::move(shared));
  }
  void add_child(const std::string& name, std::shared_ptr<Module> module);
  // Throws Error where there is none.
  void remove_child(const std::string& name);
  const std::vector<std::pair<std::string, std::shared_ptr<Module>>>& children() const { return children_; }

 private:
  template <class M>
  friend class Child;
  friend class CallTrace;
  template <class Build>
  static auto call(const Module& module, Build build) {
    std::optional<RecomputeGuard> region;
    if (module.recompute_) region.emplace();
    if (module.name_.empty()) return build();
    const ScopeGuard scope(module.name_);
    auto y = build();
    module.called(y);
    return y;
  }
  void called(const Tensor& y) const;
  template <class T>
  void called(const T&) const {}
  void check_name(const std::string& name) const;
  void visit(const std::string& path, std::vector<NamedModule>& out) const;

  std::string name_;  // as a child; empty at the root
  bool training_ = true, frozen_ = false, recompute_ = false;
  std::vector<NamedVariable> parameters_, buffers_;
  std::vector<std::pair<std::string, std::shared_ptr<Module>>> children_;
};

template <class M>
template <class... Arguments>
auto Child<M>::operator()(Arguments&&... arguments) const {
  return Module::call(*module_, [&] { return module_->forward(std::forward<Arguments>(arguments)...); });
}

// While one lives, the model is in evaluation mode; then it is in the mode in which it was.
class EvaluationMode {
 public:
  explicit EvaluationMode(Module& model);
  ~EvaluationMode() { model_.train(was_training_); }
  EvaluationMode(const EvaluationMode&) = delete;

 private:
  Module& model_;
  bool was_training_;
};

// While alive, notes each call of a named module and what came out of it.
class CallTrace {
 public:
  struct Call {
    std::string path;
    const Module* module;
    Tensor output;
  };
  CallTrace();
  ~CallTrace();
  CallTrace(const CallTrace&) = delete;
  const std::vector<Call>& calls() const { return calls_; }

 private:
  friend class Module;
  std::vector<Call> calls_;
  CallTrace* outer_;
};

// Updates of buffers that go with a layer's forward(), such as running statistics: a program that calls the
// layers runs them too. take_updates() builds them, each under the name of its layer, hands them out and
// forgets them. They come after all layers, since what stands between an op and those that follow it keeps
// them from becoming one kernel.
void also_update(std::function<Tensor()> build);
std::vector<Tensor> take_updates();

}  // namespace stithy::nn

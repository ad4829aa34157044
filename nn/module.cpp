#include "nn/module.h"

#include <algorithm>

#include "engine/core/error.h"

namespace stithy::nn {

namespace {
thread_local CallTrace* current_trace = nullptr;
struct PendingUpdate {
  std::string scope;
  std::function<Tensor()> build;
};
thread_local std::vector<PendingUpdate> pending_updates;

std::string join(const std::string& path, const std::string& name) {
  return path.empty() ? name : path + "." + name;
}
}  // namespace

bool name_matches(std::string_view pattern, std::string_view name) {
  if (pattern.empty()) return name.empty();
  if (pattern[0] != '*')
    return !name.empty() && pattern[0] == name[0] && name_matches(pattern.substr(1), name.substr(1));
  for (size_t skip = 0; skip <= name.size(); ++skip)
    if (name_matches(pattern.substr(1), name.substr(skip))) return true;
  return false;
}

Tensor Module::forward(const Tensor&) {
  throw Error(describe(), "has no forward() of one tensor", "call it with the inputs that it declares");
}

Tensor Module::operator()(const Tensor& x) {
  return call(*this, [&] { return forward(x); });
}

void Module::called(const Tensor& y) const {
  if (current_trace) current_trace->calls_.push_back({current_scope(), this, y});
}

void Module::check_name(const std::string& name) const {
  if (name.empty() || name.find('.') != std::string::npos)
    throw Error(describe(), cat("\"", name, "\" is no name of a parameter or child"),
                "names are not empty and have no dot, which separates the levels of the tree");
  const auto taken = [&](const auto& list, auto get) {
    return std::any_of(list.begin(), list.end(), [&](const auto& entry) { return get(entry) == name; });
  };
  const auto variable_name = [](const NamedVariable& v) -> const std::string& { return v.name; };
  if (taken(parameters_, variable_name) || taken(buffers_, variable_name) ||
      taken(children_, [](const auto& c) -> const std::string& { return c.first; }))
    throw Error(describe(), cat("has something named \"", name, "\" already"));
}

Variable Module::parameter(const std::string& name, const Array& initial) {
  check_name(name);
  return parameters_.emplace_back(NamedVariable{name, Variable(name, initial)}).variable;
}

Variable Module::buffer(const std::string& name, const Array& initial) {
  check_name(name);
  return buffers_.emplace_back(NamedVariable{name, Variable(name, initial)}).variable;
}

void Module::share_parameter(const std::string& name, const Variable& variable) {
  check_name(name);
  parameters_.push_back({name, variable});
}

void Module::add_child(const std::string& name, std::shared_ptr<Module> module) {
  check_name(name);
  module->name_ = name;
  children_.emplace_back(name, std::move(module));
  // Variables carry their full name, which the messages of the engine show.
  for (auto& [path, variable] : named_parameters()) variable.rename(path);
  for (auto& [path, variable] : named_buffers()) variable.rename(path);
}

void Module::remove_child(const std::string& name) {
  if (std::erase_if(children_, [&](const auto& c) { return c.first == name; }) == 0)
    throw Error(describe(), cat("has no child named \"", name, "\""));
}

void Module::visit(const std::string& path, std::vector<NamedModule>& out) const {
  out.push_back({path, this});
  for (const auto& [name, module] : children_) module->visit(join(path, name), out);
}

std::vector<Module::NamedModule> Module::named_modules() const {
  std::vector<NamedModule> modules;
  visit("", modules);
  return modules;
}

namespace {
void append_once(std::vector<NamedVariable>& out, const std::string& path,
                 const std::vector<NamedVariable>& own) {
  for (const auto& [name, variable] : own)
    if (std::none_of(out.begin(), out.end(), [&](const auto& v) { return v.variable == variable; }))
      out.push_back({join(path, name), variable});
}
}  // namespace

std::vector<NamedVariable> Module::named_parameters() const {
  std::vector<NamedVariable> out;
  for (const auto& [path, module] : named_modules()) append_once(out, path, module->parameters_);
  return out;
}

std::vector<NamedVariable> Module::named_buffers() const {
  std::vector<NamedVariable> out;
  for (const auto& [path, module] : named_modules()) append_once(out, path, module->buffers_);
  return out;
}

int64_t Module::parameter_count() const {
  int64_t count = 0;
  for (const auto& [name, variable] : named_parameters()) count += variable.shape().numel();
  return count;
}

void Module::train(bool on) {
  training_ = on;
  for (const auto& [name, module] : children_) module->train(on);
}

void Module::freeze(bool on) {
  frozen_ = on;
  for (const auto& [name, module] : children_) module->freeze(on);
}

std::vector<NamedVariable> Module::trainable_parameters() const {
  std::vector<NamedVariable> kept, out;
  for (const auto& [path, module] : named_modules())
    if (module->frozen_) append_once(kept, path, module->parameters_);
  for (NamedVariable& parameter : named_parameters())
    if (std::ranges::none_of(kept, [&](const auto& k) { return k.variable == parameter.variable; }))
      out.push_back(std::move(parameter));
  return out;
}

Module& Module::submodule(const std::string& path) {
  if (path.empty()) return *this;
  const size_t dot = path.find('.');
  const std::string first = path.substr(0, dot);
  std::string names;
  for (const auto& [name, module] : children_) {
    if (name == first) return module->submodule(dot == std::string::npos ? "" : path.substr(dot + 1));
    names += (names.empty() ? "" : ", ") + name;
  }
  throw Error(describe(), cat("has no child named \"", first, "\""),
              names.empty() ? "it has no children" : "its children are " + names);
}

// A root that is frozen says that it evaluates, whatever the parts of it that are trained do.
EvaluationMode::EvaluationMode(Module& model)
    : model_(model), was_training_(std::ranges::any_of(model.named_modules(), [](const auto& named) {
        return named.module->training();
      })) {
  model.eval();
}

CallTrace::CallTrace() : outer_(std::exchange(current_trace, this)) {}
CallTrace::~CallTrace() { current_trace = outer_; }

void also_update(std::function<Tensor()> build) {
  pending_updates.push_back({current_scope(), std::move(build)});
}
std::vector<Tensor> take_updates() {
  std::vector<Tensor> updates;
  for (const PendingUpdate& update : std::exchange(pending_updates, {})) {
    const ScopeGuard scope(update.scope, true);
    updates.push_back(update.build());
  }
  return updates;
}

}  // namespace stithy::nn

// Variable: a named tensor that lives on the device from run to run: parameters, optimizer state, counters.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "engine/graph/tensor.h"

namespace stithy {

struct VariableState;

class Variable {
 public:
  Variable() = default;
  // Starts with the values of `initial`; they go to the device with the first program that uses it.
  Variable(const std::string& name, const Array& initial);

  bool defined() const { return state_ != nullptr; }
  const std::string& name() const;
  const Shape& shape() const { return tensor_.shape(); }
  DType dtype() const { return tensor_.dtype(); }
  // The variable as a graph node. A node built after an update of the variable sees the updated value, one
  // built before it the old value: programs run their nodes in the order in which they were built.
  const Tensor& tensor() const { return tensor_; }
  operator const Tensor&() const { return tensor_; }

  // The value now (waits for submitted programs), and a new one. set() throws Error on another shape or
  // dtype.
  Array value() const;
  void set(const Array& value);
  void rename(const std::string& name);

  VariableState& state() const { return *state_; }
  friend bool operator==(const Variable& a, const Variable& b) { return a.state_ == b.state_; }

 private:
  friend Variable make_arena(const std::string& name, std::span<const Variable> parts);
  explicit Variable(std::shared_ptr<VariableState> state);
  std::shared_ptr<VariableState> state_;
  Tensor tensor_;
};

// One variable [n] in which `parts` lie one after the other, each from a multiple of arena_alignment()
// elements on, with zeros between them: a kernel over it works on all of them. The parts keep their names,
// shapes and values; where they are on the device already they move, and programs that were recorded before
// follow them. Parts that lie in an arena of just these already give that one; undefined where one lies in
// another that is still in use. Throws Error unless the parts are different variables of one dtype.
Variable make_arena(const std::string& name, std::span<const Variable> parts);
int64_t arena_alignment(DType dtype);
// Elements of an arena that a part of `numel` elements takes.
int64_t arena_elements(int64_t numel, DType dtype);

}  // namespace stithy

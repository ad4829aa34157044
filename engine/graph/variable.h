// Variable: a named tensor that lives on the device from run to run: parameters, optimizer state, counters.
#pragma once

#include <memory>
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
  std::shared_ptr<VariableState> state_;
  Tensor tensor_;
};

}  // namespace stithy

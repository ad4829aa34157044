// Tensor: a handle to one output of a graph node. Building tensors computes nothing; a Program or eval()
// does.
#pragma once

#include <memory>
#include <string>

#include "engine/core/array.h"

namespace stithy {

class Node;

class Tensor {
 public:
  Tensor() = default;
  Tensor(std::shared_ptr<Node> node, int output = 0) : node_(std::move(node)), output_(output) {}
  // A constant: the array, or a scalar of f32.
  Tensor(const Array& values);
  Tensor(float value);

  bool defined() const { return node_ != nullptr; }
  const Shape& shape() const;
  DType dtype() const;
  int rank() const { return shape().rank(); }
  // Size of an axis, counted from the end when negative. Throws Error when out of range.
  int64_t dim(int64_t axis) const;
  int64_t numel() const { return shape().numel(); }
  // Element strides and offset within the storage, which other views may share.
  const Shape& strides() const;
  int64_t offset() const;
  bool is_contiguous() const;

  // Plans, runs and reads back this one tensor on the default device. For debugging and tests: a training
  // step belongs in a Program, which is planned once.
  Array eval() const;
  // The only element. Throws Error when there are more.
  float item() const;

  const std::shared_ptr<Node>& node() const { return node_; }
  int output() const { return output_; }
  friend bool operator==(const Tensor&, const Tensor&) = default;  // the same node and output, not the values

 private:
  std::shared_ptr<Node> node_;
  int output_ = 0;
};

// A tensor that is given anew for every run of a program.
Tensor input(const std::string& name, const Shape& shape, DType dtype = DType::f32);

}  // namespace stithy

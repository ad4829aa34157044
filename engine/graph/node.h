// Node: one step of a graph, with its inputs, its outputs and where it came from.
#pragma once

#include <any>
#include <memory>
#include <string>
#include <vector>

#include "engine/graph/tensor.h"

namespace stithy {

struct OpDef;
struct VariableState;

enum class Phase : uint8_t { forward, backward, optimizer };
inline constexpr std::string_view kPhaseNames[] = {"forward", "backward", "optimizer"};  // by value
inline std::string_view name_of(Phase phase) { return kPhaseNames[static_cast<size_t>(phase)]; }

// An output of a node: a strided window on a storage. The storage belongs to the node itself, or, for views
// and in-place updates, to the node that first made it.
struct Value {
  Shape shape;
  DType dtype = DType::f32;
  Shape strides;
  int64_t offset = 0;  // elements
  const Node* storage_node = nullptr;
  int storage_output = 0;
};

enum class NodeKind : uint8_t { input, variable, constant, op };

class Node : public std::enable_shared_from_this<Node> {
 public:
  Node();
  ~Node();
  Node(const Node&) = delete;

  uint64_t id;  // order of building, which is the order of running
  NodeKind kind = NodeKind::op;
  const OpDef* op = nullptr;
  std::any attributes;
  std::vector<Tensor> inputs;
  std::vector<Value> outputs;
  Phase phase;
  uint64_t region;                          // of RecomputeGuard; 0 for none
  std::string scope;                        // path of the layer that built it: "encoder.0.linear"
  std::string name;                         // of an input
  Array constant;                           // of a constant
  std::shared_ptr<VariableState> variable;  // of a variable

  template <class A>
  const A& attrs() const {
    return std::any_cast<const A&>(attributes);
  }
  const Tensor& in(int i) const { return inputs[static_cast<size_t>(i)]; }
  const Value& out(int i = 0) const { return outputs[static_cast<size_t>(i)]; }
  Tensor tensor(int output = 0) const { return {const_cast<Node*>(this)->shared_from_this(), output}; }
  // "matmul", or the kind and name of a source: "input x".
  std::string label() const;
};

// Shape and dtype of a fresh, contiguous output.
struct Output {
  Shape shape;
  DType dtype = DType::f32;
};

// Builds a node of `op` with fresh outputs; returns output 0 (tensor.node()->tensor(i) gives the others).
Tensor make_node(const OpDef& op, std::any attributes, std::vector<Tensor> inputs,
                 std::vector<Output> outputs);
// Builds a view: no kernel runs; strides and offset are in elements of the input's storage.
Tensor make_view(const OpDef& op, std::any attributes, const Tensor& input, const Shape& shape,
                 const Shape& strides, int64_t offset);
// Builds an in-place update: output i is input i's storage with its new contents, for the first `updated`
// inputs, which must be whole variables, or earlier updates of them. Throws Error otherwise.
Tensor make_update(const OpDef& op, std::any attributes, std::vector<Tensor> inputs, int updated = 1);

// While alive, nodes are built under this layer name, appended to the path: "encoder" then "0" is
// "encoder.0".
class ScopeGuard {
 public:
  explicit ScopeGuard(const std::string& name, bool replace_path = false);
  ~ScopeGuard();
  ScopeGuard(const ScopeGuard&) = delete;

 private:
  std::string saved_;
};
const std::string& current_scope();

// While alive, nodes are built in a region of their own, whose values backward computes anew instead of
// keeping them in memory (Chen et al. 2016, "Training deep nets with sublinear memory cost"). Only what
// enters and leaves the region is kept. A region within another is a part of it.
class RecomputeGuard {
 public:
  RecomputeGuard();
  ~RecomputeGuard();
  RecomputeGuard(const RecomputeGuard&) = delete;

 private:
  uint64_t saved_;
};

// The same op once more with inputs that take the places of the node's: same attributes, so that random ops
// draw the same numbers. An update of a variable, which may not be carried out twice, is handed back itself.
std::shared_ptr<Node> copy_node(const Node& node, std::vector<Tensor> inputs);

// While alive, nodes are built in this phase.
class PhaseGuard {
 public:
  explicit PhaseGuard(Phase phase);
  ~PhaseGuard();
  PhaseGuard(const PhaseGuard&) = delete;

 private:
  Phase saved_;
};

}  // namespace stithy

// OpDef: all that the engine knows about an op, and the registry of them.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/core/error.h"
#include "engine/graph/launch.h"
#include "engine/graph/node.h"

namespace stithy {

// What a gradient function sees: the node, and the gradient of the loss with respect to each of its outputs.
struct Backward {
  const Node& node;
  const std::vector<Tensor>& dys;   // by output; undefined where the loss does not depend on it
  const std::vector<bool>& needed;  // by input
  Tensor x(int i = 0) const { return node.in(i); }
  Tensor y(int i = 0) const { return node.tensor(i); }
  const Tensor& dy(int i = 0) const { return dys[static_cast<size_t>(i)]; }
  bool needs(int i) const { return needed[static_cast<size_t>(i)]; }
  template <class A>
  const A& attrs() const {
    return node.attrs<A>();
  }
};

// A pointwise op in GLSL, on raw values (shaders/dtype.glsl): $0, $1, ... are the inputs' elements, #0, #1,
// ... the parameters: {"raw_of(op_clamp(uintBitsToFloat($0), vec2(#0, #1)))", {low, high}}. The functions are
// those of shaders/pointwise.glsl.
struct Pointwise {
  std::string expression;
  std::vector<float> parameters = {};
};

struct OpDef {
  std::string_view name;
  // For the table of ops: the dtypes that the inputs may have, such as "f32 i32".
  std::string_view dtypes = "f32";
  // Chooses kernels and their arguments. Views have none.
  void (*launch)(const Node& node, Launch& launch) = nullptr;
  // For ops that put inputs side by side: the element of output 0 at which each input, row-major, lies as a
  // whole; negative where it does not. The planner lets an input be made right there where it can, and
  // Launch::in_place() then says so.
  std::vector<int64_t> (*places)(const Node& node) = nullptr;
  // For fusion: what one element of the only output is, in elements of inputs of its shape.
  Pointwise (*pointwise)(const Node& node) = nullptr;
  // Pointwise ops may be built into the kernel that reads input 0, or writes output 0; both are f32. The
  // kernels say so with `#pragma stithy fuse`.
  bool fuses_input = false, fuses_output = false;
  // Gradients by input, in ordinary graph ops; undefined where zero or not needed. None: not differentiable.
  std::vector<Tensor> (*gradient)(const Backward& b) = nullptr;
  // Floating-point operations of the node; none means one per output element.
  double (*flops)(const Node& node) = nullptr;
  // Bytes of memory that the node reads and writes, where kernels touch only a part of what they bind. None:
  // it follows from the bindings.
  double (*bytes)(const Node& node) = nullptr;
  // A fused op as smaller ops, by output: what it means, its gradient when there is no other, and the tests'
  // second oracle. Outputs that only its own gradient reads may stay undefined.
  std::vector<Tensor> (*composition)(const Node& node) = nullptr;
};

// Registers an op; keep the returned reference at namespace scope. Throws Error when the name is taken.
const OpDef& define_op(const OpDef& op);
// Floating-point operations of one node: what its op says, one an output element otherwise, none for views.
double node_flops(const Node& node);
// Every op, sorted by name.
std::vector<const OpDef*> all_ops();

}  // namespace stithy

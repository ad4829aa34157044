#include "engine/graph/node.h"

#include <atomic>

#include "engine/graph/op.h"
#include "engine/graph/variable_state.h"

namespace stithy {
namespace {

thread_local std::string scope_path;
thread_local Phase phase_now = Phase::forward;
thread_local uint64_t region_now = 0;

// Kernels count elements in 32 bits.
void require_countable(std::string_view what, const Shape& shape) {
  if (shape.numel() > int64_t{0xffffffff})
    throw Error(std::string(what), cat("shape ", shape, " has 2^32 elements or more"), "split the tensor");
}

std::shared_ptr<Node> source(NodeKind kind, const Shape& shape, DType dtype) {
  require_countable("tensor", shape);
  auto node = std::make_shared<Node>();
  node->kind = kind;
  node->outputs.push_back({shape, dtype, contiguous_strides(shape), 0, node.get(), 0});
  return node;
}

}  // namespace

Node::Node() : phase(phase_now), region(region_now), scope(scope_path) {
  static std::atomic<uint64_t> next{1};
  id = next++;
}

Node::~Node() {
  // A long chain would otherwise be released by recursion as deep as the graph.
  std::vector<std::shared_ptr<Node>> released;
  const auto take = [&](std::vector<Tensor>& tensors) {
    for (Tensor& tensor : tensors)
      if (tensor.defined() && tensor.node().use_count() == 1) {
        std::shared_ptr<Node> node = tensor.node();
        tensor = Tensor();
        released.push_back(std::move(node));
      }
  };
  take(inputs);
  while (!released.empty()) {
    const std::shared_ptr<Node> node = std::move(released.back());
    released.pop_back();
    if (node.use_count() == 1) take(node->inputs);
  }
}

std::string Node::label() const {
  switch (kind) {
    case NodeKind::input: return "input " + name;
    case NodeKind::variable: return "variable " + variable->name;
    case NodeKind::constant: return "constant";
    case NodeKind::op: return std::string(op->name);
  }
  return {};
}

const Shape& Tensor::shape() const { return node_->out(output_).shape; }
DType Tensor::dtype() const { return node_->out(output_).dtype; }
const Shape& Tensor::strides() const { return node_->out(output_).strides; }
int64_t Tensor::offset() const { return node_->out(output_).offset; }
bool Tensor::is_contiguous() const { return stithy::is_contiguous(shape(), strides()); }
int64_t Tensor::dim(int64_t axis) const { return shape()[normalize_axis("dim", axis, shape())]; }

Tensor::Tensor(const Array& values) : node_(source(NodeKind::constant, values.shape(), values.dtype())) {
  node_->constant = values;
}
Tensor::Tensor(float value) : Tensor(Array::scalar(value)) {}

float Tensor::item() const { return static_cast<float>(eval().item()); }

Tensor input(const std::string& name, const Shape& shape, DType dtype) {
  Tensor tensor(source(NodeKind::input, shape, dtype));
  tensor.node()->name = name;
  return tensor;
}

Tensor make_node(const OpDef& op, std::any attributes, std::vector<Tensor> inputs,
                 std::vector<Output> outputs) {
  auto node = std::make_shared<Node>();
  node->op = &op;
  node->attributes = std::move(attributes);
  node->inputs = std::move(inputs);
  for (const Output& output : outputs) require_countable(op.name, output.shape);
  for (size_t i = 0; i < outputs.size(); ++i)
    node->outputs.push_back({outputs[i].shape, outputs[i].dtype, contiguous_strides(outputs[i].shape), 0,
                             node.get(), static_cast<int>(i)});
  return Tensor(std::move(node));
}

Tensor make_view(const OpDef& op, std::any attributes, const Tensor& input, const Shape& shape,
                 const Shape& strides, int64_t offset) {
  require_countable(op.name, shape);
  auto node = std::make_shared<Node>();
  node->op = &op;
  node->attributes = std::move(attributes);
  node->inputs = {input};
  const Value& base = input.node()->out(input.output());
  node->outputs.push_back({shape, base.dtype, strides, offset, base.storage_node, base.storage_output});
  return Tensor(std::move(node));
}

Tensor make_update(const OpDef& op, std::any attributes, std::vector<Tensor> inputs, int updated) {
  auto node = std::make_shared<Node>();
  node->op = &op;
  node->attributes = std::move(attributes);
  for (int i = 0; i < updated; ++i) {
    const Tensor& target = inputs[static_cast<size_t>(i)];
    const Value& value = target.node()->out(target.output());
    if (value.storage_node->kind != NodeKind::variable || !(value.shape == value.storage_node->out().shape) ||
        !target.is_contiguous() || value.offset != 0)
      throw Error(std::string(op.name), cat("input ", i, " is not a variable and cannot be updated in place"),
                  "make it a Variable");
    node->outputs.push_back(value);
  }
  node->inputs = std::move(inputs);
  return Tensor(std::move(node));
}

std::shared_ptr<Node> copy_node(const Node& node, std::vector<Tensor> inputs) {
  auto copy = std::make_shared<Node>();
  copy->op = node.op;
  copy->attributes = node.attributes;
  copy->outputs = node.outputs;
  for (Value& value : copy->outputs) {
    if (value.storage_node == &node) {
      value.storage_node = copy.get();
    } else if (node.op->launch) {
      return const_cast<Node&>(node).shared_from_this();  // an update
    } else {
      const Value& base = inputs[0].node()->out(inputs[0].output());
      value.storage_node = base.storage_node;
      value.storage_output = base.storage_output;
    }
  }
  copy->inputs = std::move(inputs);
  return copy;
}

RecomputeGuard::RecomputeGuard() : saved_(region_now) {
  static std::atomic<uint64_t> next{1};
  if (region_now == 0) region_now = next++;
}
RecomputeGuard::~RecomputeGuard() { region_now = saved_; }

ScopeGuard::ScopeGuard(const std::string& name, bool replace_path) : saved_(scope_path) {
  scope_path = replace_path || scope_path.empty() ? name
               : name.empty()                     ? scope_path
                                                  : scope_path + "." + name;
}
ScopeGuard::~ScopeGuard() { scope_path = saved_; }
const std::string& current_scope() { return scope_path; }

PhaseGuard::PhaseGuard(Phase phase) : saved_(phase_now) { phase_now = phase; }
PhaseGuard::~PhaseGuard() { phase_now = saved_; }

}  // namespace stithy

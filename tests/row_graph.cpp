#include "tests/row_graph.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "engine/core/error.h"
#include "engine/core/hash.h"
#include "engine/core/rng.h"
#include "engine/graph/autograd.h"
#include "engine/graph/op.h"
#include "engine/ops.h"

namespace stithy::testing {
namespace {

// So that the values of a case depend on nothing but its names.
uint64_t seed_of(const std::string& op, const std::string& name) { return hash_bytes(op + '/' + name); }

bool is_float(DType dtype) { return dtype == DType::f32 || dtype == DType::f16 || dtype == DType::bf16; }

Array draw(const Argument& argument, Philox& random) {
  Array array(argument.shape, argument.dtype);
  const int64_t n = array.numel();
  const bool integral = !is_float(argument.dtype);
  const double low = argument.dtype == DType::boolean ? 0 : argument.low;
  const double high = argument.dtype == DType::boolean ? 1 : argument.high;
  const auto allowed = [&](double value) {
    return std::ranges::all_of(argument.avoid,
                               [&](double a) { return std::abs(value - a) >= argument.margin; });
  };
  if (argument.distinct) {
    const double step = integral ? std::max(1.0, std::ceil(argument.margin)) : argument.margin;
    std::vector<double> values;
    for (int64_t k = 0; low + static_cast<double>(k) * step <= high; ++k)
      if (const double value = low + static_cast<double>(k) * step; allowed(value)) values.push_back(value);
    if (static_cast<int64_t>(values.size()) < n)
      throw Error("harness",
                  cat(n, " values at least ", step, " apart do not fit in [", low, ", ", high, "]"),
                  "widen the range or lower the margin");
    for (int64_t i = 0; i < n; ++i) {
      const auto k = static_cast<size_t>(i);
      std::swap(values[k], values[k + random.below(values.size() - k)]);
      array.set(i, values[k]);
    }
    return array;
  }
  for (int64_t i = 0; i < n; ++i) {
    double value = 0;
    int tries = 0;
    do {
      if (++tries > 1000)
        throw Error("harness", cat("nothing is left of [", low, ", ", high, "] by the values to avoid"));
      value = integral ? low + static_cast<double>(random.below(static_cast<uint64_t>(high - low) + 1))
                       : low + (high - low) * random.uniform();
    } while (!allowed(value));
    array.set(i, value);
  }
  return array;
}

const OpDef kCut = {.name = "harness_cut"};

// An op that stands for sum(weights * outputs): its gradient is the weights themselves, so differentiating
// launches no kernels but those under test. It never runs.
std::vector<Tensor> weights_as_gradient(const Backward& b) { return b.attrs<std::vector<Tensor>>(); }
const OpDef kWeightedSum = {.name = "harness", .gradient = weights_as_gradient};

// True for nodes of the op, and those that its gradient built.
bool belongs(const Node& node, const std::string& op, const Graph& graph) {
  return node.op && node.id > graph.forward && (node.id > graph.backward || node.op->name == op);
}

}  // namespace

Cut::Cut(Layout layout, const Shape& x) : shape(x), storage(x), strides(x) {
  if (layout == Layout::contiguous) {
    strides = contiguous_strides(x);
    return;
  }
  if (x.empty()) {
    storage = {3};
    offset = 1;
    return;
  }
  const auto axis_in_storage = [&](int axis) {
    return layout == Layout::strided ? x.rank() - 1 - axis : axis;
  };
  const auto step = [&](int axis) { return layout == Layout::strided && axis == 0 ? 2 : 1; };
  for (int axis = 0; axis < x.rank(); ++axis) storage[axis_in_storage(axis)] = x[axis] * step(axis) + 1;
  const Shape storage_strides = contiguous_strides(storage);
  for (int axis = 0; axis < x.rank(); ++axis) {
    strides[axis] = storage_strides[axis_in_storage(axis)] * step(axis);
    offset += storage_strides[axis_in_storage(axis)];
  }
}

Array Cut::embed(const Array& array) const {
  Array result(storage, array.dtype());
  for (int64_t i = 0; i < result.numel(); ++i)
    result.set(i, is_float(array.dtype()) ? std::numeric_limits<double>::quiet_NaN() : 1e9);
  for (int64_t i = 0; i < array.numel(); ++i) {
    int64_t rest = i, at = offset;
    for (int axis = shape.rank() - 1; axis >= 0; --axis) {
      at += rest % shape[axis] * strides[axis];
      rest /= shape[axis];
    }
    result.set(at, array.at(i));
  }
  return result;
}

Setup::Setup(const std::string& op_name, const Case& test_case)
    : op(op_name), test(test_case), seed(seed_of(op_name, test_case.name)) {
  for (const Argument& argument : test.arguments) {
    Philox random(seed, arguments.size());
    arguments.push_back(draw(argument, random));
  }
}

Array Setup::weights(size_t output, const Shape& shape) const {
  Philox random(seed, 1000 + output);
  return draw({.shape = shape, .low = -1, .high = 1}, random);
}

std::vector<Tensor> Setup::differentiate(std::span<const Tensor> ys, std::span<const Tensor> xs,
                                         std::vector<int>* which) const {
  std::vector<Tensor> summed, weight_tensors, wanted;
  for (size_t i = 0; i < ys.size(); ++i) {
    if (ys[i].dtype() != DType::f32) continue;
    summed.push_back(ys[i]);
    weight_tensors.emplace_back(weights(i, ys[i].shape()));
  }
  for (const int i : *which) wanted.push_back(xs[static_cast<size_t>(i)]);
  if (summed.empty() || wanted.empty()) {
    which->clear();
    return {};
  }
  const Tensor total = make_node(kWeightedSum, weight_tensors, summed, {{Shape{}, DType::f32}});
  return gradients(total, wanted, Unreached::zero, 1.0f);
}

Graph Setup::build(Layout layout, bool between) const {
  Graph graph;
  const auto wrap = [&](std::vector<Tensor>& tensors) {
    for (Tensor& x : tensors)
      if (between && x.dtype() == DType::f32) x = neg(neg(x));
  };
  for (size_t i = 0; i < arguments.size(); ++i) {
    const Cut cut(layout, arguments[i].shape());
    const Tensor& whole = graph.inputs.emplace_back(input(cat("x", i), cut.storage, arguments[i].dtype()));
    graph.xs.push_back(layout == Layout::contiguous
                           ? whole
                           : make_view(kCut, {}, whole, cut.shape, cut.strides, cut.offset));
    if (test.gradient && test.arguments[i].differentiable && arguments[i].dtype() == DType::f32)
      graph.differentiated.push_back(static_cast<int>(i));
  }
  wrap(graph.xs);
  graph.forward = input("mark", {}).node()->id;
  graph.ys = test.build(graph.xs);
  graph.backward = input("mark", {}).node()->id;
  wrap(graph.ys);
  graph.dxs = differentiate(graph.ys, graph.xs, &graph.differentiated);
  wrap(graph.dxs);
  return graph;
}

void visit(const std::vector<Tensor>& from, const std::function<void(const Node&)>& f) {
  std::set<const Node*> seen;
  std::vector<const Node*> open;
  const auto push = [&](const Tensor& t) {
    if (seen.insert(t.node().get()).second) open.push_back(t.node().get());
  };
  for (const Tensor& t : from) push(t);
  while (!open.empty()) {
    const Node* node = open.back();
    open.pop_back();
    f(*node);
    for (const Tensor& t : node->inputs) push(t);
  }
}

std::vector<Tensor> fetches_of(const Graph& graph) {
  std::vector<Tensor> fetches = graph.ys;
  fetches.insert(fetches.end(), graph.dxs.begin(), graph.dxs.end());
  return fetches;
}

std::vector<const Node*> nodes_of(const std::string& op, const Graph& graph) {
  std::vector<const Node*> nodes;
  visit(fetches_of(graph), [&](const Node& node) {
    if (belongs(node, op, graph)) nodes.push_back(&node);
  });
  std::ranges::sort(nodes, {}, &Node::id);
  return nodes;
}

void collect(const Plan& plan, const std::string& op, const Graph& graph, std::set<std::string>& kernels) {
  for (const auto& dispatch : plan.dispatches)
    if (belongs(*dispatch.node, op, graph)) kernels.emplace(dispatch.call.kernel->name);
}

std::vector<Layout> layouts_of(const Case& test, bool quick) {
  const bool contiguous = quick || !test.strided || test.arguments.empty() ||
                          std::ranges::any_of(test.arguments, [](auto& a) { return a.shape.numel() == 0; });
  if (contiguous) return {Layout::contiguous};
  return {Layout::contiguous, Layout::window, Layout::strided};
}

size_t candidates_of(std::span<const PlannedChoice> choices) {
  size_t count = 1;
  for (const PlannedChoice& planned : choices) count = std::max(count, planned.choice.labels.size());
  return count;
}

Chooser force(size_t i) {
  return [i](const Choice&) { return i; };
}

}  // namespace stithy::testing

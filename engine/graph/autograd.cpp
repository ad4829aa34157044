#include "engine/graph/autograd.h"

#include <algorithm>
#include <map>
#include <set>
#include <unordered_set>

#include "engine/graph/op.h"

namespace stithy {
namespace {

AutogradOps provided;

using Key = std::pair<const Node*, int>;
Key key_of(const Tensor& tensor) { return {tensor.node().get(), tensor.output()}; }

// Nodes that `root` depends on, itself included.
std::unordered_set<const Node*> ancestors(const Node* root) {
  std::unordered_set<const Node*> seen{root};
  std::vector<const Node*> open{root};
  while (!open.empty()) {
    const Node* node = open.back();
    open.pop_back();
    for (const Tensor& x : node->inputs)
      if (seen.insert(x.node().get()).second) open.push_back(x.node().get());
  }
  return seen;
}

bool is_float(DType dtype) { return dtype == DType::f32 || dtype == DType::f16 || dtype == DType::bf16; }

std::string name_of_target(const Tensor& x, size_t i) {
  const Node& node = *x.node();
  return node.kind == NodeKind::op ? cat(node.label(), " ", x.shape(), " (number ", i, ")") : node.label();
}

// With `stop_at_targets` the xs count as independent of each other, as the inputs of a node are.
std::vector<Tensor> differentiate(const Tensor& loss, std::span<const Tensor> xs, Unreached unreached,
                                  const Tensor& seed, bool stop_at_targets);

// The gradients of one node by input: its op's own, or the chain rule through its composition.
std::vector<Tensor> node_gradients(const Node& node, const std::vector<Tensor>& dys,
                                   const std::vector<bool>& needed) {
  if (node.op->gradient) return node.op->gradient({node, dys, needed});
  if (!node.op->composition)
    throw Error("gradients", cat(node.op->name, " is not differentiable"),
                "use stop_gradient() on its input");
  const std::vector<Tensor> ys = node.op->composition(node);
  std::vector<Tensor> dxs(node.inputs.size());
  for (size_t o = 0; o < ys.size(); ++o) {
    if (!dys[o].defined()) continue;
    const std::vector<Tensor> parts = differentiate(ys[o], node.inputs, Unreached::zero, dys[o], true);
    // What an input that is there twice gets, stands in its first place: it is for both.
    for (size_t i = 0; i < dxs.size(); ++i)
      if (needed[i] &&
          std::find(node.inputs.begin(), node.inputs.end(), node.inputs[i]) - node.inputs.begin() ==
              static_cast<std::ptrdiff_t>(i))
        dxs[i] = dxs[i].defined() ? provided.add(dxs[i], parts[i]) : parts[i];
  }
  return dxs;
}

// The nodes of regions that are computed anew, region by region when backward first comes to one: then the
// values of others are gone already.
class Recomputation {
 public:
  explicit Recomputation(const std::vector<const Node*>& order) {
    for (const Node* node : order)
      if (node->region && node->kind == NodeKind::op) regions_[node->region].push_back(node);
  }
  // The node to differentiate: its copy where it is in a region. Of the copies only those run that something
  // reads.
  const Node& of(const Node& node) {
    if (!node.region) return node;
    std::vector<const Node*>& nodes = regions_.at(node.region);
    for (const Node* original : nodes) {
      std::vector<Tensor> inputs = original->inputs;
      for (Tensor& x : inputs)
        if (const auto copy = copies_.find(x.node().get()); copy != copies_.end())
          x = Tensor(copy->second, x.output());
      const ScopeGuard scope(original->scope, true);
      copies_[original] = copy_node(*original, std::move(inputs));
    }
    nodes.clear();
    return *copies_.at(&node);
  }

 private:
  std::map<uint64_t, std::vector<const Node*>> regions_;
  std::map<const Node*, std::shared_ptr<Node>> copies_;
};

std::vector<Tensor> differentiate(const Tensor& loss, std::span<const Tensor> xs, Unreached unreached,
                                  const Tensor& seed, bool stop_at_targets) {
  const std::unordered_set<const Node*> relevant = ancestors(loss.node().get());
  std::vector<const Node*> order(relevant.begin(), relevant.end());
  std::sort(order.begin(), order.end(), [](const Node* a, const Node* b) { return a->id < b->id; });

  std::set<Key> targets;
  for (const Tensor& x : xs) targets.insert(key_of(x));
  std::unordered_set<const Node*> leads;  // nodes through which a target can be reached
  const auto needs = [&](const Tensor& x) {
    return targets.contains(key_of(x)) || leads.contains(x.node().get());
  };
  for (const Node* node : order)
    if (std::any_of(node->inputs.begin(), node->inputs.end(), needs)) leads.insert(node);

  const PhaseGuard backward(Phase::backward);
  Recomputation recomputation(order);
  std::map<Key, Tensor> grads;
  grads[key_of(loss)] = seed.defined() ? seed : provided.full(loss.shape(), 1.0f);
  // In reverse order of building a node's gradients are complete when it is met.
  for (auto it = order.rbegin(); it != order.rend(); ++it) {
    const Node& node = **it;
    if (!leads.contains(&node)) continue;
    std::vector<Tensor> dys;
    for (int i = 0; i < static_cast<int>(node.outputs.size()); ++i) {
      const auto found = grads.find({&node, i});
      const bool stop = stop_at_targets && targets.contains({&node, i});
      dys.push_back(found == grads.end() || stop ? Tensor() : found->second);
    }
    std::vector<bool> needed;
    for (const Tensor& x : node.inputs) needed.push_back(needs(x) && is_float(x.dtype()));
    const bool reached = std::any_of(dys.begin(), dys.end(), [](const Tensor& dy) { return dy.defined(); });
    if (!reached || std::find(needed.begin(), needed.end(), true) == needed.end()) continue;

    const ScopeGuard scope(node.scope, true);
    const std::vector<Tensor> dxs = node_gradients(recomputation.of(node), dys, needed);
    for (size_t i = 0; i < dxs.size() && i < node.inputs.size(); ++i) {
      if (!dxs[i].defined() || !needed[i]) continue;
      if (!(dxs[i].shape() == node.inputs[i].shape()))
        throw Error("gradients", cat("the gradient of ", node.op->name, " for input ", i, " has shape ",
                                     dxs[i].shape(), ", the input ", node.inputs[i].shape()));
      Tensor& total = grads[key_of(node.inputs[i])];
      total = total.defined() ? provided.add(total, dxs[i]) : dxs[i];
    }
  }

  std::vector<Tensor> result;
  for (size_t i = 0; i < xs.size(); ++i) {
    const auto found = grads.find(key_of(xs[i]));
    if (found == grads.end() && unreached == Unreached::error)
      throw Error("gradients", cat("no gradient of the loss reaches ", name_of_target(xs[i], i)),
                  "leave it out, or ask for zero gradients with Unreached::zero");
    result.push_back(found == grads.end() ? provided.full(xs[i].shape(), 0.0f) : found->second);
  }
  return result;
}

}  // namespace

bool provide_autograd_ops(const AutogradOps& ops) {
  provided = ops;
  return true;
}

std::vector<Tensor> gradients(const Tensor& loss, std::span<const Tensor> xs, Unreached unreached,
                              const Tensor& seed) {
  if (loss.dtype() != DType::f32) throw Error("gradients", cat("the loss must be f32, it is ", loss.dtype()));
  if (!seed.defined() && loss.numel() != 1)
    throw Error("gradients", cat("the loss must be a scalar, its shape is ", loss.shape()),
                "reduce it with sum() or mean(), or give a seed");
  if (seed.defined() && !(seed.shape() == loss.shape()))
    throw Error("gradients", cat("the seed's shape ", seed.shape(), " is not the loss's ", loss.shape()));
  return differentiate(loss, xs, unreached, seed, false);
}

}  // namespace stithy

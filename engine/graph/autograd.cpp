#include "engine/graph/autograd.h"

#include <algorithm>
#include <map>
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

std::string name_of_target(const Tensor& x, size_t i) {
  const Node& node = *x.node();
  return node.kind == NodeKind::op ? cat(node.label(), " ", x.shape(), " (number ", i, ")") : node.label();
}

std::vector<Tensor> differentiate(const Tensor& loss, std::span<const Tensor> xs, Unreached unreached,
                                  const Tensor& seed, bool stop_at_targets);

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

namespace {

// With `stop_at_targets` the xs count as independent of each other, as the inputs of a node are.
std::vector<Tensor> differentiate(const Tensor& loss, std::span<const Tensor> xs, Unreached unreached,
                                  const Tensor& seed, bool stop_at_targets) {
  const std::unordered_set<const Node*> relevant = ancestors(loss.node().get());
  // Walks up from the loss in reverse order of building, so that a node's gradients are complete when it is
  // met.
  const auto later = [](const Node* a, const Node* b) { return a->id < b->id; };
  std::vector<const Node*> order(relevant.begin(), relevant.end());
  std::sort(order.begin(), order.end(), later);

  std::map<Key, bool> targets;
  for (const Tensor& x : xs) targets[key_of(x)] = true;
  // A tensor's gradient is needed when it is a target or leads to one through inputs.
  std::unordered_set<const Node*> leads;
  const auto needs = [&](const Tensor& x) {
    return targets.contains(key_of(x)) || leads.contains(x.node().get());
  };
  for (const Node* node : order)
    for (const Tensor& x : node->inputs)
      if (needs(x)) {
        leads.insert(node);
        break;
      }

  const PhaseGuard backward(Phase::backward);
  std::map<Key, Tensor> grads;
  grads[key_of(loss)] = seed.defined() ? seed : provided.full(loss.shape(), 1.0f);
  for (auto it = order.rbegin(); it != order.rend(); ++it) {
    const Node& node = **it;
    if (!leads.contains(&node)) continue;
    std::vector<Tensor> dys(node.outputs.size());
    bool any = false;
    for (size_t i = 0; i < dys.size(); ++i)
      if (const auto found = grads.find({&node, static_cast<int>(i)});
          found != grads.end() && !(stop_at_targets && targets.contains(found->first)))
        dys[i] = found->second, any = true;
    if (!any) continue;
    std::vector<bool> wanted;
    for (const Tensor& x : node.inputs)
      wanted.push_back(needs(x) && x.dtype() != DType::i32 && x.dtype() != DType::boolean);
    if (std::find(wanted.begin(), wanted.end(), true) == wanted.end()) continue;

    const ScopeGuard scope(node.scope, true);
    std::vector<Tensor> dxs;
    if (node.op->gradient) {
      dxs = node.op->gradient({node, dys, wanted});
    } else if (node.op->composition) {
      // The chain rule through the composition: its outputs stand for the node's.
      const std::vector<Tensor> ys = node.op->composition(node);
      dxs.resize(node.inputs.size());
      for (size_t o = 0; o < ys.size(); ++o) {
        if (!dys[o].defined()) continue;
        const std::vector<Tensor> parts = differentiate(ys[o], node.inputs, Unreached::zero, dys[o], true);
        for (size_t i = 0; i < dxs.size(); ++i)
          if (wanted[i]) dxs[i] = dxs[i].defined() ? provided.add(dxs[i], parts[i]) : parts[i];
      }
    } else {
      throw Error("gradients", cat(node.op->name, " is not differentiable"),
                  "use stop_gradient() on its input");
    }
    for (size_t i = 0; i < dxs.size() && i < node.inputs.size(); ++i) {
      if (!dxs[i].defined() || !wanted[i]) continue;
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
      throw Error("gradients", cat("the loss does not depend on ", name_of_target(xs[i], i)),
                  "leave it out, or ask for zero gradients with Unreached::zero");
    result.push_back(found == grads.end() ? provided.full(xs[i].shape(), 0.0f) : found->second);
  }
  return result;
}

}  // namespace
}  // namespace stithy

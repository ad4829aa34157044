#include "engine/graph/op.h"

#include <map>
#include <memory>

namespace stithy {
namespace {

std::map<std::string_view, std::unique_ptr<OpDef>>& registry() {
  static auto* ops = new std::map<std::string_view, std::unique_ptr<OpDef>>;
  return *ops;
}

}  // namespace

const OpDef& define_op(const OpDef& op) {
  auto [place, inserted] = registry().emplace(op.name, std::make_unique<OpDef>(op));
  if (!inserted) throw Error("op", cat("\"", op.name, "\" is defined twice"));
  return *place->second;
}

double node_flops(const Node& node) {
  if (node.kind != NodeKind::op || !node.op->launch) return 0;
  return node.op->flops ? node.op->flops(node) : static_cast<double>(node.out().shape.numel());
}

std::vector<const OpDef*> all_ops() {
  std::vector<const OpDef*> ops;
  for (const auto& [name, op] : registry()) ops.push_back(op.get());
  return ops;
}

}  // namespace stithy

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

std::vector<const OpDef*> all_ops() {
  std::vector<const OpDef*> ops;
  for (const auto& [name, op] : registry()) ops.push_back(op.get());
  return ops;
}

}  // namespace stithy

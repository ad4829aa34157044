#include "engine/graph/launch.h"

#include <algorithm>

#include "engine/core/error.h"
#include "engine/graph/op.h"

namespace stithy {

Ref Launch::in(int i) const {
  const Tensor& x = node_.in(i);
  const Value& value = x.node()->out(x.output());
  return {value.storage_node, value.storage_output, -1};
}

Ref Launch::out(int i) const {
  const Value& value = node_.out(i);
  return {value.storage_node, value.storage_output, -1};
}

bool Launch::in_place(int i) const {
  return static_cast<size_t>(i) < in_place_.size() && in_place_[static_cast<size_t>(i)];
}

Ref Launch::scratch(uint64_t bytes) {
  scratch_bytes_.push_back(bytes);
  return {&node_, 0, static_cast<int>(scratch_bytes_.size()) - 1};
}

Window make_window(const Ref& whole, uint64_t offset, uint64_t bytes) {
  auto node = std::make_shared<Node>();
  node->outputs.resize(1);
  return {std::move(node), whole, offset, bytes};
}

Ref Launch::window(const Ref& whole, uint64_t offset, uint64_t bytes) {
  const auto known = std::find_if(windows_.begin(), windows_.end(), [&](const Window& w) {
    return w.whole.node == whole.node && w.whole.output == whole.output && w.whole.scratch == whole.scratch &&
           w.offset == offset && w.bytes == bytes;
  });
  if (known != windows_.end()) return {known->node.get(), 0, -1};
  windows_.push_back(make_window(whole, offset, bytes));
  return {windows_.back().node.get(), 0, -1};
}

Groups Launch::grid(uint64_t count) const {
  const uint64_t x = std::min<uint64_t>(count, device_.max_groups[0]);
  const uint64_t y = x ? (count + x - 1) / x : 1;
  if (y > device_.max_groups[1])
    throw Error(node_.label(),
                cat("needs ", count, " workgroups, more than ", device_.name, " can start at once"),
                "split the tensor");
  return {static_cast<uint32_t>(x), static_cast<uint32_t>(y), 1};
}

size_t Launch::choose(Choice choice) {
  if (choice.labels.empty()) throw Error(node_.label(), "offers no way to run");
  if (choice.labels.size() == 1) return 0;
  choice.key = cat(node_.op->name, " ", choice.key);
  choice.taken = chooser_ ? std::min(chooser_(choice), choice.labels.size() - 1) : 0;
  choices_.push_back(std::move(choice));
  return choices_.back().taken;
}

void Launch::add(PlannedCall call) {
  const Groups& g = call.groups;
  if (g.x == 0 || g.y == 0 || g.z == 0) return;
  if (g.x > device_.max_groups[0] || g.y > device_.max_groups[1] || g.z > device_.max_groups[2])
    throw Error(node_.label(),
                cat("kernel ", call.call.kernel->name, " needs ", g.x, " x ", g.y, " x ", g.z,
                    " workgroups, more than ", device_.name, " can start at once"),
                "split the tensor");
  calls_.push_back(std::move(call));
}

}  // namespace stithy

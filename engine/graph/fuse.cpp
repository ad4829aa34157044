#include "engine/graph/fuse.h"

#include <algorithm>
#include <limits>
#include <map>
#include <set>

#include "engine/graph/op.h"
#include "engine/graph/plan.h"

namespace stithy {
namespace {

constexpr size_t kMaxOps = 24, kMaxBindings = 12;
// Bindings that an anchor's own kernel may have.
constexpr size_t kAnchorBindings = 6;

const Node* storage_node(const Tensor& x) { return x.node()->out(x.output()).storage_node; }
int storage_output(const Tensor& x) { return x.node()->out(x.output()).storage_output; }
bool is_update(const Node& node) {
  return node.kind == NodeKind::op && node.op->launch &&
         std::any_of(node.outputs.begin(), node.outputs.end(),
                     [](const Value& v) { return v.storage_node->kind == NodeKind::variable; });
}

struct Group {
  std::set<int> before, after;  // places in the order of running
  int anchor = -1;
  bool alive = true;
  std::vector<int> all() const {
    std::vector<int> all(before.begin(), before.end());
    all.insert(all.end(), after.begin(), after.end());
    if (anchor >= 0) all.push_back(anchor);
    std::sort(all.begin(), all.end());
    return all;
  }
  bool has(int place) const { return place == anchor || before.contains(place) || after.contains(place); }
};

class Finder {
 public:
  Finder(const std::vector<const Node*>& nodes, const std::vector<Tensor>& fetches,
         const vk::DeviceInfo& device)
      : nodes_(nodes), device_(device) {
    for (size_t i = 0; i < nodes.size(); ++i) places_[nodes[i]] = static_cast<int>(i);
    users_.resize(nodes.size());
    readers_.resize(nodes.size());
    for (size_t i = 0; i < nodes.size(); ++i) {
      const Node& node = *nodes[i];
      if (node.kind != NodeKind::op || !node.op->launch) continue;
      if (is_update(node)) updates_.push_back(static_cast<int>(i));
      for (const Tensor& x : node.inputs) {
        std::vector<int>& users = users_[static_cast<size_t>(places_.at(storage_node(x)))];
        if (users.empty() || users.back() != static_cast<int>(i)) users.push_back(static_cast<int>(i));
        if (storage_output(x) != 0) continue;
        std::vector<int>& readers = readers_[static_cast<size_t>(places_.at(storage_node(x)))];
        if (readers.empty() || readers.back() != static_cast<int>(i)) readers.push_back(static_cast<int>(i));
      }
    }
    for (const Tensor& x : fetches) {
      const auto place = static_cast<size_t>(places_.at(storage_node(x)));
      users_[place].push_back(std::numeric_limits<int>::max());
      if (storage_output(x) == 0) readers_[place].push_back(std::numeric_limits<int>::max());
    }
    group_of_.assign(nodes.size(), -1);
  }

  std::vector<FusedGroup> run() {
    for (int i = 0; i < static_cast<int>(nodes_.size()); ++i) {
      if (is_pointwise(node(i)))
        add_pointwise(i);
      else if (node(i).kind == NodeKind::op && node(i).op->fuses_input)
        add_anchor(i);
    }
    std::vector<FusedGroup> found;
    for (const Group& group : groups_)
      if (group.alive && group.all().size() > 1) found.push_back(finished(group));
    return found;
  }

 private:
  const Node& node(int place) const { return *nodes_[static_cast<size_t>(place)]; }

  bool is_pointwise(const Node& n) const {
    if (n.kind != NodeKind::op || !n.op->pointwise || n.outputs.size() != 1 || n.out().shape.numel() == 0)
      return false;
    if (n.out().storage_node != &n || too_large(n.tensor())) return false;
    return std::all_of(n.inputs.begin(), n.inputs.end(),
                       [&](const Tensor& x) { return x.shape() == n.out().shape && !too_large(x); });
  }
  bool too_large(const Tensor& x) const {
    const Value& value = storage_node(x)->out(x.node()->out(x.output()).storage_output);
    return storage_bytes(value) > device_.max_storage_buffer_range;
  }
  bool can_follow(const Node& n, const Shape& shape) const {
    return n.kind == NodeKind::op && n.op->fuses_output && n.out().storage_node == &n &&
           n.out().dtype == DType::f32 && n.out().shape == shape && !too_large(n.tensor());
  }

  // Whether only an op that takes pointwise ops before it reads the value.
  bool feeds_anchor(int place) const {
    const std::vector<int>& users = users_[static_cast<size_t>(place)];
    if (users.size() != 1 || users[0] == std::numeric_limits<int>::max()) return false;
    const Node& user = node(users[0]);
    return user.op->fuses_input && storage_node(user.in(0)) == &node(place);
  }

  void add_pointwise(int place) {
    const Node& n = node(place);
    int current = static_cast<int>(groups_.size());
    groups_.push_back({});
    groups_.back().after.insert(place);
    group_of_[static_cast<size_t>(place)] = current;
    for (const Tensor& x : n.inputs) {
      const Node* from = storage_node(x);
      const int at = places_.at(from);
      if (group_of_[static_cast<size_t>(at)] == current || !is_whole(x, *from)) continue;
      // Better computed where it is read than written beside a value that is written anyhow.
      if (feeds_anchor(place) && users_[static_cast<size_t>(at)].size() > 1) continue;
      int other = group_of_[static_cast<size_t>(at)];
      const bool follows = can_follow(*from, n.out().shape);
      if (other < 0) {
        if (!follows) continue;
        groups_.push_back({});
        other = static_cast<int>(groups_.size()) - 1;
        groups_.back().anchor = at;
      } else if (groups_[static_cast<size_t>(other)].before.contains(at) ||
                 (groups_[static_cast<size_t>(other)].anchor == at && !follows)) {
        continue;
      }
      merge(static_cast<size_t>(other), static_cast<size_t>(current), place);
      current = group_of_[static_cast<size_t>(place)];
    }
  }

  // Makes the two groups one where that is right; `last` is the place of the latest op of both.
  void merge(size_t a, size_t b, int last) {
    Group joined = groups_[a];
    const Group& other = groups_[b];
    if (joined.anchor >= 0 && other.anchor >= 0) return;
    joined.anchor = std::max(joined.anchor, other.anchor);
    joined.before.insert(other.before.begin(), other.before.end());
    joined.after.insert(other.after.begin(), other.after.end());
    if (!is_right(joined, last)) return;
    groups_[a] = joined;
    groups_[b].alive = false;
    for (int place : joined.all()) group_of_[static_cast<size_t>(place)] = static_cast<int>(a);
  }

  void add_anchor(int place) {
    const Node& n = node(place);
    const Tensor& x = n.in(0);
    if (x.dtype() != DType::f32) return;
    const int from = places_.at(storage_node(x)), producer = group_of_[static_cast<size_t>(from)];
    if (producer < 0 || groups_[static_cast<size_t>(producer)].anchor >= 0) return;
    Group joined;
    joined.before = groups_[static_cast<size_t>(producer)].after;
    joined.anchor = place;
    // Only the anchor may need what comes before it, and only through input 0.
    for (int member : joined.before)
      for (int user : users_[static_cast<size_t>(member)])
        if (!joined.before.contains(user) && (member != from || user != place)) return;
    for (size_t i = 1; i < n.inputs.size(); ++i)
      if (joined.before.contains(places_.at(storage_node(n.inputs[i])))) return;
    if (!is_right(joined, place)) return;
    groups_[static_cast<size_t>(producer)] = joined;
    group_of_[static_cast<size_t>(place)] = producer;
  }

  // Whether the group may run as one kernel at the place of its last op.
  bool is_right(const Group& group, int last) const {
    const std::vector<int> all = group.all();
    if (all.size() > kMaxOps) return false;
    for (int place : all) {
      // Whoever needs a value must come after it is made.
      for (int user : users_[static_cast<size_t>(place)])
        if (!group.has(user) && user <= last) return false;
      for (size_t i = 0; i < node(place).inputs.size(); ++i) {
        const Tensor& x = node(place).inputs[i];
        const int from = places_.at(storage_node(x));
        if (group.has(from)) {
          // A value within the kernel is there for its own element alone; the anchor sees others only as its
          // input 0.
          if (place == group.anchor ? i != 0 || !group.before.contains(from) : !is_whole(x, node(from)))
            return false;
          if (group.before.contains(from) && group.after.contains(place)) return false;
        } else if (storage_node(x)->kind == NodeKind::variable) {
          // It must be read before it is updated.
          for (int update : updates_)
            if (update > place && update <= last) return false;
        }
      }
    }
    const Chain before = chain(group, true), after = chain(group, false);
    for (const Chain* c : {&before, &after})
      if (!c->ops.empty() && !c->anchor && binding_count(*c) == c->results.size())
        return false;  // literals alone
    size_t bindings = 0;
    if (!before.ops.empty()) bindings += binding_count(before);
    if (!after.ops.empty()) bindings += binding_count(after);
    if (group.anchor >= 0) {
      bindings += kAnchorBindings;
      // The anchor's kernel stores element by element, which takes whole words, and f32 in its own place.
      for (const Node* op : after.results)
        if (size_of(op->out().dtype) != 4) return false;
      if (!after.ops.empty() && after.ops.back()->out().dtype != DType::f32) return false;
    }
    return bindings <= std::min<size_t>(kMaxBindings, device_.max_bindings);
  }

  Chain chain(const Group& group, bool is_before) const {
    Chain chain;
    for (int place : is_before ? group.before : group.after) {
      chain.ops.push_back(&node(place));
      if (needed(group, place, is_before)) chain.results.push_back(&node(place));
    }
    if (!is_before && group.anchor >= 0) {
      chain.anchor = &node(group.anchor);
      if (!group.after.empty() && needed(group, group.anchor, false)) chain.results.push_back(chain.anchor);
    }
    return chain;
  }
  // Whether the place's value is needed in memory, or, before the anchor, by it.
  bool needed(const Group& group, int place, bool is_before) const {
    const std::vector<int>& users = readers_[static_cast<size_t>(place)];
    if (users.empty()) return true;
    return std::any_of(users.begin(), users.end(),
                       [&](int user) { return is_before ? !group.before.contains(user) : !group.has(user); });
  }

  FusedGroup finished(const Group& group) const {
    FusedGroup out{chain(group, true), group.anchor >= 0 ? &node(group.anchor) : nullptr, chain(group, false),
                   0};
    for (int place : group.all()) {
      const bool before = group.before.contains(place);
      if (!before && needed(group, place, false)) continue;
      if (place == group.anchor && group.after.empty()) continue;
      // Written once, read by each user.
      out.saved_bytes += storage_bytes(node(place).out()) * (1 + readers_[static_cast<size_t>(place)].size());
    }
    return out;
  }

  const std::vector<const Node*>& nodes_;
  const vk::DeviceInfo& device_;
  std::map<const Node*, int> places_;
  std::vector<std::vector<int>>
      users_,    // by place: who reads its storage, in order; the greatest int for a fetch
      readers_;  // the same of output 0 alone, which is what may stay within a kernel
  std::vector<int> updates_, group_of_;
  std::vector<Group> groups_;
};

}  // namespace

std::vector<const Node*> FusedGroup::members() const {
  std::vector<const Node*> all = before.ops;
  if (anchor) all.push_back(anchor);
  all.insert(all.end(), after.ops.begin(), after.ops.end());
  std::sort(all.begin(), all.end(), [](const Node* a, const Node* b) { return a->id < b->id; });
  return all;
}

std::vector<FusedGroup> find_fusions(const std::vector<const Node*>& nodes,
                                     const std::vector<Tensor>& fetches, const vk::DeviceInfo& device) {
  return Finder(nodes, fetches, device).run();
}

}  // namespace stithy

#include "engine/graph/variable.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <set>
#include <vector>

#include "engine/core/error.h"
#include "engine/graph/node.h"
#include "engine/graph/plan.h"
#include "engine/graph/variable_state.h"

namespace stithy {
namespace {

std::atomic<uint64_t> moves{0};

}  // namespace

Variable::Variable(const std::string& name, const Array& initial)
    : Variable(std::make_shared<VariableState>(VariableState{
          .name = name, .shape = initial.shape(), .dtype = initial.dtype(), .initial = initial})) {}

Variable::Variable(std::shared_ptr<VariableState> state) : state_(std::move(state)) {
  std::shared_ptr<Node> node = state_->node.lock();
  if (!node) {
    node = std::make_shared<Node>();
    node->kind = NodeKind::variable;
    node->variable = state_;
    node->outputs.push_back(
        {state_->shape, state_->dtype, contiguous_strides(state_->shape), 0, node.get(), 0});
    state_->node = node;
  }
  tensor_ = Tensor(std::move(node));
}

const std::string& Variable::name() const { return state_->name; }
void Variable::rename(const std::string& name) { state_->name = name; }

Array Variable::value() const {
  const auto [place, offset] = place_of(state_);
  Array result(state_->shape, state_->dtype);
  if (place->buffer)
    place->device->read(*place->buffer, place->offset + offset, result.bytes());
  else if (!result.bytes().empty())
    std::memcpy(result.bytes().data(), place->initial.bytes().data() + offset, result.bytes().size());
  return result;
}

void Variable::set(const Array& value) {
  if (!(value.shape() == state_->shape) || value.dtype() != state_->dtype)
    throw Error(state_->name, cat("is ", state_->dtype, " ", state_->shape, " and cannot be set to ",
                                  value.dtype(), " ", value.shape()));
  const auto [place, offset] = place_of(state_);
  if (place->buffer)
    place->device->write(*place->buffer, place->offset + offset, value.bytes());
  else if (!value.bytes().empty())
    std::memcpy(place->initial.bytes().data() + offset, value.bytes().data(), value.bytes().size());
}

std::pair<std::shared_ptr<VariableState>, uint64_t> place_of(std::shared_ptr<VariableState> variable) {
  uint64_t offset = 0;
  for (; variable->owner; variable = variable->owner) offset += variable->owner_offset;
  return {std::move(variable), offset};
}

uint64_t variable_moves() { return moves; }

int64_t arena_alignment(DType dtype) { return static_cast<int64_t>(kAlignment / size_of(dtype)); }
int64_t arena_elements(int64_t numel, DType dtype) {
  const int64_t alignment = arena_alignment(dtype);
  return (std::max<int64_t>(numel, 1) + alignment - 1) / alignment * alignment;
}

Variable make_arena(const std::string& name, std::span<const Variable> parts) {
  if (parts.empty()) throw Error(name, "an arena needs at least one variable");
  std::set<const VariableState*> different;
  std::vector<uint64_t> offsets;
  int64_t elements = 0;
  for (const Variable& part : parts) {
    if (!part.defined()) throw Error(name, "a part of the arena is undefined");
    if (part.dtype() != parts[0].dtype())
      throw Error(name, cat(part.name(), " is ", part.dtype(), ", ", parts[0].name(), " ", parts[0].dtype()),
                  "one arena holds one dtype");
    if (!different.insert(part.state_.get()).second) throw Error(name, cat(part.name(), " is given twice"));
    offsets.push_back(static_cast<uint64_t>(elements) * size_of(part.dtype()));
    elements += arena_elements(part.shape().numel(), part.dtype());
  }
  const std::shared_ptr<VariableState> owner = parts[0].state_->owner;
  bool together = owner && owner->shape == Shape{elements};
  for (size_t i = 0; i < parts.size() && together; ++i)
    together = parts[i].state_->owner == owner && parts[i].state_->owner_offset == offsets[i];
  if (together) return Variable(owner);
  // Whoever updates the other arena as a whole would no longer reach the part.
  for (const Variable& part : parts)
    if (part.state_->owner && !part.state_->owner->node.expired()) return {};

  Array values({elements}, parts[0].dtype());
  bool moved = false;
  for (size_t i = 0; i < parts.size(); ++i) {
    const Array value = parts[i].value();
    if (!value.bytes().empty())
      std::memcpy(values.bytes().data() + offsets[i], value.bytes().data(), value.bytes().size());
    moved = moved || place_of(parts[i].state_).first->buffer;
  }
  const Variable arena(name, values);
  for (size_t i = 0; i < parts.size(); ++i) {
    VariableState& part = *parts[i].state_;
    part.initial = Array();
    part.device.reset();
    part.buffer.reset();
    part.offset = 0;
    part.owner = arena.state_;
    part.owner_offset = offsets[i];
  }
  if (moved) ++moves;
  return arena;
}

}  // namespace stithy

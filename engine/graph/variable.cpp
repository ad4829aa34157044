#include "engine/graph/variable.h"

#include "engine/core/error.h"
#include "engine/graph/node.h"
#include "engine/graph/variable_state.h"

namespace stithy {

Variable::Variable(const std::string& name, const Array& initial)
    : state_(std::make_shared<VariableState>()) {
  state_->name = name;
  state_->shape = initial.shape();
  state_->dtype = initial.dtype();
  state_->initial = initial;
  auto node = std::make_shared<Node>();
  node->kind = NodeKind::variable;
  node->variable = state_;
  node->outputs.push_back(
      {initial.shape(), initial.dtype(), contiguous_strides(initial.shape()), 0, node.get(), 0});
  tensor_ = Tensor(std::move(node));
}

const std::string& Variable::name() const { return state_->name; }
void Variable::rename(const std::string& name) { state_->name = name; }

Array Variable::value() const {
  if (!state_->buffer) return state_->initial;
  Array result(state_->shape, state_->dtype);
  state_->device->read(*state_->buffer, state_->offset, result.bytes());
  return result;
}

void Variable::set(const Array& value) {
  if (!(value.shape() == state_->shape) || value.dtype() != state_->dtype)
    throw Error(state_->name, cat("is ", state_->dtype, " ", state_->shape, " and cannot be set to ",
                                  value.dtype(), " ", value.shape()));
  if (state_->buffer)
    state_->device->write(*state_->buffer, state_->offset, value.bytes());
  else
    state_->initial = value;
}

}  // namespace stithy

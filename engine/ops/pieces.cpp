// How ops on tensors beyond a binding's limit are cut; see engine/graph/pieces.h. Pointwise ops are by
// nature. Of the others, those that are named neither here nor beside their launch are refused for such
// tensors.
#include "engine/graph/pieces.h"

namespace stithy {
namespace {

// Inputs: logits, targets, class weights where there are any, lse, dy, divisor.
int cross_entropy_backward(const Node& n, int input, int axis) {
  const Shape &out = n.out().shape, &shape = n.in(input).shape();
  if (axis + 1 == out.rank()) return kNever;
  if (input < 2) return axis;
  const bool by_rows = shape.rank() == out.rank() - 1 && shape.numel() == out.numel() / out.back();
  return by_rows && shape.numel() > 1 ? axis : kWhole;
}

[[maybe_unused]] const bool kDefined =
    define_cut(cut_by_element, {"assign", "sgd_update", "adam_update", "nadam_update", "rmsprop_update",
                                "adagrad_update", "lion_update"}) &&
    define_cut(cut_by_row, {"softmax", "softmax_backward", "log_softmax", "log_softmax_backward"}) &&
    define_cut(cross_entropy_backward, {"cross_entropy_backward"});

}  // namespace
}  // namespace stithy

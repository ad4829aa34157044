// Reverse-mode differentiation. The backward pass is ordinary graph, so it can be differentiated again.
#pragma once

#include <span>
#include <vector>

#include "engine/graph/tensor.h"

namespace stithy {

enum class Unreached : uint8_t { error, zero };

// d loss / d x for each x, with x's shape. `loss` is a scalar of f32, unless `seed`, the gradient with
// respect to loss, is given in its shape. An x that the loss does not depend on throws Error naming it, or
// gets zeros.
std::vector<Tensor> gradients(const Tensor& loss, std::span<const Tensor> xs,
                              Unreached unreached = Unreached::error, const Tensor& seed = {});

// The two ops that differentiation itself needs; the ops room provides them.
struct AutogradOps {
  Tensor (*add)(const Tensor& a, const Tensor& b);
  Tensor (*full)(const Shape& shape, float value);
};
bool provide_autograd_ops(const AutogradOps& ops);

}  // namespace stithy

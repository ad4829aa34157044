// Placing a tensor into a larger one: what pad does, and the gradient of slice.
#pragma once

#include "engine/graph/tensor.h"

namespace stithy {

// Element i of the placed tensor goes to begin + i * step, in each dimension.
struct Region {
  Shape begin, step;
};

// A tensor of `shape`, `value` everywhere but in the region, where it holds x. x: any dtype.
Tensor place(const Tensor& x, const Shape& shape, const Region& region, float value);

}  // namespace stithy

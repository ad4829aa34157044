// Dropout by a stream that is known already, for ops that draw in their own kernels.
#pragma once

#include "engine/graph/tensor.h"

namespace stithy {

// As dropout(); state is Generator::state().
Tensor dropout_of_stream(const Tensor& x, float p, uint32_t stream, const Tensor& state);

}  // namespace stithy

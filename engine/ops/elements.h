// How the kernels of pointwise ops and copies walk strided tensors: the host side of shaders/elements.glsl.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <string_view>

#include "engine/graph/op.h"
#include "engine/graph/walk.h"

namespace stithy {

// Adds a call of a kernel whose invocations make four of `count` elements each.
template <class Kernel>
void launch_elements(Launch& launch, Kernel kernel, uint32_t count) {
  kernel.spec.local_size_x =
      launch.device().is_cpu() ? 64 : std::min(256u, launch.device().max_workgroup_invocations);
  const uint64_t invocations = (uint64_t{count} + 3) / 4;
  launch(kernel, launch.grid((invocations + kernel.spec.local_size_x - 1) / kernel.spec.local_size_x));
}

// Throw Error, named `op`, where a tensor is undefined or of none of the dtypes.
void require_dtype(std::string_view op, const Tensor& x, std::initializer_list<DType> dtypes);
bool is_float(DType dtype);

}  // namespace stithy

// The host side of shaders/row.glsl: kernels in which a workgroup works on one row.
#pragma once

#include <algorithm>

#include "engine/graph/op.h"

namespace stithy {

// A tensor as a matrix whose rows are its last axis.
struct Rows {
  uint32_t rows = 1, columns = 1;
};
inline Rows rows_of(const Shape& shape) {
  Rows r{.rows = 1, .columns = shape.empty() ? 1 : static_cast<uint32_t>(shape.back())};
  for (int d = 0; d + 1 < shape.rank(); ++d) r.rows *= static_cast<uint32_t>(shape[d]);
  return r;
}

// Adds a call of a kernel with one workgroup per row of `columns` elements: one subgroup of a size that is
// known, or, for long rows on a GPU, several.
template <class Kernel>
void launch_rows(Launch& launch, Kernel kernel, uint64_t rows, uint64_t columns) {
  const vk::DeviceInfo& device = launch.device();
  kernel.spec.ONE_SUBGROUP = device.fixed_subgroup_size && (device.is_cpu() || columns <= 1024);
  kernel.spec.local_size_x =
      kernel.spec.ONE_SUBGROUP ? device.subgroup_size : std::min(256u, device.max_workgroup_invocations);
  launch(kernel, launch.grid(rows));
}

}  // namespace stithy

// The host side of shaders/row.glsl: kernels in which a workgroup works on one row.
#pragma once

#include <algorithm>

#include "engine/graph/op.h"
#include "engine/graph/pieces.h"

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

// Elements [first, first + count) of 4 bytes in a window: what to bind, and where they begin in it. The
// window holds up to Launch::window_alignment() bytes before them.
struct Part {
  Ref ref;
  uint32_t offset = 0;
};
inline Part part_of(Launch& launch, const Ref& whole, uint64_t first, uint64_t count) {
  const uint64_t alignment = launch.window_alignment(), begin = first * 4 / alignment * alignment;
  return {launch.window(whole, begin, ((first + count) * 4 - begin + 15) / 16 * 16),
          static_cast<uint32_t>(first - begin / 4)};
}
// Rows of `columns` elements that a window holds, a multiple of `unit`. Throws Error where it holds less.
inline uint64_t rows_at_once(const Launch& launch, std::string_view op, uint64_t columns, uint64_t unit) {
  const uint64_t limit = launch.binding_limit(), slack = launch.window_alignment();
  const uint64_t rows =
      limit > slack ? (limit - slack) / (4 * std::max<uint64_t>(columns, 1)) / unit * unit : 0;
  if (rows == 0)
    throw Error(std::string(op), cat(unit, " rows of ", columns, " are more than ", launch.device().name,
                                     " allows kernels, ", format_bytes(limit), " (maxStorageBufferRange)"));
  return rows;
}

// Adds a call of a kernel with one workgroup per row of `columns` elements: one subgroup of a size that is
// known, or, on a GPU, several, which pays where rows are long or few. A row may be walked kWalks times;
// Error is thrown where that is more than a driver's loops turn.
template <class Kernel>
void launch_rows(Launch& launch, Kernel kernel, uint64_t rows, uint64_t columns) {
  const vk::DeviceInfo& device = launch.device();
  const uint32_t most = std::min(256u, device.max_workgroup_invocations);
  const uint32_t subgroup = device.fixed_subgroup_size ? device.subgroup_size : 0;
  constexpr uint64_t kWalks = 4;
  const auto turns_enough = [&](uint32_t size) { return columns / size < device.most_turns / kWalks; };
  if (!turns_enough(most))
    throw Error(std::string(kernel.call().kernel->name),
                cat("rows of ", columns, " elements are longer than ", device.name, " walks with ",
                    device.driver_info, ", ", most * (device.most_turns / kWalks)),
                "a newer driver has no such limit");
  std::vector<uint32_t> sizes{
      subgroup && turns_enough(subgroup) && (device.is_cpu() || columns <= 1024) ? subgroup : most};
  if (!device.is_cpu())
    for (const uint32_t size : {subgroup, 64u, 128u, most})
      if (size && size <= most && std::ranges::find(sizes, size) == sizes.end()) sizes.push_back(size);
  Choice choice{.key = cat(kernel.call().kernel->name, " ", size_bucket(static_cast<int64_t>(rows)), "x",
                           size_bucket(static_cast<int64_t>(columns))),
                .labels = {},
                .plain = sizes.size() - 1};
  for (const uint32_t size : sizes) choice.labels.push_back(cat(size, " invocations a row"));
  kernel.spec.local_size_x = sizes[launch.choose(std::move(choice))];
  kernel.spec.ONE_SUBGROUP = kernel.spec.local_size_x == subgroup;
  launch(kernel, launch.grid(rows));
}

}  // namespace stithy

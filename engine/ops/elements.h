// How the kernels of pointwise ops and copies walk strided tensors: the host side of shaders/elements.glsl.
#pragma once

#include <algorithm>
#include <array>
#include <initializer_list>
#include <string_view>

#include "engine/graph/op.h"

namespace stithy {

// MODE of an operand, as shaders/elements.glsl explains it.
enum class Walk : uint32_t { contiguous = 0, scalar = 1, rows = 2, strided = 3 };

struct Operand {
  Shape strides;
  int64_t offset = 0;
};

struct WalkedOperand {
  uint32_t mode = 0, offset = 0;
  std::array<uint32_t, kMaxRank> strides{};  // of the merged dimensions, the last one last
};

// Up to four operands of one shape, with neighbouring dimensions merged where all operands allow it.
struct Elements {
  uint32_t count = 0, dims = 0;
  std::array<uint32_t, kMaxRank> shape{};
  std::array<WalkedOperand, 4> operands{};
  const WalkedOperand& operator[](size_t i) const { return operands[i]; }
};
Elements walk_elements(const Shape& shape, std::initializer_list<Operand> operands);
inline Operand operand(const Tensor& x) { return {x.strides(), x.offset()}; }

// Merges neighbouring dimensions that one step describes for every operand, and drops those of size 1.
void merge_dimensions(Shape& shape, std::span<Shape> strides);

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

// How kernels walk strided tensors element by element: the host side of shaders/elements.glsl and of fused
// kernels.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <vector>

#include "engine/graph/tensor.h"

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

// Operands of one shape, with neighbouring dimensions merged where all operands allow it.
struct Elements {
  uint32_t count = 0, dims = 0;
  std::array<uint32_t, kMaxRank> shape{};
  std::vector<WalkedOperand> operands;
  const WalkedOperand& operator[](size_t i) const { return operands[i]; }
};
Elements walk_elements(const Shape& shape, std::span<const Operand> operands);
inline Elements walk_elements(const Shape& shape, std::initializer_list<Operand> operands) {
  return walk_elements(shape, std::span(operands.begin(), operands.size()));
}
inline Operand operand(const Tensor& x) { return {x.strides(), x.offset()}; }

// Merges neighbouring dimensions that one step describes for every operand, and drops those of size 1.
void merge_dimensions(Shape& shape, std::span<Shape> strides);

}  // namespace stithy

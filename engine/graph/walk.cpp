#include "engine/graph/walk.h"

#include <algorithm>

namespace stithy {
namespace {

Walk mode_of(const Shape& shape, const Shape& strides, int64_t offset) {
  const auto whole_vectors = [](int64_t n) { return n % 4 == 0; };
  if (std::all_of(strides.begin(), strides.end(), [](int64_t s) { return s == 0; })) return Walk::scalar;
  if (!whole_vectors(offset)) return Walk::strided;
  if (is_contiguous(shape, strides)) return Walk::contiguous;
  if (strides.back() != 1 || !whole_vectors(shape.back()) ||
      !std::all_of(strides.begin(), strides.end() - 1, whole_vectors))
    return Walk::strided;
  return Walk::rows;
}

}  // namespace

void merge_dimensions(Shape& shape, std::span<Shape> strides) {
  for (int d = shape.rank() - 1; d >= 0; --d) {
    if (shape[d] != 1) continue;
    shape.erase(d);
    for (Shape& s : strides) s.erase(d);
  }
  for (int d = shape.rank() - 2; d >= 0; --d) {
    const bool one_step = std::all_of(strides.begin(), strides.end(),
                                      [&](const Shape& s) { return s[d] == s[d + 1] * shape[d + 1]; });
    if (!one_step) continue;
    shape[d] *= shape[d + 1];
    shape.erase(d + 1);
    for (Shape& s : strides) {
      s[d] = s[d + 1];
      s.erase(d + 1);
    }
  }
}

Elements walk_elements(const Shape& shape, std::span<const Operand> operands) {
  Shape merged = shape;
  std::vector<Shape> strides;
  for (const Operand& operand : operands) strides.push_back(operand.strides);
  merge_dimensions(merged, strides);

  Elements elements;
  elements.operands.resize(operands.size());
  elements.count = static_cast<uint32_t>(shape.numel());
  elements.dims = static_cast<uint32_t>(merged.rank());
  const auto right_aligned = [&](const Shape& from, std::array<uint32_t, kMaxRank>& to) {
    std::transform(from.begin(), from.end(), to.end() - from.rank(),
                   [](int64_t v) { return static_cast<uint32_t>(v); });
  };
  right_aligned(merged, elements.shape);
  for (size_t i = 0; i < operands.size(); ++i) {
    const int64_t offset = operands[i].offset;
    WalkedOperand& walked = elements.operands[i];
    walked.mode = static_cast<uint32_t>(mode_of(merged, strides[i], offset));
    walked.offset = static_cast<uint32_t>(offset);
    right_aligned(strides[i], walked.strides);
  }
  return elements;
}

}  // namespace stithy

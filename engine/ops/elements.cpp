#include "engine/ops/elements.h"

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

Elements walk_elements(const Shape& shape, std::initializer_list<Operand> operands) {
  Shape merged = shape;
  std::array<Shape, 4> strides;
  size_t n = 0;
  for (const Operand& operand : operands) strides[n++] = operand.strides;
  merge_dimensions(merged, std::span(strides.data(), n));

  Elements elements;
  elements.count = static_cast<uint32_t>(shape.numel());
  elements.dims = static_cast<uint32_t>(merged.rank());
  const auto right_aligned = [&](const Shape& from, std::array<uint32_t, kMaxRank>& to) {
    std::transform(from.begin(), from.end(), to.end() - from.rank(),
                   [](int64_t v) { return static_cast<uint32_t>(v); });
  };
  right_aligned(merged, elements.shape);
  for (size_t i = 0; i < n; ++i) {
    const int64_t offset = operands.begin()[i].offset;
    WalkedOperand& walked = elements.operands[i];
    walked.mode = static_cast<uint32_t>(mode_of(merged, strides[i], offset));
    walked.offset = static_cast<uint32_t>(offset);
    right_aligned(strides[i], walked.strides);
  }
  return elements;
}

void require_dtype(std::string_view op, const Tensor& x, std::initializer_list<DType> dtypes) {
  if (!x.defined()) throw Error(std::string(op), "an input is undefined");
  if (std::find(dtypes.begin(), dtypes.end(), x.dtype()) != dtypes.end()) return;
  std::string wanted;
  for (DType dtype : dtypes) wanted += cat(wanted.empty() ? "" : " or ", dtype);
  throw Error(std::string(op), cat("takes ", wanted, ", not ", x.dtype(), " of shape ", x.shape()),
              "convert with cast()");
}

bool is_float(DType dtype) { return dtype == DType::f32 || dtype == DType::f16 || dtype == DType::bf16; }

}  // namespace stithy

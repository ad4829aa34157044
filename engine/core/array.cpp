#include "engine/core/array.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "engine/core/error.h"

namespace stithy {

namespace {

size_t bytes_of(const Shape& shape, DType dtype) {
  const auto count = static_cast<size_t>(shape.numel());
  if (count > static_cast<size_t>(std::numeric_limits<std::ptrdiff_t>::max()) / size_of(dtype))
    throw Error("array", cat("shape ", shape, " of ", dtype, " is larger than any memory"));
  return count * size_of(dtype);
}

template <class T>
void copy_values(const Shape& shape, std::span<const T> values, std::span<std::byte> bytes) {
  if (static_cast<int64_t>(values.size()) != shape.numel())
    throw Error("array", cat(values.size(), " values do not fill shape ", shape));
  if (!values.empty()) std::memcpy(bytes.data(), values.data(), bytes.size());
}
template <class T>
bool holds(DType dtype);
template <>
bool holds<float>(DType d) {
  return d == DType::f32;
}
template <>
bool holds<int32_t>(DType d) {
  return d == DType::i32;
}
template <>
bool holds<uint16_t>(DType d) {
  return d == DType::f16 || d == DType::bf16;
}
template <>
bool holds<uint8_t>(DType d) {
  return d == DType::u8 || d == DType::boolean;
}

}  // namespace

Array::Array(const Shape& shape, DType dtype)
    : shape_(shape), dtype_(dtype), bytes_(bytes_of(shape, dtype)) {}

Array::Array(const Shape& shape, std::span<const float> values) : Array(shape, DType::f32) {
  copy_values(shape, values, bytes_);
}

Array::Array(const Shape& shape, std::span<const int32_t> values) : Array(shape, DType::i32) {
  copy_values(shape, values, bytes_);
}

template <class T>
std::span<T> Array::values() {
  if (!holds<T>(dtype_))
    throw Error("array", cat("holds ", dtype_, ", which was asked for as another type"), "convert with to()");
  return {reinterpret_cast<T*>(bytes_.data()), bytes_.size() / sizeof(T)};
}
template std::span<float> Array::values<float>();
template std::span<int32_t> Array::values<int32_t>();
template std::span<uint16_t> Array::values<uint16_t>();
template std::span<uint8_t> Array::values<uint8_t>();

double Array::item() const {
  if (numel() != 1) throw Error("array", cat("item() needs one element, the shape is ", shape_));
  return at(0);
}

double Array::at(int64_t i) const {
  const size_t k = static_cast<size_t>(i);
  switch (dtype_) {
    case DType::f32: return values<float>()[k];
    case DType::f16: return f16_to_f32(values<uint16_t>()[k]);
    case DType::bf16: return bf16_to_f32(values<uint16_t>()[k]);
    case DType::i32: return values<int32_t>()[k];
    case DType::u8:
    case DType::boolean: return values<uint8_t>()[k];
  }
  return 0;
}

void Array::set(int64_t i, double value) {
  const size_t k = static_cast<size_t>(i);
  // Out-of-range and NaN clamp, as the cast kernel does: C++ leaves such a conversion undefined.
  const auto integer = [&](double low, double high) {
    return std::isnan(value) ? 0.0 : std::clamp(std::trunc(value), low, high);
  };
  switch (dtype_) {
    case DType::f32: values<float>()[k] = static_cast<float>(value); break;
    case DType::f16: values<uint16_t>()[k] = f32_to_f16(static_cast<float>(value)); break;
    case DType::bf16: values<uint16_t>()[k] = f32_to_bf16(static_cast<float>(value)); break;
    case DType::i32: values<int32_t>()[k] = static_cast<int32_t>(integer(-2147483648.0, 2147483647.0)); break;
    case DType::u8: values<uint8_t>()[k] = static_cast<uint8_t>(integer(0, 255)); break;
    case DType::boolean: values<uint8_t>()[k] = value != 0; break;
  }
}

Array Array::to(DType dtype) const {
  if (dtype == dtype_) return *this;
  Array result(shape_, dtype);
  for (int64_t i = 0, n = numel(); i < n; ++i) result.set(i, at(i));
  return result;
}

Array Array::reshaped(const Shape& shape) const {
  if (shape.numel() != numel()) throw Error("array", cat("shape ", shape_, " cannot become ", shape));
  Array result = *this;
  result.shape_ = shape;
  return result;
}

Array Array::rows(int64_t begin, int64_t end) const {
  if (shape_.empty() || begin < 0 || end < begin || end > shape_[0])
    throw Error("array", cat("rows ", begin, " to ", end, " are out of range for shape ", shape_));
  Shape shape = shape_;
  shape[0] = end - begin;
  Array result(shape, dtype_);
  const size_t row = shape_[0] ? bytes_.size() / static_cast<size_t>(shape_[0]) : 0;
  std::copy_n(bytes_.begin() + static_cast<std::ptrdiff_t>(static_cast<size_t>(begin) * row),
              result.bytes_.size(), result.bytes_.begin());
  return result;
}

bool same_bytes(const Array& a, const Array& b) {
  return a.shape() == b.shape() && a.dtype() == b.dtype() &&
         std::equal(a.bytes().begin(), a.bytes().end(), b.bytes().begin());
}

}  // namespace stithy

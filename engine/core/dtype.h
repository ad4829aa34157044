// Element types. Kernels compute in f32 (indices in i32); the others are storage types, reached by cast.
#pragma once

#include <cstddef>
#include <cstdint>
#include <iosfwd>
#include <string_view>

namespace stithy {

// The numbering is shared with shaders/dtype.glsl through specialization constants named *_DTYPE.
enum class DType : uint32_t { f32 = 0, f16 = 1, bf16 = 2, i32 = 3, u8 = 4, boolean = 5 };
inline constexpr int kDTypeCount = 6;

size_t size_of(DType dtype);            // bytes of one element
std::string_view name_of(DType dtype);  // "f32", "f16", "bf16", "i32", "u8", "bool"
std::ostream& operator<<(std::ostream& out, DType dtype);

// Conversions round to nearest even; NaN stays NaN (IEEE 754-2019, 5.4.2).
uint16_t f32_to_f16(float value);
float f16_to_f32(uint16_t bits);
uint16_t f32_to_bf16(float value);
float bf16_to_f32(uint16_t bits);

// The DType that holds a C++ type: dtype_of<float>() is DType::f32.
template <class T>
constexpr DType dtype_of();
template <>
constexpr DType dtype_of<float>() {
  return DType::f32;
}
template <>
constexpr DType dtype_of<int32_t>() {
  return DType::i32;
}
template <>
constexpr DType dtype_of<uint8_t>() {
  return DType::u8;
}
template <>
constexpr DType dtype_of<bool>() {
  return DType::boolean;
}

}  // namespace stithy

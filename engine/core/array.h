// Array: a dense row-major tensor in host memory. What goes into a program and what comes out of it.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "engine/core/dtype.h"
#include "engine/core/shape.h"

namespace stithy {

class Array {
 public:
  Array() = default;
  // All zero.
  Array(const Shape& shape, DType dtype);
  // A copy of `values`. Throws Error when their number is not shape.numel().
  Array(const Shape& shape, std::span<const float> values);
  Array(const Shape& shape, std::span<const int32_t> values);
  Array(const Shape& shape, std::initializer_list<float> values)
      : Array(shape, std::span(values.begin(), values.size())) {}
  static Array scalar(float value) { return Array({}, {value}); }

  const Shape& shape() const { return shape_; }
  DType dtype() const { return dtype_; }
  int64_t numel() const { return shape_.numel(); }
  std::span<std::byte> bytes() { return bytes_; }
  std::span<const std::byte> bytes() const { return bytes_; }

  // The elements as T (float: f32, int32_t: i32, uint8_t: u8 or bool, uint16_t: f16 or bf16).
  // Throws Error when dtype() is another.
  template <class T>
  std::span<T> values();
  template <class T>
  std::span<const T> values() const {
    return const_cast<Array*>(this)->values<T>();
  }

  // The only element, or element i in row-major order, as a number of any dtype.
  double item() const;
  double at(int64_t i) const;
  void set(int64_t i, double value);
  // The same elements in another dtype (rounded to nearest even; to bool: not zero).
  Array to(DType dtype) const;
  // The same bytes with another shape. Throws Error when the number of elements differs.
  Array reshaped(const Shape& shape) const;
  // Rows [begin, end) of the first dimension.
  Array rows(int64_t begin, int64_t end) const;

 private:
  Shape shape_{0};
  DType dtype_ = DType::f32;
  std::vector<std::byte> bytes_;
};

// Equal shape, dtype and bytes.
bool same_bytes(const Array& a, const Array& b);

}  // namespace stithy

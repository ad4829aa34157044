// Shapes and strides: up to six dimensions, held in place.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <iosfwd>
#include <span>
#include <string_view>

namespace stithy {

inline constexpr int kMaxRank = 6;

// A list of at most kMaxRank integers: a shape, strides or axes. Throws Error beyond kMaxRank.
class Shape {
 public:
  Shape() = default;
  Shape(std::initializer_list<int64_t> dims) : Shape(std::span<const int64_t>(dims.begin(), dims.size())) {}
  explicit Shape(std::span<const int64_t> dims);
  // `rank` entries, each `value`.
  static Shape filled(int rank, int64_t value);

  int rank() const { return rank_; }
  bool empty() const { return rank_ == 0; }
  int64_t& operator[](int i) { return dims_[static_cast<size_t>(i)]; }
  int64_t operator[](int i) const { return dims_[static_cast<size_t>(i)]; }
  int64_t back() const { return dims_[static_cast<size_t>(rank_ - 1)]; }
  const int64_t* begin() const { return dims_.data(); }
  const int64_t* end() const { return dims_.data() + rank_; }
  int64_t* begin() { return dims_.data(); }
  int64_t* end() { return dims_.data() + rank_; }
  void push_back(int64_t value);
  void insert(int position, int64_t value);
  void erase(int position);
  bool contains(int64_t value) const;

  // The product of the entries (1 for a scalar). Throws Error when it does not fit in 63 bits.
  int64_t numel() const;
  friend bool operator==(const Shape& a, const Shape& b);

 private:
  std::array<int64_t, kMaxRank> dims_{};
  int rank_ = 0;
};

std::ostream& operator<<(std::ostream& out, const Shape& shape);  // [7, 113]

// Row-major strides, in elements.
Shape contiguous_strides(const Shape& shape);
// True when walking the shape in row-major order visits consecutive elements (dimensions of 1 do not count).
bool is_contiguous(const Shape& shape, const Shape& strides);
// NumPy's broadcasting rule. Throws Error, named `op`, when the shapes do not agree.
Shape broadcast(std::string_view op, const Shape& a, const Shape& b);
// Turns a negative axis into the one counted from the front. Throws Error, named `op`, when out of range.
int normalize_axis(std::string_view op, int64_t axis, const Shape& shape);
// The same for a list, sorted; an empty list means every axis. Throws Error when an axis is named twice.
Shape normalize_axes(std::string_view op, const Shape& axes, const Shape& shape);

}  // namespace stithy

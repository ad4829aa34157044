#include "engine/core/shape.h"

#include <algorithm>
#include <ostream>

#include "engine/core/error.h"

namespace stithy {

Shape::Shape(std::span<const int64_t> dims) {
  for (int64_t dim : dims) push_back(dim);
}

Shape Shape::filled(int rank, int64_t value) {
  Shape shape;
  for (int i = 0; i < rank; ++i) shape.push_back(value);
  return shape;
}

void Shape::push_back(int64_t value) { insert(rank_, value); }

void Shape::insert(int position, int64_t value) {
  if (rank_ == kMaxRank)
    throw Error("shape", cat("more than ", kMaxRank, " dimensions"), "merge dimensions with reshape");
  std::copy_backward(begin() + position, end(), end() + 1);
  dims_[static_cast<size_t>(position)] = value;
  ++rank_;
}

void Shape::erase(int position) {
  std::copy(begin() + position + 1, end(), begin() + position);
  --rank_;
}

bool Shape::contains(int64_t value) const { return std::find(begin(), end(), value) != end(); }

int64_t Shape::numel() const {
  int64_t count = 1;
  for (int64_t dim : *this)
    if (dim == 0) return 0;
  for (int64_t dim : *this)
    if (dim < 0 || __builtin_mul_overflow(count, dim, &count))
      throw Error("shape", cat(*this, " has no valid number of elements"));
  return count;
}

bool operator==(const Shape& a, const Shape& b) { return std::equal(a.begin(), a.end(), b.begin(), b.end()); }

std::ostream& operator<<(std::ostream& out, const Shape& shape) {
  out << '[';
  for (int i = 0; i < shape.rank(); ++i) out << (i ? ", " : "") << shape[i];
  return out << ']';
}

Shape contiguous_strides(const Shape& shape) {
  Shape strides = shape;
  int64_t stride = 1;
  for (int i = shape.rank() - 1; i >= 0; --i) {
    strides[i] = stride;
    stride *= std::max<int64_t>(shape[i], 1);
  }
  return strides;
}

bool is_contiguous(const Shape& shape, const Shape& strides) {
  if (shape.contains(0)) return true;
  int64_t expected = 1;
  for (int i = shape.rank() - 1; i >= 0; --i) {
    if (shape[i] == 1) continue;
    if (strides[i] != expected) return false;
    expected *= shape[i];
  }
  return true;
}

Shape broadcast(std::string_view op, const Shape& a, const Shape& b) {
  Shape result = Shape::filled(std::max(a.rank(), b.rank()), 1);
  for (int i = 0; i < result.rank(); ++i) {
    const int ia = i - (result.rank() - a.rank()), ib = i - (result.rank() - b.rank());
    const int64_t da = ia < 0 ? 1 : a[ia], db = ib < 0 ? 1 : b[ib];
    if (da != db && da != 1 && db != 1)
      throw Error(
          std::string(op),
          cat("shapes ", a, " and ", b, " do not broadcast: ", da, " against ", db, " in dimension ", i),
          "sizes must be equal or 1, counted from the last dimension");
    result[i] = da == 1 ? db : da;
  }
  return result;
}

int normalize_axis(std::string_view op, int64_t axis, const Shape& shape) {
  if (axis < -shape.rank() || axis >= shape.rank())
    throw Error(std::string(op), cat("axis ", axis, " is out of range for shape ", shape));
  return static_cast<int>(axis < 0 ? axis + shape.rank() : axis);
}

Shape normalize_axes(std::string_view op, const Shape& axes, const Shape& shape) {
  Shape result;
  if (axes.empty())
    for (int i = 0; i < shape.rank(); ++i) result.push_back(i);
  for (int64_t axis : axes) {
    const int normal = normalize_axis(op, axis, shape);
    if (result.contains(normal))
      throw Error(std::string(op), cat("axis ", axis, " is named twice in ", axes));
    result.push_back(normal);
  }
  Shape sorted;
  for (int i = 0; i < shape.rank(); ++i)
    if (result.contains(i)) sorted.push_back(i);
  return sorted;
}

}  // namespace stithy

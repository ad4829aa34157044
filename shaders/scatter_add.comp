// y = x, with source[..., i, ...] added at index[..., i, ...] along one axis, as torch.scatter_add. One invocation makes
// one element of y: it walks the index along the axis and adds what is its own, in order. No atomics, so the
// result is the same every time; the cost is the size of y times the index's length along the axis. An index out
// of range makes all of its line NaN. A call walks `begin` to `end` of the index; the first begins from x, others go on
// from y.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "math.glsl"
layout(local_size_x = 64, local_size_x_id = 0) in;
#include "grid.glsl"

layout(set = 0, binding = 0) readonly buffer X { float x[]; };
layout(set = 0, binding = 1) readonly buffer Index { int index[]; };
layout(set = 0, binding = 2) readonly buffer Source { float source[]; };
layout(set = 0, binding = 3) buffer Y { float y[]; };
layout(constant_id = 1) const bool IS_FIRST = true;
layout(push_constant) uniform Push {
  uint begin, end;
  uint count, axis, x_offset, index_offset, source_offset;
  uint shape[6];          // of x and y
  uint index_shape[6];    // of index and source, which are dense
  uint index_strides[6];
};

void main() {
  const uint i = invocation_index();
  if (i >= count) return;
  uint base = 0u, rest = i, own = 0u;
  bool covered = true;
  for (uint k = 0u; k < 6u; ++k) {
    const uint d = 5u - k, outer = rest / shape[d], coordinate = rest - outer * shape[d];
    if (d == axis) {
      own = coordinate;
    } else {
      base += coordinate * index_strides[d];
      covered = covered && coordinate < index_shape[d];
    }
    rest = outer;
  }
  float sum = IS_FIRST ? x[x_offset + i] : y[i];
  if (covered) {
    for (uint j = begin; j < end; ++j) {
      const uint at = base + j * index_strides[axis];
      const int chosen = index[index_offset + at];
      if (chosen == int(own))
        sum += source[source_offset + at];
      else if (chosen < 0 || chosen >= int(shape[axis]))
        sum = nan_value();
    }
  }
  y[i] = sum;
}

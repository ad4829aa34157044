// y[..., i, ...] = x[..., index[..., i, ...], ...] along one axis, as torch.gather; NaN for an index out of range.
// One invocation makes one element of y, whose shape is index's.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "math.glsl"
layout(local_size_x = 64, local_size_x_id = 0) in;
#include "grid.glsl"

layout(set = 0, binding = 0) readonly buffer X { float x[]; };
layout(set = 0, binding = 1) readonly buffer Index { int index[]; };
layout(set = 0, binding = 2) writeonly buffer Y { float y[]; };
layout(push_constant) uniform Push {
  uint count, axis, length, x_offset, index_offset;
  uint shape[6];
  uint x_strides[6];
};

void main() {
  const uint i = invocation_index();
  if (i >= count) return;
  const int chosen = index[index_offset + i];
  uint at = x_offset, rest = i;
  for (uint k = 0u; k < 6u; ++k) {
    const uint d = 5u - k, outer = rest / shape[d], coordinate = rest - outer * shape[d];
    at += (d == axis ? uint(chosen) : coordinate) * x_strides[d];
    rest = outer;
  }
  float value = nan_value();
  if (chosen >= 0 && chosen < int(length)) value = x[at];
  y[i] = value;
}

// Writes x into a strided region of y: concat, pad and the gradient of slice. Elements of 4 bytes. An
// invocation moves four consecutive elements of x; a region may start anywhere, so their places in y are
// written one by one unless the region is made of whole vectors (Y_MODE ROWS or CONTIGUOUS).
#version 450
#extension GL_GOOGLE_include_directive : require
#include "grid.glsl"

layout(local_size_x_id = 0) in;
layout(push_constant) uniform Push {
  uint count, x_offset, y_offset;
  uint shape[6], x_strides[6], y_strides[6];
} push;
#include "elements.glsl"
layout(constant_id = 2) const uint X_MODE = 3u;
layout(constant_id = 3) const uint Y_MODE = 3u;

INPUT(x, 0)
OUTPUT(y, 1)
LOADER(x, X_MODE, F32, push.x_strides, push.x_offset)

void main() {
  const uint i = invocation_index() * 4u;
  if (i >= push.count) return;
  const uvec4 raw = load_x(i);
  if (Y_MODE == CONTIGUOUS || Y_MODE == ROWS) {
    const uint at = Y_MODE == CONTIGUOUS
                        ? i + push.y_offset
                        : strided_positions(i, push.shape, push.y_strides, push.y_offset, true).x;
    // A contiguous region may end in the middle of a vector, before elements of another region.
    if (i + 4u <= push.count) {
      y_4[at >> 2] = raw;
      return;
    }
  }
  const uvec4 at = strided_positions(i, push.shape, push.y_strides, push.y_offset, false);
  for (uint e = 0u; e < 4u; ++e)
    if (i + e < push.count) y[at[e]] = raw[e];
}

// y = x converted to another dtype, or copied to row-major order when the dtypes are equal. An invocation
// makes four consecutive elements. Conversions: dtype.glsl.
#version 450
#pragma stithy aids copy
#extension GL_GOOGLE_include_directive : require
#include "grid.glsl"

layout(local_size_x_id = 0) in;
layout(push_constant) uniform Push {
  uint count, x_offset;
  uint shape[6], x_strides[6];
} push;
#include "elements.glsl"
layout(constant_id = 2) const uint X_MODE = 3u;
layout(constant_id = 3) const uint X_DTYPE = 0u;
layout(constant_id = 4) const uint Y_DTYPE = 0u;

INPUT(x, 0)
OUTPUT(y, 1)
LOADER(x, X_MODE, X_DTYPE, push.x_strides, push.x_offset)
STORER(y, Y_DTYPE)

void main() {
  const uint i = invocation_index() * 4u;
  if (i >= push.count) return;
  uvec4 raw = load_x(i);
  for (uint e = 0u; e < 4u; ++e) raw[e] = convert(raw[e], X_DTYPE, Y_DTYPE);
  store_y(i, raw);
}

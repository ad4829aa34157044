// y[..., place + i, ...] = x[..., i, ...] along the middle axis of y [outer, size, inner]; x is dense, [outer, count,
// inner], of 32-bit elements. An invocation an element of x; what would lie outside of y is left out.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "grid.glsl"

layout(local_size_x = 64, local_size_x_id = 0) in;
layout(push_constant) uniform Push { uint elements, count, size, inner, x_offset, place_offset; } push;
layout(set = 0, binding = 0) readonly buffer X { uint x[]; };
layout(set = 0, binding = 1) readonly buffer Place { int place[]; };
layout(set = 0, binding = 2) buffer Y { uint y[]; };

void main() {
  const uint e = invocation_index();
  if (e >= push.elements) return;
  const uint outer = e / (push.count * push.inner), rest = e - outer * push.count * push.inner;
  const int at = place[push.place_offset] + int(rest / push.inner);
  if (at < 0 || at >= int(push.size)) return;
  y[(outer * push.size + uint(at)) * push.inner + rest % push.inner] = x[push.x_offset + e];
}

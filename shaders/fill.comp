// Every element of y is `value`. An invocation writes four.
#version 450
#pragma stithy aids fill
#extension GL_GOOGLE_include_directive : require
#include "grid.glsl"

layout(local_size_x_id = 0) in;
layout(push_constant) uniform Push {
  uint count, value;  // value: the element's 32 bits
} push;
layout(set = 0, binding = 0) writeonly buffer Y { uvec4 y[]; };

void main() {
  const uint i = invocation_index();
  if (i * 4u < push.count) y[i] = uvec4(push.value);
}

// y += x. An invocation adds four elements; the last one adds up to three past the end, which storage is padded
// for.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "grid.glsl"

layout(local_size_x_id = 0) in;
layout(push_constant) uniform Push { uint count, x_offset; } push;
layout(set = 0, binding = 0) readonly buffer X { vec4 x[]; };
layout(set = 0, binding = 1) buffer Y { vec4 y[]; };

void main() {
  const uint i = invocation_index();
  if (4u * i < push.count) y[i] += x[(push.x_offset >> 2) + i];
}

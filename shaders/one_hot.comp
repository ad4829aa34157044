// y[i, c] = 1 where index[i] = c, else 0; a row of NaN for an index out of range. One invocation makes one element.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "math.glsl"
layout(local_size_x = 64, local_size_x_id = 0) in;
#include "grid.glsl"

layout(set = 0, binding = 0) readonly buffer Index { int index[]; };
layout(set = 0, binding = 1) writeonly buffer Y { float y[]; };
layout(push_constant) uniform Push { uint count, classes, index_offset; };

void main() {
  const uint i = invocation_index();
  if (i >= count) return;
  const uint row = i / classes;
  const int c = index[index_offset + row];
  y[i] = c < 0 || c >= int(classes) ? nan_value() : float(c == int(i - row * classes));
}

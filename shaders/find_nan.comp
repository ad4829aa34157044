// The first NaN and the first infinity of a tensor, for the NaN finder.
//   report[2 slot] = min { i : x[i] is NaN },  report[2 slot + 1] = min { i : x[i] is infinite }
// One invocation an element. Bits are compared, since a driver may assume that floats are never NaN.
#version 450
#extension GL_GOOGLE_include_directive : require
layout(local_size_x_id = 0) in;
layout(binding = 0) readonly buffer X { uint x[]; };
layout(binding = 1) buffer Report { uint report[]; };
layout(push_constant) uniform Push { uint count; uint slot; };
#include "grid.glsl"

void main() {
  const uint i = invocation_index();
  if (i >= count) return;
  const uint magnitude = x[i] & 0x7fffffffu;
  if (magnitude > 0x7f800000u) atomicMin(report[2 * slot], i);
  else if (magnitude == 0x7f800000u) atomicMin(report[2 * slot + 1], i);
}

// y = condition ? a : b, element by element; an invocation makes four consecutive elements. The condition is
// bool, a and b have 4-byte elements.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "grid.glsl"

layout(local_size_x_id = 0) in;
layout(push_constant) uniform Push {
  uint count, condition_offset, a_offset, b_offset;
  uint shape[6], condition_strides[6], a_strides[6], b_strides[6];
} push;
#include "elements.glsl"
layout(constant_id = 2) const uint CONDITION_MODE = 3u;
layout(constant_id = 3) const uint A_MODE = 3u;
layout(constant_id = 4) const uint B_MODE = 3u;

INPUT(condition, 0)
INPUT(a, 1)
INPUT(b, 2)
OUTPUT(y, 3)
LOADER(condition, CONDITION_MODE, BOOL, push.condition_strides, push.condition_offset)
LOADER(a, A_MODE, F32, push.a_strides, push.a_offset)
LOADER(b, B_MODE, F32, push.b_strides, push.b_offset)
STORER(y, F32)

void main() {
  const uint i = invocation_index() * 4u;
  if (i >= push.count) return;
  store_y(i, mix(load_b(i), load_a(i), notEqual(load_condition(i), uvec4(0u))));
}

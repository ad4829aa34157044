// What a device can do at most, as far as a kernel of ours can show it: yardsticks for measurements.
//   peak_flops  every invocation runs CHAINS independent chains of v = v * a + b, 8 * rounds long, in registers:
//               y[i] = sum over c < CHAINS of the chain that starts with x[i] + c. No memory traffic to speak of.
//   peak_copy   y = x, an element or, with VECTORS, a vec4 an invocation
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#pragma stithy kernels peak_flops peak_copy
#include "grid.glsl"

layout(local_size_x_id = 0) in;

#ifdef KERNEL_peak_flops
layout(constant_id = 1) const uint CHAINS = 8;
layout(push_constant) uniform Push {
  uint count, rounds, x_offset;
  float a, b;
} push;
layout(set = 0, binding = 0) readonly buffer X { float x[]; };
layout(set = 0, binding = 1) writeonly buffer Y { float y[]; };

void main() {
  const uint i = invocation_index();
  if (i >= push.count) return;
  const float a = push.a, b = push.b;
  float v[CHAINS];
  [[unroll]] for (uint c = 0u; c < CHAINS; ++c) v[c] = x[push.x_offset + i] + float(c);
  for (uint r = 0u; r < push.rounds; ++r) {
    [[unroll]] for (uint step = 0u; step < 8u; ++step)
      [[unroll]] for (uint c = 0u; c < CHAINS; ++c) v[c] = v[c] * a + b;
  }
  float sum = v[0];
  [[unroll]] for (uint c = 1u; c < CHAINS; ++c) sum += v[c];
  y[i] = sum;
}
#endif

#ifdef KERNEL_peak_copy
layout(constant_id = 1) const bool VECTORS = true;
layout(push_constant) uniform Push { uint count, x_offset; } push;
layout(set = 0, binding = 0) readonly buffer X { float x[]; };
layout(set = 0, binding = 0) readonly buffer X4 { vec4 x4[]; };
layout(set = 0, binding = 1) writeonly buffer Y { float y[]; };
layout(set = 0, binding = 1) writeonly buffer Y4 { vec4 y4[]; };

void main() {
  const uint i = invocation_index();
  if (VECTORS) {
    if (i * 4u < push.count) y4[i] = x4[push.x_offset / 4u + i];
  } else {
    if (i < push.count) y[i] = x[push.x_offset + i];
  }
}
#endif

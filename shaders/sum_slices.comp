// y = x[0] + x[1] + ... of x [slices, count], in order, a slice every `stride` elements. One invocation makes one
// element.
#version 460
#extension GL_GOOGLE_include_directive : require
#pragma stithy fuse sum_slices - y
#pragma stithy aids sum_slices
layout(local_size_x = 64, local_size_x_id = 0) in;
#include "grid.glsl"
#include "fused.glsl"

layout(set = 0, binding = 0) readonly buffer X { float x[]; };
layout(set = 0, binding = 1) writeonly buffer Y { float y[]; };
layout(push_constant) uniform Push {
  uint count, slices, stride;
};

void main() {
  const uint i = invocation_index();
  if (i >= count) return;
  float sum = x[i];
  for (uint s = 1u; s < slices; ++s) sum += x[s * stride + i];
  y[i] = EPILOGUE(sum, i);
}

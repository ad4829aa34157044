// y = 0 in the ranges [begin, end) of `gaps`, which are short: what lies between the pieces of pack. A workgroup
// does one range.
#version 450
#pragma stithy aids zero_gaps
#extension GL_GOOGLE_include_directive : require
#include "grid.glsl"

layout(local_size_x_id = 0) in;
layout(push_constant) uniform Push { uint gaps; } push;
layout(set = 0, binding = 0) readonly buffer Gaps { uvec2 gaps[]; };
layout(set = 0, binding = 1) writeonly buffer Y { uint y[]; };

void main() {
  if (group_index() >= push.gaps) return;
  const uvec2 gap = gaps[group_index()];
  for (uint i = gap.x + gl_LocalInvocationID.x; i < gap.y; i += gl_WorkGroupSize.x) y[i] = 0u;
}

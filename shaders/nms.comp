// Non-maximum suppression: of boxes [n, 4], (x1, y1, x2, y2), the best stays, those that overlap it by more than
// `threshold` (intersection over union) go, and so on with what is left.
//   nms_order   an invocation finds the place of one box by its score: the greatest first, of equals the first, NaN
//               before all
//   nms_select  one workgroup walks the boxes in this order; its lanes suppress those that overlap
#version 460
#extension GL_GOOGLE_include_directive : require
#pragma stithy kernels nms_order nms_select
layout(local_size_x = 64, local_size_x_id = 0) in;
#include "dtype.glsl"
#include "grid.glsl"

#ifdef KERNEL_nms_order
layout(set = 0, binding = 0) readonly buffer Scores { float scores[]; };
layout(set = 0, binding = 1) writeonly buffer Order { uint order[]; };
layout(push_constant) uniform Push { uint count, scores_offset; };

// Greater floats have greater keys; NaN has the greatest.
uint key_of(float value) {
  if (is_nan(value)) return 0xffffffffu;
  const uint bits = value == 0.0 ? 0u : floatBitsToUint(value);
  return (bits >> 31) != 0u ? ~bits : bits | 0x80000000u;
}

void main() {
  const uint i = invocation_index();
  if (i >= count) return;
  const uint mine = key_of(scores[scores_offset + i]);
  uint place = 0u;
  for (uint j = 0u; j < count; ++j) {
    const uint other = key_of(scores[scores_offset + j]);
    place += uint(other > mine || (other == mine && j < i));
  }
  order[place] = i;
}
#endif

#ifdef KERNEL_nms_select
layout(set = 0, binding = 0) readonly buffer Boxes { float boxes[]; };
layout(set = 0, binding = 1) readonly buffer Order { uint order[]; };
layout(set = 0, binding = 2) coherent buffer Gone { uint gone[]; };  // by place in the order
layout(set = 0, binding = 3) writeonly buffer Keep { int keep[]; };
layout(set = 0, binding = 4) writeonly buffer Kept { int kept[]; };
layout(push_constant) uniform Push {
  uint count, boxes_offset;
  float threshold;
};

vec4 box_of(uint place) {
  const uint at = boxes_offset + 4u * order[place];
  return vec4(boxes[at], boxes[at + 1u], boxes[at + 2u], boxes[at + 3u]);
}
float area_of(vec4 b) { return (b.z - b.x) * (b.w - b.y); }

void main() {
  const uint lane = gl_LocalInvocationID.x, lanes = gl_WorkGroupSize.x;
  for (uint i = lane; i < count; i += lanes) gone[i] = 0u;
  uint found = 0u;
  for (uint i = 0u; i < count; ++i) {
    memoryBarrierBuffer();
    barrier();
    if (gone[i] != 0u) continue;
    if (lane == 0u) keep[found] = int(order[i]);
    ++found;
    const vec4 best = box_of(i);
    for (uint j = i + 1u + lane; j < count; j += lanes) {
      const vec4 other = box_of(j);
      const vec2 overlap = max(min(best.zw, other.zw) - max(best.xy, other.xy), vec2(0.0));
      const float both = overlap.x * overlap.y;
      if (both / (area_of(best) + area_of(other) - both) > threshold) gone[j] = 1u;
    }
  }
  for (uint i = found + lane; i < count; i += lanes) keep[i] = -1;
  if (lane == 0u) kept[0] = int(found);
}
#endif

// y = reduction of x over some of its axes. The host (engine/ops/reduce.cpp) moves the kept axes to the front
// and the reduced ones to the back, merging neighbours, so x has `outputs` times `count` elements:
//   reduce_rows     a workgroup makes one output: its lanes walk the reduced elements together
//   reduce_columns  an invocation makes one output, or four neighbours (VECTOR), and walks them alone
// Where there are too few outputs to fill a device, the reduced elements are cut into `parts` of `chunk`,
// y becomes [parts, outputs], and a second call reduces that. The order is fixed, so results repeat exactly.
// A sum is made of sums of at most kBlock terms at each of its levels: a float accumulates little error.
// max, min, argmax and argmin compare integers that are ordered as the floats are, with NaN above all.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#pragma stithy kernels reduce_rows reduce_columns
#pragma stithy fuse reduce_rows x y
#pragma stithy fuse reduce_columns x y
#pragma stithy variants OP: sum max min prod argmax argmin
#include "dtype.glsl"
#include "grid.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint KEPT = 3u;     // merged dimensions: shape[0] to shape[KEPT - 1]
layout(constant_id = 2) const uint REDUCED = 3u;  // shape[KEPT] to shape[KEPT + REDUCED - 1]
layout(constant_id = 3) const bool VECTOR = false;
layout(constant_id = 4) const bool ONE_SUBGROUP = false;  // a workgroup is one subgroup
layout(push_constant) uniform Push {
  uint outputs, count, chunk, parts, x_offset;
  float scale;  // of a sum
  uint shape[6], strides[6];
} push;
layout(set = 0, binding = 0) readonly buffer X { uint x[]; };
layout(set = 0, binding = 0) readonly buffer X4 { uvec4 x_4[]; };
layout(set = 0, binding = 1) writeonly buffer Y { uint y[]; };

#include "fused.glsl"
#define LOAD(i) floatBitsToUint(PROLOGUE(uintBitsToFloat(x[i]), i))
#define LOAD4(i) floatBitsToUint(PROLOGUE4(uintBitsToFloat(x_4[(i) >> 2]), i))
#define STORE(i, raw) y[i] = floatBitsToUint(EPILOGUE(uintBitsToFloat(raw), i))

const uint kBlock = 32u;

uint kept_position(uint o) {
  uint position = push.x_offset;
  for (uint k = 0u; k < KEPT; ++k) {
    const uint d = KEPT - 1u - k, outer = d > 0u ? o / push.shape[d] : 0u;
    position += (o - outer * push.shape[d]) * push.strides[d];
    o = outer;
  }
  return position;
}
uint reduced_position(uint r) {
  uint position = 0u;
  for (uint k = 0u; k < REDUCED; ++k) {
    const uint d = KEPT + REDUCED - 1u - k, outer = d > KEPT ? r / push.shape[d] : 0u;
    position += (r - outer * push.shape[d]) * push.strides[d];
    r = outer;
  }
  return position;
}

// Greater floats have greater keys; NaN has the greatest.
uint key_of(float value) {
  if (is_nan(value)) return 0xffffffffu;
  const uint bits = value == 0.0 ? 0u : floatBitsToUint(value);
  return (bits >> 31) != 0u ? ~bits : bits | 0x80000000u;
}
float value_of(uint key) {
  if (key == 0xffffffffu) return uintBitsToFloat(0x7fc00000u);
  return uintBitsToFloat((key >> 31) != 0u ? key & 0x7fffffffu : ~key);
}

#if defined OP_sum
#define ACCUMULATOR float
const float kNothing = 0.0;
float element(uint raw, uint r) { return uintBitsToFloat(raw); }
float combine(float a, float b) { return a + b; }
float combine_subgroup(float a) { return subgroupAdd(a); }
uint result(float a) { return floatBitsToUint(a * push.scale); }
#elif defined OP_prod
#define ACCUMULATOR float
const float kNothing = 1.0;
float element(uint raw, uint r) { return uintBitsToFloat(raw); }
float combine(float a, float b) { return a * b; }
float combine_subgroup(float a) { return subgroupMul(a); }
uint result(float a) { return floatBitsToUint(a); }
#elif defined OP_max || defined OP_min
#if defined OP_max
const uint kSign = 0u;
#else
const uint kSign = 0x80000000u;
#endif
#define ACCUMULATOR uint
const uint kNothing = 0u;
uint element(uint raw, uint r) { return key_of(uintBitsToFloat(raw ^ kSign)); }
uint combine(uint a, uint b) { return max(a, b); }
uint combine_subgroup(uint a) { return subgroupMax(a); }
uint result(uint a) { return floatBitsToUint(value_of(a)) ^ kSign; }
#else
#if defined OP_argmax
const uint kSign = 0u;
#else
const uint kSign = 0x80000000u;
#endif
#define ACCUMULATOR uvec2  // key, index
const uvec2 kNothing = uvec2(0u, 0xffffffffu);
uvec2 element(uint raw, uint r) { return uvec2(key_of(uintBitsToFloat(raw ^ kSign)), r); }
uvec2 combine(uvec2 a, uvec2 b) { return b.x > a.x || (b.x == a.x && b.y < a.y) ? b : a; }
uvec2 combine_subgroup(uvec2 a) {
  const uint key = subgroupMax(a.x);
  return uvec2(key, subgroupMin(a.x == key ? a.y : 0xffffffffu));
}
uint result(uvec2 a) { return a.y; }
#endif

#ifdef KERNEL_reduce_rows
shared ACCUMULATOR of_subgroup[256];

void main() {
  const uint group = group_index();
  if (group >= push.outputs * push.parts) return;
  const uint part = group / push.outputs, base = kept_position(group - part * push.outputs);
  const uint begin = part * push.chunk, end = min(begin + push.chunk, push.count);
  const uint lane = gl_LocalInvocationID.x, lanes = gl_WorkGroupSize.x;

  ACCUMULATOR total[4] = ACCUMULATOR[4](kNothing, kNothing, kNothing, kNothing);
  for (uint start = begin; start < end; start += kBlock * 4u * lanes) {
    ACCUMULATOR partial[4] = ACCUMULATOR[4](kNothing, kNothing, kNothing, kNothing);
    for (uint k = 0u; k < kBlock; ++k) {
      const uint r = start + k * 4u * lanes + (VECTOR ? 4u * lane : lane);
      if (r >= end) break;
      if (VECTOR) {
        const uvec4 raw = LOAD4(base + r);
        for (uint e = 0u; e < 4u; ++e)
          if (r + e < end) partial[e] = combine(partial[e], element(raw[e], r + e));
      } else {
        for (uint e = 0u; e < 4u; ++e) {
          const uint at = r + e * lanes;
          if (at < end) partial[e] = combine(partial[e], element(LOAD(base + reduced_position(at)), at));
        }
      }
    }
    for (uint e = 0u; e < 4u; ++e) total[e] = combine(total[e], partial[e]);
  }

  ACCUMULATOR all = combine_subgroup(combine(combine(total[0], total[1]), combine(total[2], total[3])));
  if (!ONE_SUBGROUP) {
    if (subgroupElect()) of_subgroup[gl_SubgroupID] = all;
    barrier();
    all = of_subgroup[0];
    for (uint s = 1u; s < gl_NumSubgroups; ++s) all = combine(all, of_subgroup[s]);
  }
  if (lane == 0u) STORE(group, result(all));
}
#endif

#ifdef KERNEL_reduce_columns
void main() {
  const uint width = VECTOR ? 4u : 1u, columns = push.outputs / width, index = invocation_index();
  if (index >= columns * push.parts) return;
  const uint part = index / columns, base = kept_position((index - part * columns) * width);
  const uint begin = part * push.chunk, end = min(begin + push.chunk, push.count);

  ACCUMULATOR total[4] = ACCUMULATOR[4](kNothing, kNothing, kNothing, kNothing);
  for (uint start = begin; start < end; start += kBlock) {
    ACCUMULATOR partial[4] = ACCUMULATOR[4](kNothing, kNothing, kNothing, kNothing);
    const uint stop = min(start + kBlock, end);
    for (uint r = start; r < stop; ++r) {
      const uint at = base + reduced_position(r);
      if (VECTOR) {
        const uvec4 raw = LOAD4(at);
        for (uint e = 0u; e < 4u; ++e) partial[e] = combine(partial[e], element(raw[e], r));
      } else {
        partial[0] = combine(partial[0], element(LOAD(at), r));
      }
    }
    for (uint e = 0u; e < width; ++e) total[e] = combine(total[e], partial[e]);
  }
  for (uint e = 0u; e < width; ++e) STORE(index * width + e, result(total[e]));
}
#endif

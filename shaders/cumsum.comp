// y[.., i, ..] = x[.., 0, ..] + ... + x[.., i, ..], or + ... + x[.., n - 1, ..] where REVERSE, along the middle
// axis of row-major [outer, n, inner]; a line is the n elements of one (outer, inner):
//   cumsum_lines  an invocation walks a line alone
//   cumsum_rows   a subgroup scans a line together, as many elements at a time as it has lanes
// The running sum carries its rounding error along (Kahan 1965). A call makes the elements from `begin` to `end`, going on
// from what the one before it made.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#pragma stithy kernels cumsum_lines cumsum_rows
#include "dtype.glsl"
#include "grid.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const bool REVERSE = false;
layout(push_constant) uniform Push {
  uint lines, n, inner, x_offset, begin, end;
} push;
layout(set = 0, binding = 0) readonly buffer X { float x[]; };
layout(set = 0, binding = 1) buffer Y { float y[]; };

struct Running {
  float sum, error;
};
void include(inout Running running, float value) {
  precise const float term = value - running.error;
  precise const float sum = running.sum + term;
  precise const float error = (sum - running.sum) - term;
  running.sum = sum;
  running.error = is_finite(sum) ? error : 0.0;
}

uint first_of(uint line) {
  const uint outer = line / push.inner;
  return outer * push.n * push.inner + (line - outer * push.inner);
}
uint step_to(uint i) { return (REVERSE ? push.n - 1u - i : i) * push.inner; }

// The sum of what calls before made.
Running begin_with(uint first) {
  return Running(push.begin == 0u ? 0.0 : y[first + step_to(push.begin - 1u)], 0.0);
}

#ifdef KERNEL_cumsum_lines
void main() {
  const uint line = invocation_index();
  if (line >= push.lines) return;
  const uint first = first_of(line);
  Running running = begin_with(first);
  for (uint i = push.begin; i < push.end; ++i) {
    const uint at = first + step_to(i);
    include(running, x[push.x_offset + at]);
    y[at] = running.sum;
  }
}
#endif

#ifdef KERNEL_cumsum_rows
void main() {
  const uint line = group_index();
  if (line >= push.lines || gl_SubgroupID != 0u) return;
  // Counted, since a subgroup may be partly filled.
  const uint lanes = subgroupAdd(1u), lane = subgroupExclusiveAdd(1u);
  const uint first = first_of(line);
  Running running = begin_with(first);
  for (uint start = push.begin; start < push.end; start += lanes) {
    const uint i = start + lane;
    const float value = i < push.end ? x[push.x_offset + first + step_to(i)] : 0.0;
    const float scanned = subgroupInclusiveAdd(value), all = subgroupAdd(value);
    if (i < push.end) y[first + step_to(i)] = running.sum + (scanned - running.error);
    include(running, all);
  }
}
#endif

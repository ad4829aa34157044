// c = a * b as in matmul.comp, where a has few rows and both operands lie along k: a workgroup's lanes walk k together
// for ROWS elements of a column of c.
// Numerics: a lane's fp32 sum, k ascending; then the lanes', in a fixed order.
// Search space: local_size_x, ROWS.
#version 460
#extension GL_GOOGLE_include_directive : require
#pragma stithy fuse matmul_dot - c
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#include "row.glsl"

layout(constant_id = 3) const uint ROWS = 1;
#include "matmul.glsl"

void main() {
  FIND_TASK((m + ROWS - 1) / ROWS, n)
  const uint row = row_group * ROWS;
  const uint b_at = b_start + col_group * b_n;
  uint a_at[ROWS];
  float sum[ROWS];
  [[unroll]] for (uint r = 0; r < ROWS; ++r) {
    a_at[r] = a_start + min(row + r, m - 1) * a_m;
    sum[r] = 0.0;
  }
  if (A_LAYOUT == 1 && B_LAYOUT == 1) {
    const uint vec4_end = k_begin + (k_end - k_begin) / 4 * 4;
    for (uint kk = k_begin + gl_LocalInvocationID.x * 4; kk < vec4_end; kk += gl_WorkGroupSize.x * 4) {
      const vec4 v = b4[(b_at + kk) / 4];
      [[unroll]] for (uint r = 0; r < ROWS; ++r) sum[r] += dot(a4[(a_at[r] + kk) / 4], v);
    }
    for (uint kk = vec4_end + gl_LocalInvocationID.x; kk < k_end; kk += gl_WorkGroupSize.x)
      [[unroll]] for (uint r = 0; r < ROWS; ++r) sum[r] += a[a_at[r] + kk] * b[b_at + kk];
  } else {
    for (uint kk = k_begin + gl_LocalInvocationID.x; kk < k_end; kk += gl_WorkGroupSize.x)
      [[unroll]] for (uint r = 0; r < ROWS; ++r) sum[r] += a[a_at[r] + kk * a_k] * b[b_at + kk * b_k];
  }
  [[unroll]] for (uint r = 0; r < ROWS; ++r) {
    const float total = row_sum(sum[r]);
    if (gl_LocalInvocationID.x == 0 && row + r < m) {
      const uint at = c_start + (row + r) * c_m + col_group * c_n;
      c[at] = EPILOGUE(total, at);
    }
  }
}

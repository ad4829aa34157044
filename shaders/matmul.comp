// c = a * b: [m, k] x [k, n], any strides, fp32, without shared memory and without barriers.
// Thread mapping: an invocation computes ROWS x COLS elements of c in registers; LANES_N neighbours lie along n.
// k advances by 4. With LANES > 1 a workgroup is one subgroup of LANES lanes, which load the block of a
// between them and hand it out by subgroupBroadcast: on CPU drivers a load is a loop over lanes, a broadcast is
// not (lavapipe 22.3: a tenth to a fifth faster where single elements are read or ROWS is large, else the same).
// With LANES = 1 every invocation loads what it needs.
// A group may take a part of k only (k_chunk, a multiple of 4) and write a slice of its own; sum_slices adds the
// slices in order.
// Numerics: one fp32 sum per element and slice, k ascending.
// Search space: LANES_N, ROWS, COLS (each 1 or a multiple of 4). On lavapipe 22.3 16 x 8 is the best that compiles in
// about a second; steps of 8 or 16 along k are no faster.
#version 460
#extension GL_GOOGLE_include_directive : require
#pragma stithy fuse matmul - c
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_ballot : require
layout(local_size_x = 64, local_size_x_id = 0) in;
#include "grid.glsl"
#include "fused.glsl"

layout(constant_id = 1) const uint LANES = 1;
layout(constant_id = 2) const uint LANES_N = 16;
layout(constant_id = 3) const uint ROWS = 4;
layout(constant_id = 4) const uint COLS = 4;
// How an operand is read: 0 single elements; 1 vec4 along k; 2 vec4 along m or n, which is a multiple of 4.
layout(constant_id = 5) const uint A_LAYOUT = 0;
layout(constant_id = 6) const uint B_LAYOUT = 0;
layout(constant_id = 7) const bool C_VEC4 = false;

layout(set = 0, binding = 0) readonly buffer A { float a[]; };
layout(set = 0, binding = 0) readonly buffer A4 { vec4 a4[]; };
layout(set = 0, binding = 1) readonly buffer B { float b[]; };
layout(set = 0, binding = 1) readonly buffer B4 { vec4 b4[]; };
layout(set = 0, binding = 2) writeonly buffer C { float c[]; };
layout(set = 0, binding = 2) writeonly buffer C4 { vec4 c4[]; };

layout(push_constant) uniform Push {
  uint m, n, k;
  uint a_offset, a_m, a_k;
  uint b_offset, b_k, b_n;
  uint c_m, c_n;
  uint k_chunk, batches;
  uint shape[4];
  uint a_batch[4];
  uint b_batch[4];
};

// The block of a is ROWS vec4: along k, row after row; or along m, first all of k, then those of k + 1, ...
const uint A_PARTS = (ROWS + LANES - 1) / LANES;

void main() {
  const uint lanes_m = gl_WorkGroupSize.x / LANES_N;
  const uint rows_group = lanes_m * ROWS, cols_group = LANES_N * COLS;
  const uint row_groups = (m + rows_group - 1) / rows_group, col_groups = (n + cols_group - 1) / cols_group;
  uint rest = group_index();
  const uint row_group = rest % row_groups;
  rest /= row_groups;
  const uint col_group = rest % col_groups;
  rest /= col_groups;
  const uint batch = rest % batches, slice = rest / batches;
  const uint k_begin = slice * k_chunk, k_end = min(k, k_begin + k_chunk);
  if (slice > 0 && k_begin >= k) return;

  uint a_start = a_offset, b_start = b_offset, index = batch;
  [[unroll]] for (int d = 3; d >= 0; --d) {
    const uint i = index % shape[d];
    index /= shape[d];
    a_start += i * a_batch[d];
    b_start += i * b_batch[d];
  }

  const uint lane = gl_LocalInvocationID.x;
  const uint lane_m = LANES_N == gl_WorkGroupSize.x ? 0 : lane / LANES_N;
  const uint lane_n = LANES_N == gl_WorkGroupSize.x ? lane : lane % LANES_N;
  const uint row = row_group * rows_group + lane_m * ROWS, col = col_group * cols_group + lane_n * COLS;

  // Rows and columns past the end read the last ones, and are not stored.
  uint a_at[A_PARTS], b_at[COLS];
  [[unroll]] for (uint p = 0; p < A_PARTS; ++p) {
    const uint q = LANES == 1 ? p : min(p * LANES + lane, ROWS - 1);
    if (A_LAYOUT == 2)
      a_at[p] = a_start + min(row + q % (ROWS / 4) * 4, m - 4) + q / (ROWS / 4) * a_k;
    else
      a_at[p] = a_start + min(row + q, m - 1) * a_m;
  }
  [[unroll]] for (uint j = 0; j < COLS; ++j) b_at[j] = b_start + min(col + j, n - 1) * b_n;

  float sum[ROWS * COLS];
  [[unroll]] for (uint i = 0; i < ROWS * COLS; ++i) sum[i] = 0.0;

  uint kk = k_begin;
  for (; kk + 4 <= k_end; kk += 4) {
    float bs[4 * COLS];
    if (B_LAYOUT == 1) {
      [[unroll]] for (uint j = 0; j < COLS; ++j) {
        const vec4 v = b4[(b_at[j] + kk) / 4];
        [[unroll]] for (uint i = 0; i < 4; ++i) bs[i * COLS + j] = v[i];
      }
    } else if (B_LAYOUT == 2) {
      [[unroll]] for (uint i = 0; i < 4; ++i)
        [[unroll]] for (uint j = 0; j < COLS; j += 4) {
          const vec4 v = b4[(b_at[j] + (kk + i) * b_k) / 4];
          [[unroll]] for (uint jj = 0; jj < 4; ++jj) bs[i * COLS + j + jj] = v[jj];
        }
    } else {
      [[unroll]] for (uint i = 0; i < 4; ++i)
        [[unroll]] for (uint j = 0; j < COLS; ++j) bs[i * COLS + j] = b[b_at[j] + (kk + i) * b_k];
    }

    vec4 as[A_PARTS];
    [[unroll]] for (uint p = 0; p < A_PARTS; ++p) {
      if (A_LAYOUT == 1) {
        as[p] = a4[(a_at[p] + kk) / 4];
      } else if (A_LAYOUT == 2) {
        as[p] = a4[(a_at[p] + kk * a_k) / 4];
      } else {
        [[unroll]] for (uint i = 0; i < 4; ++i) as[p][i] = a[a_at[p] + (kk + i) * a_k];
      }
    }
    [[unroll]] for (uint r = 0; r < ROWS; ++r) {
      [[unroll]] for (uint i = 0; i < 4; ++i) {
        const uint q = A_LAYOUT == 2 ? i * (ROWS / 4) + r / 4 : r, e = A_LAYOUT == 2 ? r % 4 : i;
        const float x = LANES == 1 ? as[q][e] : subgroupBroadcast(as[q / LANES][e], q % LANES);
        [[unroll]] for (uint j = 0; j < COLS; ++j) sum[r * COLS + j] += x * bs[i * COLS + j];
      }
    }
  }
  for (; kk < k_end; ++kk) {
    float bs[COLS];
    [[unroll]] for (uint j = 0; j < COLS; ++j) bs[j] = b[b_at[j] + kk * b_k];
    [[unroll]] for (uint r = 0; r < ROWS; ++r) {
      const float x = a[a_start + min(row + r, m - 1) * a_m + kk * a_k];
      [[unroll]] for (uint j = 0; j < COLS; ++j) sum[r * COLS + j] += x * bs[j];
    }
  }

  const uint c_start = (slice * batches + batch) * m * n + col * c_n;
  [[unroll]] for (uint r = 0; r < ROWS; ++r) {
    if (row + r < m) {
      const uint c_row = c_start + (row + r) * c_m;
      [[unroll]] for (uint j = 0; j < COLS; ++j) {
        if (C_VEC4) {
          if (j % 4 == 0 && col + j < n)
            c4[(c_row + j) / 4] = EPILOGUE4(vec4(sum[r * COLS + j], sum[r * COLS + j + 1],
                                                 sum[r * COLS + j + 2], sum[r * COLS + j + 3]),
                                            c_row + j);
        } else if (col + j < n) {
          c[c_row + j * c_n] = EPILOGUE(sum[r * COLS + j], c_row + j * c_n);
        }
      }
    }
  }
}

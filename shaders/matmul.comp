// c = a * b: [m, k] x [k, n], any strides, fp32, without shared memory and without barriers.
// Thread mapping: an invocation computes ROWS x COLS elements of c in registers; LANES_N neighbours lie along n.
// k advances by 4. With LANES > 1 a workgroup is one subgroup of LANES lanes, which load the block of a between
// them and hand it out by subgroupBroadcast. With LANES = 1 every invocation loads what it needs.
// matmul_texel reads a and b as uniform texel buffers.
// What is fast on CPU drivers, where a load is a loop over lanes: lavapipe of Mesa 26 broadcasts in one instruction;
// that of 22.3 in a loop of eight, but fetches a texel in 50 instructions without a branch, a fifth of what a vec4 of
// a storage buffer takes.
// A group may take a part of k only (k_chunk, a multiple of 4) and write a slice of its own; sum_slices adds the
// slices in order.
// Numerics: one fp32 sum per element and slice, k ascending.
// Search space: LANES_N, ROWS, COLS (each 1 or a multiple of 4), LANES. Above 256 sums CPU drivers compile for many
// seconds.
#version 460
#pragma stithy kernels matmul matmul_texel
#extension GL_GOOGLE_include_directive : require
#pragma stithy fuse matmul - c
#pragma stithy fuse matmul_texel - c
#extension GL_EXT_control_flow_attributes : require
#extension GL_EXT_samplerless_texture_functions : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_ballot : require
layout(local_size_x = 64, local_size_x_id = 0) in;
#include "grid.glsl"

layout(constant_id = 1) const uint LANES = 1;
layout(constant_id = 2) const uint LANES_N = 16;
layout(constant_id = 3) const uint ROWS = 4;
layout(constant_id = 4) const uint COLS = 4;
#include "matmul.glsl"

// The block of a is ROWS vec4: along k, row after row; or along m, first all of k, then those of k + 1, ...
// Shared, a lane holds every LANES-th of them, else those of one row or, along m, of four.
const uint A_PARTS = LANES > 1 ? (ROWS + LANES - 1) / LANES : A_LAYOUT == 2 ? 4 : 1;
const uint A_UNIT = A_LAYOUT == 0 ? 1 : 4, B_UNIT = B_LAYOUT == 0 ? 1 : 4;  // elements a load
const uint WIDTH = COLS % 4 == 0 ? 4 : 1;                                   // columns side by side in a lane

void main() {
  const uint lanes_m = gl_WorkGroupSize.x / LANES_N;
  const uint rows_group = lanes_m * ROWS, cols_group = LANES_N * COLS;
  const uint row_groups = (m + rows_group - 1) / rows_group, col_groups = (n + cols_group - 1) / cols_group;
  FIND_TASK(row_groups, col_groups)

  const uint lane = gl_LocalInvocationID.x;
  const uint lane_m = LANES_N == gl_WorkGroupSize.x ? 0 : lane / LANES_N;
  const uint lane_n = LANES_N == gl_WorkGroupSize.x ? lane : lane % LANES_N;
  const uint row = row_group * rows_group + lane_m * ROWS;
  // A lane's columns are `WIDTH` at every LANES_N * WIDTH, so that the lanes' loads touch.
  const uint col = col_group * cols_group + lane_n * WIDTH;
#define COLUMN(j) (col + (j) / WIDTH * WIDTH * LANES_N + (j) % WIDTH)

  // In units; rows and columns past the end read the last ones, and are not stored.
  const uint parts = LANES > 1 ? A_PARTS : A_LAYOUT == 2 ? ROWS / 4 : ROWS;
  uint a_at[LANES > 1 ? A_PARTS : ROWS], b_at[COLS];
  [[unroll]] for (uint p = 0; p < parts; ++p) {
    const uint q = LANES == 1 ? p : min(p * LANES + lane, ROWS - 1);
    if (A_LAYOUT == 2)
      a_at[p] = (a_start + min(row + q % (ROWS / 4) * 4, m - 4) + q / (ROWS / 4) * a_k) / A_UNIT;
    else
      a_at[p] = (a_start + min(row + q, m - 1) * a_m) / A_UNIT;
  }
  [[unroll]] for (uint j = 0; j < COLS; ++j) b_at[j] = (b_start + min(COLUMN(j), n - 1) * b_n) / B_UNIT;
  const uint a_step = A_LAYOUT == 1 ? 1 : a_k / A_UNIT, b_step = B_LAYOUT == 1 ? 1 : b_k / B_UNIT;  // along k

  float sum[ROWS * COLS];
  [[unroll]] for (uint i = 0; i < ROWS * COLS; ++i) sum[i] = 0.0;

  uint kk = k_begin;
  for (; kk + 4 <= k_end; kk += 4) {
    const uint ka = (A_LAYOUT == 1 ? kk / 4 : kk) * a_step, kb = (B_LAYOUT == 1 ? kk / 4 : kk) * b_step;
    float bs[4 * COLS];
    if (B_LAYOUT == 1) {
      [[unroll]] for (uint j = 0; j < COLS; ++j) {
        const vec4 v = LOAD4(b, b_at[j] + kb);
        [[unroll]] for (uint i = 0; i < 4; ++i) bs[i * COLS + j] = v[i];
      }
    } else if (B_LAYOUT == 2) {
      [[unroll]] for (uint i = 0; i < 4; ++i)
        [[unroll]] for (uint j = 0; j < COLS; j += 4) {
          const vec4 v = LOAD4(b, b_at[j] + kb + i * b_step);
          [[unroll]] for (uint jj = 0; jj < 4; ++jj) bs[i * COLS + j + jj] = v[jj];
        }
    } else {
      [[unroll]] for (uint i = 0; i < 4; ++i)
        [[unroll]] for (uint j = 0; j < COLS; ++j) bs[i * COLS + j] = LOAD(b, b_at[j] + kb + i * b_step);
    }

    vec4 as[A_PARTS];
    [[unroll]] for (uint r = 0; r < ROWS; ++r) {
      if (LANES > 1 ? r == 0 : A_LAYOUT != 2 || r % 4 == 0) {
        [[unroll]] for (uint p = 0; p < A_PARTS; ++p) {
          const uint at = (LANES > 1 ? a_at[p] : A_LAYOUT == 2 ? a_at[r / 4] + p * a_step : a_at[r]) + ka;
          if (A_LAYOUT != 0) {
            as[p] = LOAD4(a, at);
          } else {
            [[unroll]] for (uint i = 0; i < 4; ++i) as[p][i] = LOAD(a, at + i * a_step);
          }
        }
      }
      [[unroll]] for (uint i = 0; i < 4; ++i) {
        const uint q = A_LAYOUT == 2 ? i * (ROWS / 4) + r / 4 : r, e = A_LAYOUT == 2 ? r % 4 : i;
        const float x = LANES == 1 ? as[A_LAYOUT == 2 ? i : 0][e] : subgroupBroadcast(as[q / LANES][e], q % LANES);
        [[unroll]] for (uint j = 0; j < COLS; ++j) sum[r * COLS + j] += x * bs[i * COLS + j];
      }
    }
  }
  for (; kk < k_end; ++kk) {
    float bs[COLS];
    [[unroll]] for (uint j = 0; j < COLS; ++j) bs[j] = LOAD(b, b_start + min(COLUMN(j), n - 1) * b_n + kk * b_k);
    [[unroll]] for (uint r = 0; r < ROWS; ++r) {
      const float x = LOAD(a, a_start + min(row + r, m - 1) * a_m + kk * a_k);
      [[unroll]] for (uint j = 0; j < COLS; ++j) sum[r * COLS + j] += x * bs[j];
    }
  }

  [[unroll]] for (uint r = 0; r < ROWS; ++r) {
    if (row + r < m) {
      [[unroll]] for (uint j = 0; j < COLS; ++j) {
        const uint at = c_start + (row + r) * c_m + COLUMN(j) * c_n;
        if (C_VEC4) {
          if (j % 4 == 0 && COLUMN(j) < n)
            c4[at / 4] = EPILOGUE4(vec4(sum[r * COLS + j], sum[r * COLS + j + 1], sum[r * COLS + j + 2],
                                        sum[r * COLS + j + 3]),
                                   at);
        } else if (COLUMN(j) < n) {
          c[at] = EPILOGUE(sum[r * COLS + j], at);
        }
      }
    }
  }
}

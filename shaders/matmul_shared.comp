// c = a * b as in matmul.comp, for GPUs: a workgroup computes a block of c from parts of a and b that it copies to
// shared memory, K_TILE of k at a time.
// Thread mapping: an invocation computes ROWS x COLS elements, in quads; LANES_N neighbours lie along n, a quad apart,
// so that their reads of shared memory touch. While a part is used, the next is on its way to registers.
// Both parts lie with k outermost; a row of theirs is skewed by a quad, which spreads the banks of operands that
// come along k.
// Numerics: one fp32 sum per element and slice, k ascending.
// Search space: local_size_x, LANES_N, ROWS, COLS (multiples of 4), K_TILE (a multiple of 4); the parts must divide
// by 4 * local_size_x, and fit shared memory.
#version 460
#extension GL_GOOGLE_include_directive : require
#pragma stithy fuse matmul_shared - c
#extension GL_EXT_control_flow_attributes : require
layout(local_size_x = 128, local_size_x_id = 0) in;
#include "grid.glsl"

layout(constant_id = 2) const uint LANES_N = 16;
layout(constant_id = 3) const uint ROWS = 8;
layout(constant_id = 4) const uint COLS = 4;
layout(constant_id = 8) const uint K_TILE = 16;
#include "matmul.glsl"

const uint LANES_M = gl_WorkGroupSize.x / LANES_N;
const uint TILE_M = LANES_M * ROWS, TILE_N = LANES_N * COLS;
const uint SKEW = 4;
const uint A_PITCH = TILE_M + SKEW, B_PITCH = TILE_N + SKEW;
const uint A_LOADS = TILE_M * K_TILE / 4 / gl_WorkGroupSize.x, B_LOADS = TILE_N * K_TILE / 4 / gl_WorkGroupSize.x;

shared float a_part[K_TILE * A_PITCH];
shared float b_part[K_TILE * B_PITCH];

// Load i of an invocation brings four elements of a part, along k (LAYOUT 1) or along its own dimension. Invocations
// that are neighbours read neighbours.
#define ALONG_K(LAYOUT) (LAYOUT % 2 == 1)
#define PLACE(LAYOUT, WIDTH, i)                                                       \
  const uint unit = gl_LocalInvocationID.x + (i) * gl_WorkGroupSize.x;                \
  const uint own = ALONG_K(LAYOUT) ? unit / (K_TILE / 4) : unit % ((WIDTH) / 4) * 4;  \
  const uint part_k = ALONG_K(LAYOUT) ? unit % (K_TILE / 4) * 4 : unit / ((WIDTH) / 4);

// Past the end of k come zeros (for LAYOUT 1, k is a multiple of 4); rows and columns past the end are those at the end,
// and are not stored.
#define FETCH(x, LAYOUT, WIDTH, LOADS, values, first, count, start, x_own, x_k)                                  \
  [[unroll]] for (uint i = 0; i < LOADS; ++i) {                                                                  \
    PLACE(LAYOUT, WIDTH, i)                                                                                      \
    const uint at_k = kk + part_k;                                                                               \
    vec4 v = vec4(0);                                                                                            \
    if (LAYOUT == 1) {                                                                                           \
      if (at_k < k_end) v = x##4[(start + min(first + own, count - 1) * x_own + at_k) / 4];                      \
    } else if (LAYOUT == 3) {                                                                                    \
      [[unroll]] for (uint e = 0; e < 4; ++e)                                                                    \
        if (at_k + e < k_end) v[e] = x[start + min(first + own, count - 1) * x_own + (at_k + e) * x_k];          \
    } else if (at_k < k_end) {                                                                                   \
      if (LAYOUT == 2) {                                                                                         \
        v = x##4[(start + min(first + own, count - 4) + at_k * x_k) / 4];                                        \
      } else {                                                                                                   \
        [[unroll]] for (uint e = 0; e < 4; ++e) v[e] = x[start + min(first + own + e, count - 1) * x_own + at_k * x_k]; \
      }                                                                                                          \
    }                                                                                                            \
    values[i] = v;                                                                                               \
  }

#define PUT(part, LAYOUT, WIDTH, PITCH, LOADS, values)                                              \
  [[unroll]] for (uint i = 0; i < LOADS; ++i) {                                                     \
    PLACE(LAYOUT, WIDTH, i)                                                                         \
    [[unroll]] for (uint e = 0; e < 4; ++e)                                                         \
      part[(part_k + (ALONG_K(LAYOUT) ? e : 0)) * PITCH + own + (ALONG_K(LAYOUT) ? 0 : e)] = values[i][e]; \
  }

void main() {
  FIND_TASK((m + TILE_M - 1) / TILE_M, (n + TILE_N - 1) / TILE_N)
  const uint row0 = row_group * TILE_M, col0 = col_group * TILE_N;
  const uint lane_m = gl_LocalInvocationID.x / LANES_N, lane_n = gl_LocalInvocationID.x % LANES_N;

  float sum[ROWS * COLS];
  [[unroll]] for (uint i = 0; i < ROWS * COLS; ++i) sum[i] = 0.0;
  vec4 a_next[A_LOADS], b_next[B_LOADS];
  uint kk = k_begin;
  FETCH(a, A_LAYOUT, TILE_M, A_LOADS, a_next, row0, m, a_start, a_m, a_k)
  FETCH(b, B_LAYOUT, TILE_N, B_LOADS, b_next, col0, n, b_start, b_n, b_k)
  while (kk < k_end) {
    PUT(a_part, A_LAYOUT, TILE_M, A_PITCH, A_LOADS, a_next)
    PUT(b_part, B_LAYOUT, TILE_N, B_PITCH, B_LOADS, b_next)
    barrier();
    kk += K_TILE;
    FETCH(a, A_LAYOUT, TILE_M, A_LOADS, a_next, row0, m, a_start, a_m, a_k)
    FETCH(b, B_LAYOUT, TILE_N, B_LOADS, b_next, col0, n, b_start, b_n, b_k)
    [[unroll]] for (uint q = 0; q < K_TILE; ++q) {
      float as[ROWS], bs[COLS];
      [[unroll]] for (uint r = 0; r < ROWS; ++r) as[r] = a_part[q * A_PITCH + (r / 4 * LANES_M + lane_m) * 4 + r % 4];
      [[unroll]] for (uint j = 0; j < COLS; ++j) bs[j] = b_part[q * B_PITCH + (j / 4 * LANES_N + lane_n) * 4 + j % 4];
      [[unroll]] for (uint r = 0; r < ROWS; ++r)
        [[unroll]] for (uint j = 0; j < COLS; ++j) sum[r * COLS + j] = fma(as[r], bs[j], sum[r * COLS + j]);
    }
    barrier();
  }

  [[unroll]] for (uint r = 0; r < ROWS; ++r) {
    const uint row = row0 + (r / 4 * LANES_M + lane_m) * 4 + r % 4;
    if (row < m) {
      [[unroll]] for (uint j = 0; j < COLS; ++j) {
        const uint col = col0 + (j / 4 * LANES_N + lane_n) * 4 + j % 4;
        const uint at = c_start + row * c_m + col * c_n;
        if (C_VEC4) {
          if (j % 4 == 0 && col < n)
            c4[at / 4] = EPILOGUE4(vec4(sum[r * COLS + j], sum[r * COLS + j + 1], sum[r * COLS + j + 2],
                                        sum[r * COLS + j + 3]),
                                   at);
        } else if (col < n) {
          c[at] = EPILOGUE(sum[r * COLS + j], at);
        }
      }
    }
  }
}

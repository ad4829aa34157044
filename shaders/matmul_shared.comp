// c = a * b as in matmul.comp, for GPUs: a workgroup computes a block of c from parts of a and b that it copies to
// shared memory, K_TILE of k at a time.
// Thread mapping: tiles.glsl's. While a part is used, the next is on its way to registers.
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
#include "tiles.glsl"

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
    MULTIPLY_PARTS
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

// Convolution as in conv.comp, for GPUs: a product of matrices in tiles of shared memory, of which the patches of x are
// never laid out in memory (implicit GEMM; Chetlur et al. 2014).
//   conv_shared         m is an output channel of the group; n an output place of the batch; k a channel and a tap. The
//                       weights are a matrix with strides w_row and w_k.
//   conv_weight_shared  m is an output channel; n a channel and a tap; k an output place of the batch.
// Thread mapping: tiles.glsl's. Places lie side by side among the invocations that load x. With QUADS four neighbours
// are always in one row of the output. A group may take a part of k only and write a slice of its own; sum_slices adds
// the slices in order.
// Numerics: one fp32 sum per element and slice, k ascending.
// Search space: local_size_x, LANES_N, ROWS, COLS, K_TILE, as in matmul_shared.comp; local_size_x must be a multiple of
// TILE_N / 4 and of K_TILE / 4.
#version 460
#pragma stithy kernels conv_shared conv_weight_shared
#extension GL_GOOGLE_include_directive : require
#pragma stithy fuse conv_shared - y
#extension GL_EXT_control_flow_attributes : require
layout(local_size_x = 128, local_size_x_id = 0) in;
#include "grid.glsl"

layout(constant_id = 1) const uint LANES_N = 16;
layout(constant_id = 15) const uint K_TILE = 16;
layout(constant_id = 16) const uint W_LAYOUT = 0;  // as A_LAYOUT in matmul.glsl
layout(constant_id = 17) const bool QUADS = false;
layout(constant_id = 18) const bool Y_VEC4 = false;
#include "conv.glsl"
#include "fused.glsl"
#include "tiles.glsl"

const uint PLACES = QUADS ? 1 : 4;  // that four neighbours are found by

// An output place: its batch item, and where its taps begin in x.
struct Place {
  uint n, out_place;
  ivec3 first;
};
#define FIND_PLACE(place, number)                                                                            \
  {                                                                                                          \
    const uint y_size = out_size[0] * out_size[1] * out_size[2];                                             \
    place.n = (number) / y_size;                                                                             \
    place.out_place = (number) - place.n * y_size;                                                           \
    const uint line = place.out_place / out_size[2], depth = line / out_size[1];                             \
    place.first = ivec3(base[0] + int(depth * STEP_D), base[1] + int((line - depth * out_size[1]) * STEP_H), \
                        base[2] + int((place.out_place - line * out_size[2]) * STEP_W));                     \
  }
// The channel and the offsets of tap number `number`.
#define FIND_TAP(number, channel, offset)                                                  \
  const uint tap_line = (number) / TAPS_W, tap_plane = tap_line / TAPS_H;                  \
  const uint channel = tap_plane / TAPS_D;                                                 \
  const ivec3 offset = ivec3((tap_plane - channel * TAPS_D) * TAP_STEP_D,                  \
                             (tap_line - tap_plane * TAPS_H) * TAP_STEP_H,                 \
                             ((number) - tap_line * TAPS_W) * TAP_STEP_W);
// x at a place, zero outside; `from` is the channel's first element.
#define VALUE(value, from, at)                                                                           \
  if (uint((at).x) < in_size[0] && uint((at).y) < in_size[1] && uint((at).z) < in_size[2])               \
    value = x[(from) + (uint((at).x) * in_size[1] + uint((at).y)) * in_size[2] + uint((at).z)];

#ifdef KERNEL_conv_shared
layout(set = 0, binding = 0) readonly buffer X { float x[]; };
layout(set = 0, binding = 1) readonly buffer W { float w[]; };
layout(set = 0, binding = 1) readonly buffer W4 { vec4 w4[]; };
layout(set = 0, binding = 2) writeonly buffer Y { float y[]; };
layout(set = 0, binding = 2) writeonly buffer Y4 { vec4 y4[]; };
layout(push_constant) uniform Push {
  uint x_offset, w_offset, y_offset;
  uint batches, groups, channels, rows;
  uint in_size[3], out_size[3];
  int base[3];
  uint y_row, y_step[3];
  uint w_group, w_row, w_k;
  uint k_chunk, y_slice;
};

#define FETCH_X                                                                                                    \
  [[unroll]] for (uint i = 0; i < B_LOADS; ++i) {                                                                  \
    const uint at_k = kk + lane / (TILE_N / 4) + i * (gl_WorkGroupSize.x / (TILE_N / 4));                          \
    vec4 v = vec4(0);                                                                                              \
    if (at_k < k_end) {                                                                                            \
      FIND_TAP(at_k, channel, offset)                                                                              \
      [[unroll]] for (uint e = 0; e < 4; ++e) {                                                                    \
        const uint p = QUADS ? 0 : e;                                                                              \
        const ivec3 at = place[p].first + offset + ivec3(0, 0, QUADS ? e * STEP_W : 0);                            \
        VALUE(v[e], x_offset + ((place[p].n * groups + group) * channels + channel) * x_channel, at)               \
      }                                                                                                            \
    }                                                                                                              \
    b_next[i] = v;                                                                                                 \
  }

void main() {
  const uint count = batches * out_size[0] * out_size[1] * out_size[2], k = channels * TAPS_D * TAPS_H * TAPS_W;
  const uint row_groups = (rows + TILE_M - 1) / TILE_M, col_groups = (count + TILE_N - 1) / TILE_N;
  uint rest = group_index();
  const uint row0 = rest % row_groups * TILE_M;
  rest /= row_groups;
  const uint col0 = rest % col_groups * TILE_N;
  rest /= col_groups;
  const uint group = rest % groups, slice = rest / groups;
  const uint k_begin = slice * k_chunk, k_end = min(k, k_begin + k_chunk);
  if (slice > 0 && k_begin >= k) return;
  const uint lane = gl_LocalInvocationID.x, lane_m = lane / LANES_N, lane_n = lane % LANES_N;
  const uint x_channel = in_size[0] * in_size[1] * in_size[2], w_start = w_offset + group * w_group;

  Place place[PLACES];
  [[unroll]] for (uint p = 0; p < PLACES; ++p)
    FIND_PLACE(place[p], min(col0 + lane % (TILE_N / 4) * 4 + p, count - (QUADS ? 4 : 1)))

  float sum[ROWS * COLS];
  [[unroll]] for (uint i = 0; i < ROWS * COLS; ++i) sum[i] = 0.0;
  vec4 a_next[A_LOADS], b_next[B_LOADS];
  uint kk = k_begin;
  FETCH(w, W_LAYOUT, TILE_M, A_LOADS, a_next, row0, rows, w_start, w_row, w_k)
  FETCH_X
  while (kk < k_end) {
    PUT(a_part, W_LAYOUT, TILE_M, A_PITCH, A_LOADS, a_next)
    PUT(b_part, 0, TILE_N, B_PITCH, B_LOADS, b_next)
    barrier();
    kk += K_TILE;
    FETCH(w, W_LAYOUT, TILE_M, A_LOADS, a_next, row0, rows, w_start, w_row, w_k)
    FETCH_X
    MULTIPLY_PARTS
    barrier();
  }

  [[unroll]] for (uint j = 0; j < COLS; ++j) {
    const uint col = col0 + (j / 4 * LANES_N + lane_n) * 4 + j % 4;
    if (Y_VEC4 && j % 4 != 0) continue;
    if (col >= count) continue;
    const uint y_size = out_size[0] * out_size[1] * out_size[2], n = col / y_size, out_place = col - n * y_size;
    const uint line = out_place / out_size[2], depth = line / out_size[1];
    const uint y_from = y_offset + slice * y_slice + (n * groups + group) * rows * y_row + depth * y_step[0] +
                        (line - depth * out_size[1]) * y_step[1] + (out_place - line * out_size[2]) * y_step[2];
    [[unroll]] for (uint r = 0; r < ROWS; ++r) {
      const uint row = row0 + (r / 4 * LANES_M + lane_m) * 4 + r % 4, at = y_from + row * y_row;
      if (row < rows) {
        if (Y_VEC4)
          y4[at / 4] = EPILOGUE4(vec4(sum[r * COLS + j], sum[r * COLS + j + 1], sum[r * COLS + j + 2],
                                      sum[r * COLS + j + 3]),
                                 at);
        else
          y[at] = EPILOGUE(sum[r * COLS + j], at);
      }
    }
  }
}
#endif

#ifdef KERNEL_conv_weight_shared
layout(set = 0, binding = 0) readonly buffer X { float x[]; };
layout(set = 0, binding = 1) readonly buffer Dy { float dy[]; };
layout(set = 0, binding = 1) readonly buffer Dy4 { vec4 dy4[]; };
layout(set = 0, binding = 2) writeonly buffer Dw { float dw[]; };
layout(push_constant) uniform Push {
  uint x_offset, dy_offset;
  uint batches, groups, channels, rows;
  uint in_size[3], out_size[3];
  int base[3];
  uint k_chunk, slices;
};

// An invocation's four places are the same for all of its loads. With QUADS dy_offset is a multiple of four.
#define FETCH_PLACES                                                                                        \
  {                                                                                                         \
    const uint at_k = kk + lane % (K_TILE / 4) * 4;                                                         \
    Place place[PLACES];                                                                                    \
    [[unroll]] for (uint p = 0; p < PLACES; ++p) FIND_PLACE(place[p], min(at_k + p, count - 1))             \
    [[unroll]] for (uint i = 0; i < A_LOADS; ++i) {                                                         \
      const uint row = min(row0 + (lane + i * gl_WorkGroupSize.x) / (K_TILE / 4), rows - 1);                \
      vec4 v = vec4(0);                                                                                     \
      if (QUADS) {                                                                                          \
        if (at_k < k_end)                                                                                   \
          v = dy4[(dy_offset + ((place[0].n * groups + group) * rows + row) * y_size + place[0].out_place) / 4]; \
      } else {                                                                                              \
        [[unroll]] for (uint e = 0; e < 4; ++e) {                                                           \
          const uint p = min(e, PLACES - 1);                                                                \
          if (at_k + e < k_end)                                                                             \
            v[e] = dy[dy_offset + ((place[p].n * groups + group) * rows + row) * y_size + place[p].out_place]; \
        }                                                                                                   \
      }                                                                                                     \
      a_next[i] = v;                                                                                        \
    }                                                                                                       \
    [[unroll]] for (uint i = 0; i < B_LOADS; ++i) {                                                         \
      vec4 v = vec4(0);                                                                                     \
      [[unroll]] for (uint e = 0; e < 4; ++e) {                                                             \
        const uint p = QUADS ? 0 : e;                                                                       \
        const ivec3 at = place[p].first + tap[i] + ivec3(0, 0, QUADS ? e * STEP_W : 0);                     \
        if (at_k + e < k_end) VALUE(v[e], from[i] + place[p].n * groups * channels * x_channel, at)         \
      }                                                                                                     \
      b_next[i] = v;                                                                                        \
    }                                                                                                       \
  }

void main() {
  const uint y_size = out_size[0] * out_size[1] * out_size[2], count = batches * y_size;
  const uint columns = channels * TAPS_D * TAPS_H * TAPS_W;
  const uint row_groups = (rows + TILE_M - 1) / TILE_M, col_groups = (columns + TILE_N - 1) / TILE_N;
  uint rest = group_index();
  const uint row0 = rest % row_groups * TILE_M;
  rest /= row_groups;
  const uint col0 = rest % col_groups * TILE_N;
  rest /= col_groups;
  const uint group = rest % groups, slice = rest / groups;
  if (slice >= slices) return;
  const uint k_begin = slice * k_chunk, k_end = min(count, k_begin + k_chunk);
  const uint lane = gl_LocalInvocationID.x, lane_m = lane / LANES_N, lane_n = lane % LANES_N;
  const uint x_channel = in_size[0] * in_size[1] * in_size[2];

  uint from[B_LOADS];
  ivec3 tap[B_LOADS];
  [[unroll]] for (uint i = 0; i < B_LOADS; ++i) {
    FIND_TAP(min(col0 + (lane + i * gl_WorkGroupSize.x) / (K_TILE / 4), columns - 1), channel, offset)
    from[i] = x_offset + (group * channels + channel) * x_channel;
    tap[i] = offset;
  }

  float sum[ROWS * COLS];
  [[unroll]] for (uint i = 0; i < ROWS * COLS; ++i) sum[i] = 0.0;
  vec4 a_next[A_LOADS], b_next[B_LOADS];
  uint kk = k_begin;
  FETCH_PLACES
  while (kk < k_end) {
    PUT(a_part, 1, TILE_M, A_PITCH, A_LOADS, a_next)
    PUT(b_part, 1, TILE_N, B_PITCH, B_LOADS, b_next)
    barrier();
    kk += K_TILE;
    FETCH_PLACES
    MULTIPLY_PARTS
    barrier();
  }

  [[unroll]] for (uint r = 0; r < ROWS; ++r) {
    const uint row = row0 + (r / 4 * LANES_M + lane_m) * 4 + r % 4;
    [[unroll]] for (uint j = 0; j < COLS; ++j) {
      const uint col = col0 + (j / 4 * LANES_N + lane_n) * 4 + j % 4;
      if (row < rows && col < columns) dw[((slice * groups + group) * rows + row) * columns + col] = sum[r * COLS + j];
    }
  }
}
#endif

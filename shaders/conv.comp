// Convolution without a buffer of patches, fp32, by registers alone: for CPU drivers, for groups of few channels
// (depthwise convolution has ROWS = 1), and where shared memory's tiles do not fit. In groups of `channels` to `rows`:
//   conv              y[n, r, q] = sum over c, t of w[r, c, t] x[n, c, base + q STEP + t TAP_STEP]
//                     also the transposed convolution: its outputs at places q STRIDE + p, for each p below STRIDE, are a
//                     convolution of their own with every STRIDE-th tap.
//                     Thread mapping: an invocation makes a strip of COLS outputs in each of ROWS channels. With
//                     LANES > 1 a workgroup is one subgroup of LANES lanes, which load the weights between them and hand
//                     them out by subgroupBroadcast, as in matmul.comp.
//   conv_weight       dw[r, c, t] = sum over n, q of dy[n, r, q] x[n, c, base + q STEP + t TAP_STEP]
//                     Thread mapping: an invocation makes TAPS_W taps in each of ROWS channels r for CHANNELS of c; all
//                     of a workgroup walk the same strips, a slice of all. Slices are added by sum_slices.
//   conv_weight_rows  the same; a workgroup makes TAPS_W taps of one r and c, its lanes walk the strips together.
// conv_texel and conv_weight_texel read by texel fetches, which are what is fast on old CPU drivers; see matmul.comp.
// Past the end of a row of outputs dy counts as 0, so an infinite x there gives NaN where the sum would be finite.
// Numerics: fp32 sums; conv: c, then t ascending; conv_weight: a strip's products, then the strips, ascending.
// Search space: LANES, ROWS, COLS, CHANNELS, X_PHASE.
#version 460
#pragma stithy kernels conv conv_texel conv_weight conv_weight_texel conv_weight_rows
#extension GL_GOOGLE_include_directive : require
#pragma stithy fuse conv - y
#pragma stithy fuse conv_texel - y
#extension GL_EXT_control_flow_attributes : require
#extension GL_EXT_samplerless_texture_functions : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#extension GL_KHR_shader_subgroup_ballot : require
#ifdef KERNEL_conv_weight_rows
#include "row.glsl"
#else
layout(local_size_x = 64, local_size_x_id = 0) in;
#include "grid.glsl"
layout(constant_id = 1) const uint LANES = 1;
#endif
#if defined KERNEL_conv_texel || defined KERNEL_conv_weight_texel
#define TEXELS
#endif
#include "conv.glsl"
#include "fused.glsl"

// How x is read: 4 an element at a time; below 4 in vectors, of which the segments begin X_PHASE elements after the first.
// The rows are whole vectors then.
layout(constant_id = 14) const uint X_PHASE = 4;

#ifdef TEXELS
layout(set = 0, binding = 0) uniform textureBuffer x;
#define LOAD(x, i) texelFetch(x, int((i) / 4))[(i) % 4]
#define LOAD4(x, i) texelFetch(x, int(i))
#else
layout(set = 0, binding = 0) readonly buffer X { float x[]; };
layout(set = 0, binding = 0) readonly buffer X4 { vec4 x4[]; };
#define LOAD(x, i) x[i]
#define LOAD4(x, i) x##4[i]
#endif

// Fills xs with the segment of the input's row (id, ih) from iw on; `from` is the channel's first element.
#define LOAD_SEGMENT(xs, from, id, ih, iw)                                                         \
  {                                                                                                \
    const bool in_row = uint(id) < in_size[0] && uint(ih) < in_size[1];                            \
    const uint row_from = (from) + uint(((id) * int(in_size[1]) + (ih)) * int(in_size[2]) + (iw)); \
    if (X_PHASE < 4) {                                                                             \
      [[unroll]] for (uint v = 0; v < (X_PHASE + SEGMENT + 3) / 4; ++v) {                          \
        const bool inside = in_row && uint((iw) + int(4 * v) - int(X_PHASE)) < in_size[2];         \
        vec4 values = LOAD4(x, inside ? (row_from + 4 * v - X_PHASE) / 4 : 0);                         \
        if (!inside) values = vec4(0);                                                             \
        [[unroll]] for (uint e = 0; e < 4; ++e)                                                    \
          if (4 * v + e >= X_PHASE && 4 * v + e - X_PHASE < SEGMENT) xs[4 * v + e - X_PHASE] = values[e]; \
      }                                                                                            \
    } else {                                                                                       \
      [[unroll]] for (uint s = 0; s < SEGMENT; ++s) {                                              \
        const bool inside = in_row && uint((iw) + int(s)) < in_size[2];                            \
        const uint at = inside ? row_from + s : 0;                                                 \
        const float value = LOAD(x, at);                                                           \
        xs[s] = inside ? value : 0.0;                                                              \
      }                                                                                            \
    }                                                                                              \
  }

#if defined KERNEL_conv || defined KERNEL_conv_texel
layout(constant_id = 15) const bool Y_VEC4 = false;
layout(constant_id = 17) const uint UNROLL_H = 1;  // taps along h that are unrolled; divides TAPS_H
layout(constant_id = 16) const bool W_VEC4 = false;  // along the rows: w_row is 1, rows and ROWS are multiples of 4
#ifdef TEXELS
layout(set = 0, binding = 1) uniform textureBuffer w;
#else
layout(set = 0, binding = 1) readonly buffer W { float w[]; };
layout(set = 0, binding = 1) readonly buffer W4 { vec4 w4[]; };
#endif
layout(set = 0, binding = 2) writeonly buffer Y { float y[]; };
layout(set = 0, binding = 2) writeonly buffer Y4 { vec4 y4[]; };
layout(push_constant) uniform Push {
  uint x_offset, w_offset, y_offset;
  uint batches, groups, channels, rows;
  uint in_size[3], out_size[3];
  int base[3];
  uint y_row, y_step[3];
  uint w_group, w_row, w_channel, w_tap[3];
};

const uint WEIGHTS = ROWS * TAPS_W;
const uint PARTS = (WEIGHTS + LANES - 1) / LANES;

void main() {
  const uint lane = gl_LocalInvocationID.x, lanes = gl_WorkGroupSize.x;
  const uint strips = batches * out_size[0] * out_size[1] * ((out_size[2] + COLS - 1) / COLS);
  const uint strip_groups = (strips + lanes - 1) / lanes, row_groups = (rows + ROWS - 1) / ROWS;
  uint rest = group_index();
  const uint row0 = rest % row_groups * ROWS;
  rest /= row_groups;
  const uint strip = rest % strip_groups * lanes + lane, group = rest / strip_groups;
  if (group >= groups) return;
  FIND_STRIP(min(strip, strips - 1))

  const uint x_channel = in_size[0] * in_size[1] * in_size[2];
  uint from = x_offset + (n * groups + group) * channels * x_channel;
  const int id0 = base[0] + int(od * STEP_D), ih0 = base[1] + int(oh * STEP_H), iw0 = base[2] + int(ow * STEP_W);
  uint w_at[LANES > 1 ? PARTS : ROWS];
  [[unroll]] for (uint p = 0; p < (LANES > 1 ? PARTS : ROWS); ++p) {
    const uint e = min(p * LANES + lane, WEIGHTS - 1);
    const uint r = LANES > 1 ? e / TAPS_W : p, t = LANES > 1 ? e % TAPS_W : 0;
    const uint row = LANES == 1 && W_VEC4 ? min(row0 + r / 4 * 4, rows - 4) : min(row0 + r, rows - 1);
    w_at[p] = w_offset + group * w_group + row * w_row + t * w_tap[2];
  }

  float sum[ROWS * COLS];
  [[unroll]] for (uint i = 0; i < ROWS * COLS; ++i) sum[i] = 0.0;
  uint w_from = 0;
  for (uint c = 0; c < channels; ++c, from += x_channel, w_from += w_channel) {
    for (uint td = 0; td < TAPS_D; ++td) {
      for (uint th0 = 0; th0 < TAPS_H; th0 += UNROLL_H) {
        for (uint block = 0; block < BLOCKS_W; ++block) {
          [[unroll]] for (uint h = 0; h < UNROLL_H; ++h) {
            const uint th = th0 + h;
            float xs[SEGMENT];
            LOAD_SEGMENT(xs, from, id0 + int(td * TAP_STEP_D), ih0 + int(th * TAP_STEP_H),
                         iw0 + int(block * TAPS_W * TAP_STEP_W))
            const uint w_tile = w_from + td * w_tap[0] + th * w_tap[1] + block * TAPS_W * w_tap[2];
            float ws[LANES > 1 ? PARTS : 1];
            if (LANES > 1) {
              [[unroll]] for (uint p = 0; p < PARTS; ++p) ws[p] = LOAD(w, w_at[p] + w_tile);
            }
            vec4 of_rows[TAPS_W];
            [[unroll]] for (uint r = 0; r < ROWS; ++r) {
              float of_row[TAPS_W];
              [[unroll]] for (uint t = 0; t < TAPS_W; ++t) {
                const uint e = r * TAPS_W + t, at = w_at[LANES > 1 ? 0 : r] + w_tile + t * w_tap[2];
                if (LANES > 1) {
                  of_row[t] = subgroupBroadcast(ws[e / LANES], e % LANES);
                } else if (W_VEC4) {
                  if (r % 4 == 0) of_rows[t] = LOAD4(w, at / 4);
                  of_row[t] = of_rows[t][r % 4];
                } else {
                  of_row[t] = LOAD(w, at);
                }
              }
              [[unroll]] for (uint j = 0; j < COLS; ++j)
                [[unroll]] for (uint t = 0; t < TAPS_W; ++t)
                  sum[r * COLS + j] += of_row[t] * xs[j * STEP_W + t * TAP_STEP_W];
            }
          }
        }
      }
    }
  }

  if (strip >= strips) return;
  const uint y_from = y_offset + (n * groups + group) * rows * y_row + od * y_step[0] + oh * y_step[1] + ow * y_step[2];
  [[unroll]] for (uint r = 0; r < ROWS; ++r) {
    if (row0 + r < rows) {
      [[unroll]] for (uint j = 0; j < COLS; ++j) {
        const uint at = y_from + (row0 + r) * y_row + j * y_step[2];
        if (Y_VEC4) {
          if (j % 4 == 0 && ow + j < out_size[2])
            y4[at / 4] = EPILOGUE4(vec4(sum[r * COLS + j], sum[r * COLS + j + 1], sum[r * COLS + j + 2],
                                        sum[r * COLS + j + 3]),
                                   at);
        } else if (ow + j < out_size[2]) {
          y[at] = EPILOGUE(sum[r * COLS + j], at);
        }
      }
    }
  }
}
#endif

#if defined KERNEL_conv_weight || defined KERNEL_conv_weight_texel || defined KERNEL_conv_weight_rows
#ifdef TEXELS
layout(set = 0, binding = 1) uniform textureBuffer dy;
#else
layout(set = 0, binding = 1) readonly buffer Dy { float dy[]; };
layout(set = 0, binding = 1) readonly buffer Dy4 { vec4 dy4[]; };
#endif
layout(set = 0, binding = 2) writeonly buffer Dw { float dw[]; };
layout(push_constant) uniform Push {
  uint x_offset, dy_offset;
  uint batches, groups, channels, rows;
  uint in_size[3], out_size[3];
  int base[3];
  uint slice_strips, slices;
};
#endif

#if defined KERNEL_conv_weight || defined KERNEL_conv_weight_texel
layout(constant_id = 15) const uint CHANNELS = 1;
layout(constant_id = 16) const bool DY_VEC4 = false;  // along a strip: rows of outputs and COLS are multiples of 4

// dy of ROWS channels along a strip.
const uint GRADIENTS = ROWS * COLS;
const uint PARTS = (GRADIENTS + LANES - 1) / LANES;

void main() {
  const uint lane = gl_LocalInvocationID.x, lanes = gl_WorkGroupSize.x;
  const uint x_channel = in_size[0] * in_size[1] * in_size[2], y_row = out_size[0] * out_size[1] * out_size[2];
  const uint strips = batches * out_size[0] * out_size[1] * ((out_size[2] + COLS - 1) / COLS);
  // What an invocation sums for: a channel, and all of a tap but its place in a block along w.
  const uint sums = channels * TAPS_D * TAPS_H * BLOCKS_W;
  const uint sum_groups = (sums + lanes * CHANNELS - 1) / (lanes * CHANNELS), row_groups = (rows + ROWS - 1) / ROWS;
  uint rest = group_index();
  const uint row0 = rest % row_groups * ROWS;
  rest /= row_groups;
  const uint sum0 = rest % sum_groups * lanes * CHANNELS + lane;
  rest /= sum_groups;
  const uint group = rest % groups, slice = rest / groups;
  if (slice >= slices) return;

  uint from[CHANNELS];
  int id0[CHANNELS], ih0[CHANNELS], iw0[CHANNELS];
  [[unroll]] for (uint k = 0; k < CHANNELS; ++k) {
    uint at = min(sum0 + k * lanes, sums - 1);
    iw0[k] = base[2] + int(at % BLOCKS_W * TAPS_W * TAP_STEP_W);
    at /= BLOCKS_W;
    ih0[k] = base[1] + int(at % TAPS_H * TAP_STEP_H);
    at /= TAPS_H;
    id0[k] = base[0] + int(at % TAPS_D * TAP_STEP_D);
    from[k] = x_offset + (group * channels + at / TAPS_D) * x_channel;
  }
  uint dy_at[PARTS], dy_column[PARTS];
  [[unroll]] for (uint p = 0; p < PARTS; ++p) {
    const uint e = min(p * LANES + (LANES > 1 ? lane : 0), GRADIENTS - 1);
    dy_column[p] = e % COLS;
    dy_at[p] = dy_offset + (group * rows + min(row0 + e / COLS, rows - 1)) * y_row + dy_column[p];
  }

  float sum[CHANNELS * ROWS * TAPS_W];
  [[unroll]] for (uint i = 0; i < CHANNELS * ROWS * TAPS_W; ++i) sum[i] = 0.0;
  const uint end = min(strips, (slice + 1) * slice_strips);
  for (uint strip = slice * slice_strips; strip < end; ++strip) {
    FIND_STRIP(strip)
    const uint dy_from = n * groups * rows * y_row + (od * out_size[1] + oh) * out_size[2] + ow;
    float dys[PARTS];
    [[unroll]] for (uint p = 0; p < PARTS; ++p) {
      if (LANES == 1 && DY_VEC4) {
        if (p % 4 != 0) continue;
        const bool inside = ow + dy_column[p] < out_size[2];
        const vec4 values = LOAD4(dy, inside ? (dy_at[p] + dy_from) / 4 : 0);
        [[unroll]] for (uint e = 0; e < 4; ++e) dys[p + e] = inside ? values[e] : 0.0;
      } else {
        const bool inside = ow + dy_column[p] < out_size[2];
        const uint at = inside ? dy_at[p] + dy_from : 0;
        const float value = LOAD(dy, at);
        dys[p] = inside ? value : 0.0;
      }
    }
    [[unroll]] for (uint k = 0; k < CHANNELS; ++k) {
      float xs[SEGMENT];
      LOAD_SEGMENT(xs, from[k] + n * groups * channels * x_channel, id0[k] + int(od * STEP_D),
                   ih0[k] + int(oh * STEP_H), iw0[k] + int(ow * STEP_W))
      [[unroll]] for (uint r = 0; r < ROWS; ++r) {
        [[unroll]] for (uint j = 0; j < COLS; ++j) {
          const uint e = r * COLS + j;
          const float d = LANES > 1 ? subgroupBroadcast(dys[e / LANES], e % LANES) : dys[e];
          [[unroll]] for (uint t = 0; t < TAPS_W; ++t)
            sum[(k * ROWS + r) * TAPS_W + t] += d * xs[j * STEP_W + t * TAP_STEP_W];
        }
      }
    }
  }

  const uint taps = TAPS_D * TAPS_H * BLOCKS_W * TAPS_W, slice_from = slice * groups * rows * channels * taps;
  [[unroll]] for (uint k = 0; k < CHANNELS; ++k) {
    const uint at = sum0 + k * lanes;
    if (at < sums) {
      [[unroll]] for (uint r = 0; r < ROWS; ++r)
        if (row0 + r < rows)
          [[unroll]] for (uint t = 0; t < TAPS_W; ++t)
            dw[slice_from + ((group * rows + row0 + r) * sums + at) * TAPS_W + t] = sum[(k * ROWS + r) * TAPS_W + t];
    }
  }
}
#endif

#ifdef KERNEL_conv_weight_rows
void main() {
  const uint x_channel = in_size[0] * in_size[1] * in_size[2], y_row = out_size[0] * out_size[1] * out_size[2];
  const uint strips = batches * out_size[0] * out_size[1] * ((out_size[2] + COLS - 1) / COLS);
  const uint sums = channels * TAPS_D * TAPS_H * BLOCKS_W;
  ROW_BEGIN(slices * groups * rows * sums);
  uint rest = row;
  const uint at = rest % sums, output_channel = rest / sums % (groups * rows), slice = rest / sums / (groups * rows);
  const uint block = at % BLOCKS_W, th = at / BLOCKS_W % TAPS_H, td = at / BLOCKS_W / TAPS_H % TAPS_D;
  const uint channel = output_channel / rows * channels + at / BLOCKS_W / TAPS_H / TAPS_D;
  const int id0 = base[0] + int(td * TAP_STEP_D), ih0 = base[1] + int(th * TAP_STEP_H),
            iw0 = base[2] + int(block * TAPS_W * TAP_STEP_W);

  float sum[TAPS_W];
  [[unroll]] for (uint t = 0; t < TAPS_W; ++t) sum[t] = 0.0;
  const uint end = min(strips, (slice + 1) * slice_strips);
  for (uint strip = slice * slice_strips + lane; strip < end; strip += lanes) {
    FIND_STRIP(strip)
    float xs[SEGMENT];
    LOAD_SEGMENT(xs, x_offset + (n * groups * channels + channel) * x_channel, id0 + int(od * STEP_D),
                 ih0 + int(oh * STEP_H), iw0 + int(ow * STEP_W))
    const uint dy_from = dy_offset + (n * groups * rows + output_channel) * y_row + (od * out_size[1] + oh) * out_size[2];
    [[unroll]] for (uint j = 0; j < COLS; ++j) {
      const bool inside = ow + j < out_size[2];
      const float value = dy[inside ? dy_from + ow + j : 0], d = inside ? value : 0.0;
      [[unroll]] for (uint t = 0; t < TAPS_W; ++t) sum[t] += d * xs[j * STEP_W + t * TAP_STEP_W];
    }
  }
  [[unroll]] for (uint t = 0; t < TAPS_W; ++t) {
    const float total = row_sum(sum[t]);
    if (lane == 0) dw[row * TAPS_W + t] = total;
  }
}
#endif

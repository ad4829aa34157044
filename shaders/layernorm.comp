// Layer normalisation over rows (Ba et al. 2016), and, not CENTERED, RMS normalisation (Zhang and Sennrich 2019), where
// the mean is taken as 0. With n columns and xhat = (x - mean) rstd:
//   layernorm            y = xhat w + b; a workgroup per row; the variance is that of x - mean, in a second pass
//   layernorm_backward   dx = rstd (dy w - sum(dy w) / n - xhat sum(dy w xhat) / n), without the middle term when not
//                        CENTERED; a workgroup per row
//   layernorm_weights    dw = sum of dy xhat and db = sum of dy over the rows; an invocation per column and slice of
//                        rows; the slices are added by sum_slices
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#pragma stithy kernels layernorm layernorm_backward layernorm_weights
#pragma stithy fuse layernorm x y
#pragma stithy fuse layernorm_backward - dx
#include "row.glsl"
#include "fused.glsl"

layout(constant_id = 2) const bool CENTERED = true;

#ifdef KERNEL_layernorm
layout(set = 0, binding = 0) readonly buffer X { float x[]; };
layout(set = 0, binding = 1) readonly buffer W { float w[]; };
layout(set = 0, binding = 2) readonly buffer B { float b[]; };
layout(set = 0, binding = 3) writeonly buffer Y { float y[]; };
layout(set = 0, binding = 4) writeonly buffer Rstd { float rstd[]; };
layout(set = 0, binding = 5) writeonly buffer Mean { float mean[]; };
layout(push_constant) uniform Push { uint rows, columns, x_offset, w_offset, b_offset; float epsilon; };

void main() {
  ROW_BEGIN(rows);
  const uint base = row * columns, from = x_offset + base;
  float centre = 0.0;
  if (CENTERED) {
    vec2 total = vec2(0);
    FOR_ROW(c, columns) accumulate(total, PROLOGUE(x[from + c], from + c));
    centre = row_sum(total.x) / float(columns);
  }
  vec2 squares = vec2(0);
  FOR_ROW(c, columns) {
    const float d = PROLOGUE(x[from + c], from + c) - centre;
    accumulate(squares, d * d);
  }
  const float scale = 1.0 / sqrt(row_sum(squares.x) / float(columns) + epsilon);
  FOR_ROW(c, columns) {
    float value = (PROLOGUE(x[from + c], from + c) - centre) * scale * w[w_offset + c];
    if (CENTERED) value += b[b_offset + c];
    y[base + c] = EPILOGUE(value, base + c);
  }
  if (lane != 0u) return;
  rstd[row] = scale;
  if (CENTERED) mean[row] = centre;
}
#endif

#ifdef KERNEL_layernorm_backward
layout(set = 0, binding = 0) readonly buffer X { float x[]; };
layout(set = 0, binding = 1) readonly buffer W { float w[]; };
layout(set = 0, binding = 2) readonly buffer Rstd { float rstd[]; };
layout(set = 0, binding = 3) readonly buffer Mean { float mean[]; };
layout(set = 0, binding = 4) readonly buffer Dy { float dy[]; };
layout(set = 0, binding = 5) writeonly buffer Dx { float dx[]; };
layout(push_constant) uniform Push { uint rows, columns, x_offset, w_offset, dy_offset; };

void main() {
  ROW_BEGIN(rows);
  const uint base = row * columns, from = x_offset + base;
  const float scale = rstd[row], centre = CENTERED ? mean[row] : 0.0;
  vec2 plain = vec2(0), along = vec2(0);
  FOR_ROW(c, columns) {
    const float d = dy[dy_offset + base + c] * w[w_offset + c];
    if (CENTERED) accumulate(plain, d);
    accumulate(along, d * (x[from + c] - centre) * scale);
  }
  const float mean_plain = CENTERED ? row_sum(plain.x) / float(columns) : 0.0;
  const float mean_along = row_sum(along.x) / float(columns);
  FOR_ROW(c, columns) {
    const float d = dy[dy_offset + base + c] * w[w_offset + c];
    const float value = scale * (d - mean_plain - (x[from + c] - centre) * scale * mean_along);
    dx[base + c] = EPILOGUE(value, base + c);
  }
}
#endif

#ifdef KERNEL_layernorm_weights
layout(set = 0, binding = 0) readonly buffer X { float x[]; };
layout(set = 0, binding = 1) readonly buffer Rstd { float rstd[]; };
layout(set = 0, binding = 2) readonly buffer Mean { float mean[]; };
layout(set = 0, binding = 3) readonly buffer Dy { float dy[]; };
layout(set = 0, binding = 4) writeonly buffer Dw { float dw[]; };
layout(set = 0, binding = 5) writeonly buffer Db { float db[]; };
layout(push_constant) uniform Push { uint rows, columns, x_offset, dy_offset, slice_rows, slices; };

void main() {
  const uint i = invocation_index();
  if (i >= columns * slices) return;
  const uint slice = i / columns, c = i - slice * columns;
  const uint end = min(rows, (slice + 1u) * slice_rows);
  vec2 weight = vec2(0), bias = vec2(0);
  for (uint row = slice * slice_rows; row < end; ++row) {
    const float d = dy[dy_offset + row * columns + c];
    const float centre = CENTERED ? mean[row] : 0.0;
    accumulate(weight, d * (x[x_offset + row * columns + c] - centre) * rstd[row]);
    if (CENTERED) accumulate(bias, d);
  }
  dw[i] = weight.x;
  if (CENTERED) db[i] = bias.x;
}
#endif

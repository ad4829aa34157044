// Softmax and its logarithm over rows; a workgroup per row.
//   softmax       y = exp(x - max) / sum(exp(x - max));  LOG: y = x - max - log(sum(exp(x - max)))
//   softmax_backward   dx = y (dy - sum(y dy));  LOG: dx = dy - exp(y) sum(dy)
// -inf has the probability 0, and a row of nothing else is NaN.
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#pragma stithy kernels softmax softmax_backward
#pragma stithy fuse softmax x y
#pragma stithy fuse softmax_backward - dx
#include "row.glsl"
#include "fused.glsl"

layout(constant_id = 2) const bool LOG = false;

#ifdef KERNEL_softmax
layout(set = 0, binding = 0) readonly buffer X { float x[]; };
layout(set = 0, binding = 1) writeonly buffer Y { float y[]; };
layout(push_constant) uniform Push { uint rows, columns, x_offset; };

void main() {
  ROW_BEGIN(rows);
  const uint base = row * columns, from = x_offset + base;
  float largest = -infinity();
  FOR_ROW(c, columns) largest = max(largest, PROLOGUE(x[from + c], from + c));
  largest = row_max(largest);
  vec2 total = vec2(0);
  FOR_ROW(c, columns) accumulate(total, exp_(PROLOGUE(x[from + c], from + c) - largest));
  const float sum = row_sum(total.x);
  if (LOG) {
    const float log_sum = log_(sum);
    FOR_ROW(c, columns) y[base + c] = EPILOGUE((PROLOGUE(x[from + c], from + c) - largest) - log_sum, base + c);
  } else {
    FOR_ROW(c, columns) y[base + c] = EPILOGUE(exp_(PROLOGUE(x[from + c], from + c) - largest) / sum, base + c);
  }
}
#endif

#ifdef KERNEL_softmax_backward
layout(set = 0, binding = 0) readonly buffer Y { float y[]; };
layout(set = 0, binding = 1) readonly buffer Dy { float dy[]; };
layout(set = 0, binding = 2) writeonly buffer Dx { float dx[]; };
layout(push_constant) uniform Push { uint rows, columns, y_offset, dy_offset; };

void main() {
  ROW_BEGIN(rows);
  const uint base = row * columns;
  vec2 total = vec2(0);
  FOR_ROW(c, columns) {
    const float d = dy[dy_offset + base + c];
    accumulate(total, LOG ? d : d * y[y_offset + base + c]);
  }
  const float sum = row_sum(total.x);
  FOR_ROW(c, columns) {
    const float d = dy[dy_offset + base + c], value = y[y_offset + base + c];
    dx[base + c] = EPILOGUE(LOG ? d - exp_(value) * sum : value * (d - sum), base + c);
  }
}
#endif

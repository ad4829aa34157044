// A step of a recurrent layer, after the product of its state and weights; recurrent.glsl states the cells' formulas.
// An invocation per element of the state.
//   recurrent           h', and what backward needs: planes of h and of the cell's values
//   recurrent_backward  the gradients of s and, where it has another, of x; dh and dc are those of the state. What comes
//                       back by the product of the step that ran before is added first.
//   recurrent_finish    adds it after the last step
#version 460
#extension GL_GOOGLE_include_directive : require
#pragma stithy kernels recurrent recurrent_backward recurrent_finish
#include "grid.glsl"
layout(local_size_x_id = 0) in;
#include "recurrent.glsl"

#ifdef KERNEL_recurrent
layout(set = 0, binding = 0) readonly buffer X { float x[]; };
layout(set = 0, binding = 1) readonly buffer S { float s[]; };
layout(set = 0, binding = 2) readonly buffer Bias { float bias[]; };
layout(set = 0, binding = 3) readonly buffer Lengths { int lengths[]; };
layout(set = 0, binding = 4) buffer H { float h[]; };
layout(set = 0, binding = 5) buffer C { float c[]; };
layout(set = 0, binding = 6) writeonly buffer Y { float y[]; };
layout(set = 0, binding = 7) writeonly buffer Saved { float saved[]; };
// The row of x and y of element b of the batch at this step is first_row + b * row_step.
layout(push_constant) uniform Push {
  uint batch, hidden, step, first_row, row_step, plane, x_offset, bias_offset, lengths_offset;
};

void main() {
  const uint e = invocation_index();
  if (e >= batch * hidden) return;
  const uint b = e / hidden, j = e - b * hidden, row = first_row + b * row_step, to = row * hidden + j;
  const float before = h[e];
  saved[to] = before;
  if (HAS_LENGTHS && int(step) >= lengths[lengths_offset + b]) {
    y[to] = 0.0;
    return;
  }
  vec4 sums = vec4(0.0), products = vec4(0.0);
  for (uint k = 0u; k < GATES; ++k) {
    products[k] = s[(b * GATES + k) * hidden + j] + bias[bias_offset + k * hidden + j];
    sums[k] = x[x_offset + (row * GATES + k) * hidden + j];
  }
  float c_now = CELL == LSTM ? c[e] : 0.0, kept[5];
  const float after = cell(sums, products, before, c_now, kept);
  if (CELL == LSTM) c[e] = c_now;
  for (uint k = 0u; k < KEPT; ++k) saved[(k + 1u) * plane + to] = kept[k];
  h[e] = after;
  y[to] = after;
}
#endif

#ifdef KERNEL_recurrent_backward
layout(constant_id = 3) const bool HAS_DY = true;
layout(constant_id = 4) const bool IS_FIRST = false;  // no step ran before
layout(set = 0, binding = 0) readonly buffer Saved { float saved[]; };
layout(set = 0, binding = 1) readonly buffer Y { float y[]; };
layout(set = 0, binding = 2) readonly buffer Dy { float dy[]; };
layout(set = 0, binding = 3) readonly buffer Lengths { int lengths[]; };
layout(set = 0, binding = 4) readonly buffer Back { float back[]; };
layout(set = 0, binding = 5) buffer Dh { float dh[]; };
layout(set = 0, binding = 6) buffer Dc { float dc[]; };
layout(set = 0, binding = 7) writeonly buffer Ds { float ds[]; };
layout(set = 0, binding = 8) writeonly buffer Dx { float dx[]; };
layout(push_constant) uniform Push {
  uint batch, hidden, step, first_row, row_step, plane, dy_offset, lengths_offset;
};

void main() {
  const uint e = invocation_index();
  if (e >= batch * hidden) return;
  const uint b = e / hidden, j = e - b * hidden, row = first_row + b * row_step, at = row * hidden + j;
  const uint to = row * GATES * hidden + j;
  float d = IS_FIRST ? dh[e] : dh[e] + back[e];
  const bool past = HAS_LENGTHS && int(step) >= lengths[lengths_offset + b];
  vec4 d_s = vec4(0.0), d_x = vec4(0.0);
  if (!past) {
    if (HAS_DY) d += dy[dy_offset + at];
    float d_c = CELL == LSTM ? dc[e] : 0.0, kept[5];
    for (uint k = 0u; k < KEPT; ++k) kept[k] = saved[(k + 1u) * plane + at];
    d = cell_backward(kept, saved[at], y[at], d, d_c, d_s, d_x);
    if (CELL == LSTM) dc[e] = d_c;
  }
  dh[e] = d;
  for (uint k = 0u; k < GATES; ++k) {
    ds[to + k * hidden] = d_s[k];
    if (CELL == GRU) dx[to + k * hidden] = d_x[k];
  }
}
#endif

#ifdef KERNEL_recurrent_finish
layout(set = 0, binding = 0) readonly buffer Back { float back[]; };
layout(set = 0, binding = 1) buffer Dh { float dh[]; };
layout(push_constant) uniform Push { uint count; };

void main() {
  const uint e = invocation_index();
  if (e < count) dh[e] += back[e];
}
#endif

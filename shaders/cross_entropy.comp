// Softmax and cross entropy of one row of logits x, with q, the row's target distribution times class weights:
//   index targets         q[c] = (1 - s) w[t] [c == t] + s / C w[c]; 0 where t is ignore_index
//   probability targets   q[c] = w[c] ((1 - s) t[c] + s / C)
//   loss = sum_c q[c] (lse - x[c]),   dx[c] = g (exp(x[c] - lse) Q - q[c]),   Q = sum_c q[c]
// with s the label smoothing and g the loss's gradient, divided by `divisor` for a mean. Probabilities are never stored.
//   cross_entropy            a workgroup per row: the row's loss, lse and weight w[t]
//   cross_entropy_total      one workgroup: the sum of the losses, divided for a mean, and the divisor
//   cross_entropy_backward   a workgroup per row
// A target out of range makes the row NaN.
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#pragma stithy kernels cross_entropy cross_entropy_total cross_entropy_backward
#pragma stithy aids cross_entropy_total
#include "row.glsl"

#ifndef KERNEL_cross_entropy_total
layout(constant_id = 2) const bool PROBABILITIES = false;
layout(constant_id = 3) const bool WEIGHTED = false;
layout(constant_id = 4) const bool SMOOTHED = false;

layout(set = 0, binding = 0) readonly buffer X { float x[]; };
layout(set = 0, binding = 1) readonly buffer T { uint targets[]; };  // i32, or f32 bits
layout(set = 0, binding = 2) readonly buffer W { float weights[]; };
layout(push_constant) uniform Push {
  uint rows, columns, x_offset, targets_offset, weights_offset;
  int ignore_index;
  float smoothing;
  uint lse_offset, dy_offset, dy_stride, divided;
};

float weight_of(uint c) { return WEIGHTED ? weights[weights_offset + c] : 1.0; }
// q[c] of a row whose target is t; for index targets t is in range.
float target_of(uint row, uint c, int t) {
  const float even = SMOOTHED ? smoothing / float(columns) : 0.0;
  if (PROBABILITIES)
    return weight_of(c) * ((1.0 - smoothing) * uintBitsToFloat(targets[targets_offset + row * columns + c]) + even);
  float q = c == uint(t) ? (1.0 - smoothing) * weight_of(c) : 0.0;
  if (SMOOTHED) q += even * weight_of(c);
  return q;
}
bool out_of_range(int t) { return !PROBABILITIES && (t < 0 || t >= int(columns)); }
#endif

#ifdef KERNEL_cross_entropy
layout(set = 0, binding = 3) writeonly buffer Loss { float loss[]; };
layout(set = 0, binding = 4) writeonly buffer Lse { float lse[]; };
layout(set = 0, binding = 5) writeonly buffer Weight { float row_weight[]; };

void main() {
  ROW_BEGIN(rows);
  const uint base = x_offset + row * columns;
  const int t = PROBABILITIES ? 0 : int(targets[targets_offset + row]);
  float largest = -infinity();
  FOR_ROW(c, columns) largest = max(largest, x[base + c]);
  largest = row_max(largest);

  const bool ignored = !PROBABILITIES && t == ignore_index, wrong = !ignored && out_of_range(t);
  vec2 total = vec2(0), mass = vec2(0), distance = vec2(0);
  FOR_ROW(c, columns) {
    const float value = x[base + c];
    accumulate(total, exp_(value - largest));
    if (PROBABILITIES || SMOOTHED) {
      const float q = target_of(row, c, t);
      accumulate(mass, q);
      accumulate(distance, q * (largest - value));
    }
  }
  const float log_total = log_(row_sum(total.x));
  float row_loss;
  if (PROBABILITIES || SMOOTHED) {
    const float q = row_sum(mass.x);
    row_loss = row_sum(distance.x) + q * log_total;
  } else {
    row_loss = wrong || ignored ? 0.0 : weight_of(uint(t)) * ((largest - x[base + uint(t)]) + log_total);
  }
  if (lane != 0u) return;
  loss[row] = ignored ? 0.0 : wrong ? nan_value() : row_loss;
  lse[row] = largest + log_total;
  row_weight[row] = ignored ? 0.0 : PROBABILITIES || wrong ? 1.0 : weight_of(uint(t));
}
#endif

#ifdef KERNEL_cross_entropy_total
layout(set = 0, binding = 0) readonly buffer Loss { float row_loss[]; };
layout(set = 0, binding = 1) readonly buffer Weight { float row_weight[]; };
layout(set = 0, binding = 2) writeonly buffer Total { float loss[]; };
layout(set = 0, binding = 3) writeonly buffer Divisor { float divisor[]; };
layout(push_constant) uniform Push { uint rows, mean; };

void main() {
  if (group_index() > 0u) return;
  const uint lane = gl_LocalInvocationID.x, lanes = gl_WorkGroupSize.x;
  vec2 total = vec2(0), weight = vec2(0);
  FOR_ROW(i, rows) {
    accumulate(total, row_loss[i]);
    accumulate(weight, row_weight[i]);
  }
  const float sum = row_sum(total.x), by = row_sum(weight.x);
  if (lane != 0u) return;
  loss[0] = mean != 0u ? sum / by : sum;
  divisor[0] = by;
}
#endif

#ifdef KERNEL_cross_entropy_backward
layout(set = 0, binding = 3) readonly buffer Lse { float lse[]; };
layout(set = 0, binding = 4) readonly buffer Divisor { float divisor[]; };
layout(set = 0, binding = 5) readonly buffer Dy { float dy[]; };
layout(set = 0, binding = 6) writeonly buffer Dx { float dx[]; };

void main() {
  ROW_BEGIN(rows);
  const uint base = row * columns;
  const int t = PROBABILITIES ? 0 : int(targets[targets_offset + row]);
  if (!PROBABILITIES && t == ignore_index) {
    FOR_ROW(c, columns) dx[base + c] = 0.0;
    return;
  }
  if (out_of_range(t)) {
    FOR_ROW(c, columns) dx[base + c] = nan_value();
    return;
  }
  float g = dy[dy_offset + row * dy_stride];
  if (divided != 0u) g /= divisor[0];
  float mass;
  if (PROBABILITIES || SMOOTHED) {
    vec2 part = vec2(0);
    FOR_ROW(c, columns) accumulate(part, target_of(row, c, t));
    mass = row_sum(part.x);
  } else {
    mass = weight_of(uint(t));
  }
  const float row_lse = lse[lse_offset + row];
  FOR_ROW(c, columns)
    dx[base + c] = g * (exp_(x[x_offset + base + c] - row_lse) * mass - target_of(row, c, t));
}
#endif

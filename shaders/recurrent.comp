// A step of a recurrent layer, after the product of its state and weights. With h the state before the step, x the
// inputs' share of the gates' sums and s = h w^T + bias:
//   tanh, relu  h' = tanh(x + s), relu(x + s) (Elman 1990)
//   LSTM        i, f, o = sigmoid(x + s), g = tanh(x + s), c' = f c + i g, h' = o tanh(c')
//               (Hochreiter and Schmidhuber 1997; Gers et al. 2000); blocks of columns i, f, g, o
//   GRU         r, z = sigmoid(x + s), n = tanh(x + r s), h' = (1 - z) n + z h
//               (Cho et al. 2014, the reset gate behind the product); blocks of columns r, z, n
// An invocation per element of the state. Steps from an element's length on leave its state alone and put out 0.
//   recurrent           h', and what backward needs: planes of h and the values below
//   recurrent_backward  the gradients of s and, where it has another, of x; dh and dc are those of the state. What comes
//                       back by the product of the step that ran before is added first.
//   recurrent_finish    adds it after the last step
#version 460
#extension GL_GOOGLE_include_directive : require
#pragma stithy kernels recurrent recurrent_backward recurrent_finish
#include "grid.glsl"
#include "pointwise.glsl"

const uint TANH = 0u, RELU = 1u, LSTM = 2u, GRU = 3u;
layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint CELL = LSTM;
layout(constant_id = 2) const bool HAS_LENGTHS = false;

// Planes of `saved` behind that of h.
const uint I = 1u, F = 2u, G = 3u, O = 4u, C_BEFORE = 5u;  // LSTM
const uint R = 1u, Z = 2u, N = 3u, S_N = 4u;               // GRU

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
  const uint gates = CELL == LSTM ? 4u : CELL == GRU ? 3u : 1u;
  const uint from_x = x_offset + row * gates * hidden + j, from_s = b * gates * hidden + j;
  float sums[4], products[4];
  for (uint k = 0u; k < gates; ++k) {
    products[k] = s[from_s + k * hidden] + bias[bias_offset + k * hidden + j];
    sums[k] = x[from_x + k * hidden];
  }
  float after;
  if (CELL == LSTM) {
    const float i = sigmoid_(sums[0] + products[0]), f = sigmoid_(sums[1] + products[1]);
    const float g = tanh_(sums[2] + products[2]), o = sigmoid_(sums[3] + products[3]);
    const float c_before = c[e], c_after = f * c_before + i * g;
    c[e] = c_after;
    saved[I * plane + to] = i;
    saved[F * plane + to] = f;
    saved[G * plane + to] = g;
    saved[O * plane + to] = o;
    saved[C_BEFORE * plane + to] = c_before;
    after = o * tanh_(c_after);
  } else if (CELL == GRU) {
    const float r = sigmoid_(sums[0] + products[0]), z = sigmoid_(sums[1] + products[1]);
    const float n = tanh_(sums[2] + r * products[2]);
    saved[R * plane + to] = r;
    saved[Z * plane + to] = z;
    saved[N * plane + to] = n;
    saved[S_N * plane + to] = products[2];
    after = (1.0 - z) * n + z * before;
  } else {
    const float sum = sums[0] + products[0];
    after = CELL == TANH ? tanh_(sum) : op_relu(sum);
  }
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
  const uint gates = CELL == LSTM ? 4u : CELL == GRU ? 3u : 1u, to = row * gates * hidden + j;
  float d = IS_FIRST ? dh[e] : dh[e] + back[e];
  if (HAS_LENGTHS && int(step) >= lengths[lengths_offset + b]) {
    dh[e] = d;
    for (uint k = 0u; k < gates; ++k) {
      ds[to + k * hidden] = 0.0;
      if (CELL == GRU) dx[to + k * hidden] = 0.0;
    }
    return;
  }
  if (HAS_DY) d += dy[dy_offset + at];
  if (CELL == LSTM) {
    const float i = saved[I * plane + at], f = saved[F * plane + at], g = saved[G * plane + at];
    const float o = saved[O * plane + at], c_before = saved[C_BEFORE * plane + at];
    const float t = tanh_(f * c_before + i * g), d_c = dc[e] + op_tanh_grad(t, d * o);
    ds[to] = op_sigmoid_grad(i, d_c * g);
    ds[to + hidden] = op_sigmoid_grad(f, d_c * c_before);
    ds[to + 2u * hidden] = op_tanh_grad(g, d_c * i);
    ds[to + 3u * hidden] = op_sigmoid_grad(o, d * t);
    dc[e] = d_c * f;
    dh[e] = 0.0;
  } else if (CELL == GRU) {
    const float r = saved[R * plane + at], z = saved[Z * plane + at], n = saved[N * plane + at];
    const float d_n = op_tanh_grad(n, d * (1.0 - z)), d_r = op_sigmoid_grad(r, d_n * saved[S_N * plane + at]);
    const float d_z = op_sigmoid_grad(z, d * (saved[at] - n));
    ds[to] = dx[to] = d_r;
    ds[to + hidden] = dx[to + hidden] = d_z;
    ds[to + 2u * hidden] = d_n * r;
    dx[to + 2u * hidden] = d_n;
    dh[e] = d * z;
  } else {
    ds[to] = CELL == TANH ? op_tanh_grad(y[at], d) : op_relu_grad(y[at], d);
    dh[e] = 0.0;
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

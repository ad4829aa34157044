// A recurrent cell. With h the state before a step, x the inputs' share of the gates' sums and s = h w^T + bias:
//   tanh, relu  h' = tanh(x + s), relu(x + s) (Elman 1990)
//   LSTM        i, f, o = sigmoid(x + s), g = tanh(x + s), c' = f c + i g, h' = o tanh(c')
//               (Hochreiter and Schmidhuber 1997; Gers et al. 2000); blocks of columns i, f, g, o
//   GRU         r, z = sigmoid(x + s), n = tanh(x + r s), h' = (1 - z) n + z h
//               (Cho et al. 2014, the reset gate behind the product); blocks of columns r, z, n
// Steps from an element's length on leave its state alone and put out 0.
// After grid.glsl and the workgroup's size.
#include "pointwise.glsl"

const uint TANH = 0u, RELU = 1u, LSTM = 2u, GRU = 3u;
layout(constant_id = 1) const uint CELL = LSTM;
layout(constant_id = 2) const bool HAS_LENGTHS = false;
const uint GATES = CELL == LSTM ? 4u : CELL == GRU ? 3u : 1u;
// What backward needs of a step beside the state before: i, f, g, o, c; r, z, n, s of n.
const uint KEPT = CELL == LSTM ? 5u : CELL == GRU ? 4u : 0u;

// h' of x and s, of which a cell with fewer gates uses the first.
float cell(vec4 x, vec4 s, float before, inout float c, out float kept[5]) {
  if (CELL == LSTM) {
    const float i = sigmoid_(x[0] + s[0]), f = sigmoid_(x[1] + s[1]);
    const float g = tanh_(x[2] + s[2]), o = sigmoid_(x[3] + s[3]);
    kept = float[5](i, f, g, o, c);
    c = f * c + i * g;
    return o * tanh_(c);
  }
  if (CELL == GRU) {
    const float r = sigmoid_(x[0] + s[0]), z = sigmoid_(x[1] + s[1]), n = tanh_(x[2] + r * s[2]);
    kept = float[5](r, z, n, s[2], 0.0);
    return (1.0 - z) * n + z * before;
  }
  kept = float[5](0.0, 0.0, 0.0, 0.0, 0.0);
  const float sum = x[0] + s[0];
  return CELL == TANH ? tanh_(sum) : op_relu(sum);
}

// The gradients of s and x from d, that of h', and dc, that of c', which becomes that of c. Returns that part of h's
// which does not go through s.
float cell_backward(float kept[5], float before, float after, float d, inout float dc, out vec4 ds, out vec4 dx) {
  if (CELL == LSTM) {
    const float i = kept[0], f = kept[1], g = kept[2], o = kept[3], c = kept[4];
    const float t = tanh_(f * c + i * g), d_c = dc + op_tanh_grad(t, d * o);
    dx = ds = vec4(op_sigmoid_grad(i, d_c * g), op_sigmoid_grad(f, d_c * c), op_tanh_grad(g, d_c * i),
                   op_sigmoid_grad(o, d * t));
    dc = d_c * f;
    return 0.0;
  }
  if (CELL == GRU) {
    const float r = kept[0], z = kept[1], n = kept[2];
    const float d_n = op_tanh_grad(n, d * (1.0 - z)), d_r = op_sigmoid_grad(r, d_n * kept[3]);
    const float d_z = op_sigmoid_grad(z, d * (before - n));
    ds = vec4(d_r, d_z, d_n * r, 0.0);
    dx = vec4(d_r, d_z, d_n, 0.0);
    return d * z;
  }
  dx = ds = vec4(CELL == TANH ? op_tanh_grad(after, d) : op_relu_grad(after, d), 0.0, 0.0, 0.0);
  return 0.0;
}

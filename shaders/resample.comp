// y = x taken along three axes by tables: element o of an axis is the sum of weight[t] x[index[t]] for t from starts[o]
// to starts[o + 1]. x [planes, in sizes], y [planes, out sizes]; an axis that is KEPT has no table. Interpolation of
// every kind, its gradient (by the transposed tables) and reversal are tables: engine/ops/resample.cpp makes them. An
// invocation makes one element, adding in the tables' order.
#version 460
#extension GL_GOOGLE_include_directive : require
#pragma stithy fuse resample - y
layout(local_size_x = 64, local_size_x_id = 0) in;
layout(constant_id = 1) const bool KEPT_D = false;
layout(constant_id = 2) const bool KEPT_H = false;
layout(constant_id = 3) const bool KEPT_W = false;
layout(constant_id = 4) const uint OUT_D = 1u;
layout(constant_id = 5) const uint OUT_H = 1u;
layout(constant_id = 6) const uint OUT_W = 1u;
#include "grid.glsl"
#include "fused.glsl"

layout(set = 0, binding = 0) readonly buffer X { float x[]; };
layout(set = 0, binding = 1) readonly buffer Table { uint table[]; };  // starts of D, H and W, then the indices
layout(set = 0, binding = 2) readonly buffer Weight { float weight[]; };
layout(set = 0, binding = 3) writeonly buffer Y { float y[]; };
layout(push_constant) uniform Push {
  uint count, x_offset, in_h, in_w, plane;  // plane: elements of one in x
  uint starts_h, starts_w, indices;
};

#define BEGIN(A, starts, o) (KEPT_##A ? 0u : table[starts + o])
#define END(A, starts, o) (KEPT_##A ? 1u : table[starts + o + 1u])
#define INDEX(A, o, t) (KEPT_##A ? o : table[indices + t])
#define WEIGHT(A, t) (KEPT_##A ? 1.0 : weight[t])

void main() {
  const uint i = invocation_index();
  if (i >= count) return;
  const uint row = i / OUT_W, o_w = i - row * OUT_W, layer = row / OUT_H, o_h = row - layer * OUT_H;
  const uint p = layer / OUT_D, o_d = layer - p * OUT_D, base = x_offset + p * plane;
  const uint end_d = END(D, 0u, o_d), end_h = END(H, starts_h, o_h), end_w = END(W, starts_w, o_w);
  float sum = 0.0;
  for (uint d = BEGIN(D, 0u, o_d); d < end_d; ++d)
    for (uint h = BEGIN(H, starts_h, o_h); h < end_h; ++h) {
      const uint from = base + (INDEX(D, o_d, d) * in_h + INDEX(H, o_h, h)) * in_w;
      float of_row = 0.0;
      for (uint w = BEGIN(W, starts_w, o_w); w < end_w; ++w) of_row += WEIGHT(W, w) * x[from + INDEX(W, o_w, w)];
      sum += WEIGHT(D, d) * WEIGHT(H, h) * of_row;
    }
  y[i] = EPILOGUE(sum, i);
}

// Rotary position embedding (Su et al. 2021): pair i of a row, (a, b), becomes (a c - b s, b c + a s), with c and s the
// cosine and sine of position base^(-2 i / d). x [n, heads, t, d], y [n, t, heads, d]. `sign` is -1 to turn back, which
// is the gradient. INTERLEAVED: pairs are neighbours, otherwise i and i + d / 2.
// Thread mapping: an invocation per pair, or, with VEC4, per four pairs.
#version 460
#extension GL_GOOGLE_include_directive : require
layout(local_size_x = 64, local_size_x_id = 0) in;
#include "grid.glsl"

layout(constant_id = 1) const bool INTERLEAVED = false;
layout(constant_id = 2) const bool VEC4 = false;  // all offsets, strides and d / 2 are multiples of 4

layout(set = 0, binding = 0) readonly buffer X { float x[]; };
layout(set = 0, binding = 0) readonly buffer X4 { vec4 x4[]; };
layout(set = 0, binding = 1) readonly buffer C { float c[]; };
layout(set = 0, binding = 1) readonly buffer C4 { vec4 c4[]; };
layout(set = 0, binding = 2) readonly buffer S { float s[]; };
layout(set = 0, binding = 2) readonly buffer S4 { vec4 s4[]; };
layout(set = 0, binding = 3) writeonly buffer Y { float y[]; };
layout(set = 0, binding = 3) writeonly buffer Y4 { vec4 y4[]; };
// table_n: the step of c and s from one element of the batch to the next; 0 where all share one.
layout(push_constant) uniform Push {
  uint batches, heads, t, d;
  uint x_offset, x_n, x_h, x_t;
  uint c_offset, s_offset, table_n;
  float sign;
};

void main() {
  const uint half_d = d / 2, units = VEC4 ? half_d / 4 : half_d;
  const uint e = invocation_index(), unit = e % units, row = e / units;
  if (row >= batches * t * heads) return;
  const uint h = row % heads, i = row / heads % t, n = row / heads / t;
  const uint from = x_offset + n * x_n + h * x_h + i * x_t, to = row * d, table = n * table_n + i * half_d;
  if (VEC4) {
    const vec4 cosine = c4[(c_offset + table) / 4 + unit], sine = s4[(s_offset + table) / 4 + unit] * sign;
    const uint step = INTERLEAVED ? 1 : units, at = INTERLEAVED ? 2 * unit : unit;
    const vec4 p = x4[from / 4 + at], q = x4[from / 4 + at + step];
    const vec4 a = INTERLEAVED ? vec4(p.xz, q.xz) : p, b = INTERLEAVED ? vec4(p.yw, q.yw) : q;
    const vec4 u = a * cosine - b * sine, v = b * cosine + a * sine;
    y4[to / 4 + at] = INTERLEAVED ? vec4(u.x, v.x, u.y, v.y) : u;
    y4[to / 4 + at + step] = INTERLEAVED ? vec4(u.z, v.z, u.w, v.w) : v;
  } else {
    const float cosine = c[c_offset + table + unit], sine = s[s_offset + table + unit] * sign;
    const uint step = INTERLEAVED ? 1 : half_d, at = INTERLEAVED ? 2 * unit : unit;
    const float a = x[from + at], b = x[from + at + step];
    y[to + at] = a * cosine - b * sine;
    y[to + at + step] = b * cosine + a * sine;
  }
}

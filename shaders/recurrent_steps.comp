// Steps of a recurrent layer with their products; recurrent.glsl states the cells' formulas.
// Thread mapping: a workgroup is one subgroup of LANES lanes and works on ROWS elements of the batch. Its lanes load a
// block of the state between them and hand it out by subgroupBroadcast; neighbours in the subgroup are neighbours in the
// state, of which a workgroup makes `units`.
//   recurrent_step, recurrent_step_backward    one step; workgroups share the state
//   recurrent_steps, recurrent_steps_backward  several, a workgroup having all of the state of its elements: no step
//                                              waits for another workgroup
//   recurrent_pack                             the weights as the first two read them: [k, unit] of a vec4 of gates
// A step backward begins with the product of the step that ran before it, and after the last there is one more.
// hidden is a multiple of 4. Numerics: one fp32 sum per gate, k ascending.
// Search space: ROWS.
#version 460
#pragma stithy kernels recurrent_pack recurrent_step recurrent_steps recurrent_step_backward recurrent_steps_backward
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_ballot : require
#include "grid.glsl"
layout(local_size_x_id = 0) in;
#include "recurrent.glsl"
layout(constant_id = 3) const uint ROWS = 8;
layout(constant_id = 4) const uint LANES = 8;

#if defined KERNEL_recurrent_steps || defined KERNEL_recurrent_steps_backward
// What other lanes wrote in the step before.
#define SHARED coherent
#define END_STEP           \
  subgroupMemoryBarrierBuffer(); \
  subgroupBarrier();
#else
#define SHARED
#define END_STEP
#endif

#ifdef KERNEL_recurrent_pack
layout(set = 0, binding = 0) readonly buffer W { float w[]; };
layout(set = 0, binding = 1) writeonly buffer Packed { vec4 packed[]; };
layout(push_constant) uniform Push { uint hidden, w_offset; };

void main() {
  const uint e = invocation_index();
  if (e >= hidden * hidden) return;
  const uint k = e / hidden, unit = e - k * hidden;
  vec4 gates = vec4(0.0);
  for (uint g = 0u; g < GATES; ++g) gates[g] = w[w_offset + (g * hidden + unit) * hidden + k];
  packed[e] = gates;
}
#else

// Step i of those that run is `start` + i * `direction` in time; the row of element b is step * step_rows + b *
// batch_rows.
#define PLACES                                                                              \
  uint batch, hidden, units, from, to, last;                                                \
  int start, direction;                                                                     \
  uint step_rows, batch_rows, plane, lengths_offset

// The elements of the batch and the units of this workgroup.
#define FIND_TILE                                                                           \
  const uint row_groups = (batch + ROWS - 1u) / ROWS, lane = gl_LocalInvocationID.x;        \
  const uint first = group_index() % row_groups * ROWS, unit_begin = group_index() / row_groups * units; \
  const uint unit_end = min(unit_begin + units, hidden);                                    \
  if (unit_begin >= hidden) return

// sum[ROWS], `width` of each vec4, += a * b. A(b, k) is k to k + 3 of element b of the batch, B(k) the weights' row.
const uint PARTS = (ROWS + LANES - 1u) / LANES;
#define PRODUCT(sum, width, k_end, A, B)                                                    \
  for (uint k = 0u; k < (k_end); k += 4u) {                                                 \
    vec4 as[PARTS], bs[4];                                                                  \
    [[unroll]] for (uint p = 0u; p < PARTS; ++p)                                            \
      as[p] = A(min(first + min(p * LANES + lane, ROWS - 1u), batch - 1u), k);              \
    [[unroll]] for (uint i = 0u; i < 4u; ++i) bs[i] = B(k + i);                             \
    [[unroll]] for (uint r = 0u; r < ROWS; ++r)                                             \
      [[unroll]] for (uint i = 0u; i < 4u; ++i) {                                           \
        const float a = subgroupBroadcast(as[r / LANES][i], r % LANES);                     \
        [[unroll]] for (uint g = 0u; g < width; ++g) sum[r][g] += a * bs[i][g];             \
      }                                                                                     \
  }

#if defined KERNEL_recurrent_step || defined KERNEL_recurrent_steps
layout(set = 0, binding = 0) readonly buffer X { float x[]; };
layout(set = 0, binding = 1) readonly buffer Packed { vec4 packed[]; };
layout(set = 0, binding = 2) readonly buffer Bias { float bias[]; };
layout(set = 0, binding = 3) readonly buffer Lengths { int lengths[]; };
layout(set = 0, binding = 4) readonly buffer H0 { float h0[]; };
layout(set = 0, binding = 4) readonly buffer H04 { vec4 h04[]; };
layout(set = 0, binding = 5) writeonly buffer H { float h[]; };
layout(set = 0, binding = 6) buffer C { float c[]; };
layout(set = 0, binding = 7) writeonly buffer Y { float y[]; };
layout(set = 0, binding = 8) SHARED buffer Saved { float saved[]; };
layout(set = 0, binding = 8) SHARED buffer Saved4 { vec4 saved4[]; };
layout(push_constant) uniform Push {
  PLACES;
  uint x_offset, bias_offset;
};

void main() {
  FIND_TILE;
  for (uint i = from; i < to; ++i) {
    const int step = start + int(i) * direction;
    for (uint block = unit_begin; block < unit_end; block += LANES) {
      const uint unit = min(block + lane, hidden - 1u);
      vec4 sum[ROWS];
      [[unroll]] for (uint r = 0u; r < ROWS; ++r) sum[r] = vec4(0.0);
#define WEIGHTS(k) packed[(k) * hidden + unit]
#define FIRST_STATE(b, k) h04[((b) * hidden + (k)) / 4u]
#define STATE(b, k) saved4[((uint(step) * step_rows + (b) * batch_rows) * hidden + (k)) / 4u]
      if (i == 0u) {
        PRODUCT(sum, GATES, hidden, FIRST_STATE, WEIGHTS)
      } else {
        PRODUCT(sum, GATES, hidden, STATE, WEIGHTS)
      }
      vec4 b_sum = vec4(0.0);
      for (uint g = 0u; g < GATES; ++g) b_sum[g] = bias[bias_offset + g * hidden + unit];
      [[unroll]] for (uint r = 0u; r < ROWS; ++r) {
        const uint b = first + r, e = b * hidden + unit;
        if (b < batch && block + lane < unit_end) {
          const uint row = uint(step) * step_rows + b * batch_rows, at = row * hidden + unit;
          const float before = i == 0u ? h0[e] : saved[at];
          if (i == 0u) saved[at] = before;
          float after = before;
          if (HAS_LENGTHS && step >= lengths[lengths_offset + b]) {
            y[at] = 0.0;
          } else {
            vec4 sums = vec4(0.0);
            for (uint g = 0u; g < GATES; ++g) sums[g] = x[x_offset + (row * GATES + g) * hidden + unit];
            float c_now = CELL == LSTM ? c[e] : 0.0, kept[5];
            after = cell(sums, sum[r] + b_sum, before, c_now, kept);
            if (CELL == LSTM) c[e] = c_now;
            for (uint k = 0u; k < KEPT; ++k) saved[(k + 1u) * plane + at] = kept[k];
            y[at] = after;
          }
          if (i == last)
            h[e] = after;
          else
            saved[(uint(step + direction) * step_rows + b * batch_rows) * hidden + unit] = after;
        }
      }
    }
    END_STEP
  }
}
#else
layout(constant_id = 5) const bool HAS_DY = true;
layout(set = 0, binding = 0) readonly buffer Saved { float saved[]; };
layout(set = 0, binding = 1) readonly buffer W { vec4 w[]; };  // [gates hidden, hidden]
layout(set = 0, binding = 2) readonly buffer Y { float y[]; };
layout(set = 0, binding = 3) readonly buffer Dy { float dy[]; };
layout(set = 0, binding = 4) readonly buffer Lengths { int lengths[]; };
layout(set = 0, binding = 5) buffer Dh { float dh[]; };
layout(set = 0, binding = 6) buffer Dc { float dc[]; };
layout(set = 0, binding = 7) SHARED buffer Ds { float ds[]; };
layout(set = 0, binding = 7) SHARED buffer Ds4 { vec4 ds4[]; };
layout(set = 0, binding = 8) writeonly buffer Dx { float dx[]; };
layout(push_constant) uniform Push {
  PLACES;
  uint w_offset, dy_offset;
};

// Steps run from `to` down to `from`; one below the first of all is the product that is left.
void main() {
  FIND_TILE;
  const uint columns = GATES * hidden;
  for (uint i = to; i-- > from;) {
    const int step = start + int(i) * direction - direction;
    for (uint block = unit_begin; block < unit_end; block += 4u * LANES) {
      // A lane has four units side by side.
      const uint unit = min(block + 4u * lane, hidden - 4u);
      vec4 sum[ROWS];
      [[unroll]] for (uint r = 0u; r < ROWS; ++r) sum[r] = vec4(0.0);
#define WEIGHTS(k) w[(w_offset + (k) * hidden + unit) / 4u]
#define GRADIENTS(b, k) ds4[((uint(step + direction) * step_rows + (b) * batch_rows) * columns + (k)) / 4u]
      if (i <= last) {
        PRODUCT(sum, 4u, columns, GRADIENTS, WEIGHTS)
      }
      [[unroll]] for (uint r = 0u; r < ROWS; ++r) {
        const uint b = first + r;
        if (b < batch && block + 4u * lane < unit_end) {
          const bool past = HAS_LENGTHS && step >= lengths[lengths_offset + b];
          const uint row = uint(step) * step_rows + b * batch_rows;
          for (uint u = 0u; u < 4u; ++u) {
            const uint e = b * hidden + unit + u, at = row * hidden + unit + u, to_s = row * columns + unit + u;
            float d = dh[e] + sum[r][u];
            if (i > 0u) {
              vec4 d_s = vec4(0.0), d_x = vec4(0.0);
              if (!past) {
                if (HAS_DY) d += dy[dy_offset + at];
                float d_c = CELL == LSTM ? dc[e] : 0.0, kept[5];
                for (uint k = 0u; k < KEPT; ++k) kept[k] = saved[(k + 1u) * plane + at];
                d = cell_backward(kept, saved[at], y[at], d, d_c, d_s, d_x);
                if (CELL == LSTM) dc[e] = d_c;
              }
              for (uint k = 0u; k < GATES; ++k) {
                ds[to_s + k * hidden] = d_s[k];
                if (CELL == GRU) dx[to_s + k * hidden] = d_x[k];
              }
            }
            dh[e] = d;
          }
        }
      }
    }
    END_STEP
  }
}
#endif
#endif

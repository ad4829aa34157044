// Batch normalisation (Ioffe and Szegedy 2015) of x [n, channels, ...], and group normalisation (Wu and He 2018). A
// plane is what belongs to one element of the batch and one channel: INNER elements. With m elements that share a mean
// and a variance, xhat = (x - mean) rstd and rstd = 1 / sqrt(var + epsilon):
//   y = xhat w + b
//   dw = sum dy xhat, db = sum dy, dx = rstd (w dy - sum(w dy) / m - xhat sum(w dy xhat) / m)
// Statistics and sums, a workgroup per row and slice of it; a row is all planes of a channel, or a part of memory:
//   batchnorm_stats            mean and sum of squared deviations; where there is one slice, all that the next does
//   batchnorm_finish           joins the slices: an invocation per row; also what batchnorm_apply wants of each plane
//   batchnorm_sums             sum dy and sum dy xhat; where there is one slice and a row is a plane, all that the next
//                              does
//   batchnorm_backward_finish  joins the slices and, for groups, planes: an invocation per mean
// Elements, SPAN lanes along a plane, so that what belongs to the plane is loaded once:
//   batchnorm_apply            y, of c = (mean, rstd w, b)
//   batchnorm_dx               dx, of c = (rstd w, factor of x - mean, what is added, mean)
// Numerics: a lane takes the mean and the squared deviations of 16 elements at a time, both relative to the slice's
// first element, and joins them by Chan's formula (Chan, Golub and LeVeque 1979), as are lanes and slices: no digits are
// lost where the mean is far from zero. All orders are fixed.
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#pragma stithy kernels batchnorm_stats batchnorm_finish batchnorm_apply batchnorm_sums batchnorm_backward_finish batchnorm_dx
#pragma stithy fuse batchnorm_apply - y
#pragma stithy fuse batchnorm_dx - dx
#pragma stithy aids batchnorm_finish batchnorm_backward_finish
#include "row.glsl"
#include "fused.glsl"

layout(constant_id = 2) const uint INNER = 1u;
layout(constant_id = 3) const bool VECTOR = false;  // planes are whole vectors of four
layout(constant_id = 4) const uint SPAN = 1u;       // a power of two, at most the workgroup

// Where element e of a row is, from the tensor's first element on.
uint position_in_row(uint e, uint row, uint rows) { return (e / INNER * rows + row) * INNER + e % INNER; }

// Four elements of a row, from e on; those from `end` on are any.
#define LOAD_ROW(NAME, offset, e)                                                                                    \
  (VECTOR ? NAME##_4[(offset + position_in_row(e, r, rows)) >> 2]                                                    \
          : vec4(NAME[offset + position_in_row(e, r, rows)], NAME[offset + position_in_row(min(e + 1u, end - 1u), r, rows)], \
                 NAME[offset + position_in_row(min(e + 2u, end - 1u), r, rows)],                                     \
                 NAME[offset + position_in_row(min(e + 3u, end - 1u), r, rows)]))
#define VALID(e, end) lessThan(uvec4(e) + uvec4(0u, 1u, 2u, 3u), uvec4(end))
#define SUM4(v) ((v.x + v.y) + (v.z + v.w))

#if defined KERNEL_batchnorm_stats || defined KERNEL_batchnorm_finish
layout(set = 0, binding = 0) readonly buffer W { float w[]; };
layout(set = 0, binding = 1) readonly buffer B { float b[]; };
layout(set = 0, binding = 2) writeonly buffer Mean { float mean[]; };
layout(set = 0, binding = 3) writeonly buffer Var { float var[]; };
layout(set = 0, binding = 4) writeonly buffer C { vec4 c[]; };
layout(push_constant) uniform Push {
  uint rows, count, slice, slices, planes_a_row, channels, x_offset, w_offset, b_offset;
  float epsilon;
};

void finish(uint r, float centre, float variance, uint first, uint step) {
  if (first == 0u) {
    mean[r] = centre;
    var[r] = variance;
  }
  const float scale = 1.0 / sqrt(variance + epsilon);
  for (uint k = first; k < planes_a_row; k += step) {
    const uint plane = r * planes_a_row + k, channel = plane % channels;
    c[plane] = vec4(centre, scale * w[w_offset + channel], b[b_offset + channel], 0.0);
  }
}
#endif

#ifdef KERNEL_batchnorm_stats
layout(set = 0, binding = 5) readonly buffer X { float x[]; };
layout(set = 0, binding = 5) readonly buffer X4 { vec4 x_4[]; };
layout(set = 0, binding = 6) writeonly buffer Partial { vec2 partial[]; };

void main() {
  ROW_BEGIN(rows * slices);
  const uint s = row / rows, r = row - s * rows, begin = s * slice, end = min(begin + slice, count);
  const float pivot = x[x_offset + position_in_row(begin, r, rows)];
  float n = 0.0, centre = 0.0, squares = 0.0;
  for (uint start = begin + 4u * lane; start < end; start += 16u * lanes) {
    vec4 d[4];
    float size = 0.0, total = 0.0;
    for (uint k = 0u; k < 4u; ++k) {
      const uint e = start + 4u * k * lanes;
      d[k] = vec4(0.0);
      if (e >= end) continue;
      d[k] = mix(vec4(0.0), LOAD_ROW(x, x_offset, e) - pivot, VALID(e, end));
      size += float(min(4u, end - e));
      total += SUM4(d[k]);
    }
    const float mean_16 = total / size, both = n + size, between = mean_16 - centre;
    for (uint k = 0u; k < 4u; ++k) {
      const vec4 from_mean = mix(vec4(0.0), d[k] - mean_16, VALID(start + 4u * k * lanes, end));
      squares += dot(from_mean, from_mean);
    }
    squares += between * between * (n * size / both);
    centre += between * (size / both);
    n = both;
  }
  const float size = float(end - begin), slice_centre = row_sum(n * centre) / size, between = centre - slice_centre;
  squares = row_sum(squares + n * between * between);
  if (slices == 1u)
    finish(r, pivot + slice_centre, squares / size, lane, lanes);
  else if (lane == 0u)
    partial[row] = vec2(pivot + slice_centre, squares);
}
#endif

#ifdef KERNEL_batchnorm_finish
layout(set = 0, binding = 5) readonly buffer Partial { vec2 partial[]; };

void main() {
  const uint r = invocation_index();
  if (r >= rows) return;
  // The slices' means count from that of the first.
  const vec2 first = partial[r];
  float n = float(slice), centre = 0.0, squares = first.y;
  for (uint s = 1u; s < slices; ++s) {
    const vec2 next = partial[s * rows + r];
    const float size = float(min(slice, count - s * slice)), both = n + size, between = next.x - first.x - centre;
    squares += next.y + between * between * (n * size / both);
    centre += between * (size / both);
    n = both;
  }
  finish(r, first.x + centre, squares / n, 0u, 1u);
}
#endif

// What belongs to unit u, a part of a plane, and the part's elements; from here to END i is the first of four elements
// (VECTOR), or one.
#define PLANES_BEGIN                                                                                     \
  const uint lane = gl_LocalInvocationID.x, width = VECTOR ? 4u : 1u, at_once = gl_WorkGroupSize.x / SPAN; \
  const uint first = (SPAN == gl_WorkGroupSize.x ? lane : lane % SPAN) * width;                          \
  for (uint k = 0u; k < rounds; ++k) {                                                                   \
    const uint u = (group_index() * rounds + k) * at_once + (SPAN == gl_WorkGroupSize.x ? 0u : lane / SPAN); \
    if (u >= planes * parts) return;                                                                     \
    const uint plane = parts == 1u ? u : u / parts, part = u - plane * parts;                            \
    const uint end = plane * INNER + min((part + 1u) * part_size, INNER);                                \
    const vec4 of_plane = c[plane % coefficients];                                                       \
    for (uint i = plane * INNER + part * part_size + first; i < end; i += SPAN * width) {
#define PLANES_END \
  }                \
  }

#ifdef KERNEL_batchnorm_apply
layout(set = 0, binding = 0) readonly buffer X { float x[]; };
layout(set = 0, binding = 0) readonly buffer X4 { vec4 x_4[]; };
layout(set = 0, binding = 1) readonly buffer C { vec4 c[]; };
layout(set = 0, binding = 2) writeonly buffer Y { float y[]; };
layout(set = 0, binding = 2) writeonly buffer Y4 { vec4 y_4[]; };
layout(push_constant) uniform Push { uint planes, coefficients, parts, part_size, rounds, x_offset; };

void main() {
  PLANES_BEGIN
    if (VECTOR)
      y_4[i >> 2] = EPILOGUE4((x_4[(x_offset + i) >> 2] - of_plane.x) * of_plane.y + of_plane.z, i);
    else
      y[i] = EPILOGUE((x[x_offset + i] - of_plane.x) * of_plane.y + of_plane.z, i);
  PLANES_END
}
#endif

#ifdef KERNEL_batchnorm_dx
layout(set = 0, binding = 0) readonly buffer X { float x[]; };
layout(set = 0, binding = 0) readonly buffer X4 { vec4 x_4[]; };
layout(set = 0, binding = 1) readonly buffer Dy { float dy[]; };
layout(set = 0, binding = 1) readonly buffer Dy4 { vec4 dy_4[]; };
layout(set = 0, binding = 2) readonly buffer C { vec4 c[]; };
layout(set = 0, binding = 3) writeonly buffer Dx { float dx[]; };
layout(set = 0, binding = 3) writeonly buffer Dx4 { vec4 dx_4[]; };
layout(push_constant) uniform Push { uint planes, coefficients, parts, part_size, rounds, x_offset, dy_offset; };

void main() {
  PLANES_BEGIN
    if (VECTOR) {
      const vec4 from_mean = x_4[(x_offset + i) >> 2] - of_plane.w;
      dx_4[i >> 2] = EPILOGUE4(of_plane.x * dy_4[(dy_offset + i) >> 2] + of_plane.y * from_mean + of_plane.z, i);
    } else {
      const float from_mean = x[x_offset + i] - of_plane.w;
      dx[i] = EPILOGUE(of_plane.x * dy[dy_offset + i] + of_plane.y * from_mean + of_plane.z, i);
    }
  PLANES_END
}
#endif

#if defined KERNEL_batchnorm_sums || defined KERNEL_batchnorm_backward_finish
layout(set = 0, binding = 0) readonly buffer W { float w[]; };
layout(set = 0, binding = 1) readonly buffer Mean { float mean[]; };
layout(set = 0, binding = 2) readonly buffer Var { float var[]; };
layout(set = 0, binding = 3) writeonly buffer Dw { float dw[]; };
layout(set = 0, binding = 4) writeonly buffer Db { float db[]; };
layout(set = 0, binding = 5) writeonly buffer C { vec4 c[]; };
layout(push_constant) uniform Push {
  uint rows, count, slice, slices, planes_a_mean, channels, x_offset, dy_offset, w_offset;
  float epsilon, per_element;  // 1 / m
};
#endif

#ifdef KERNEL_batchnorm_sums
layout(set = 0, binding = 6) readonly buffer X { float x[]; };
layout(set = 0, binding = 6) readonly buffer X4 { vec4 x_4[]; };
layout(set = 0, binding = 7) readonly buffer Dy { float dy[]; };
layout(set = 0, binding = 7) readonly buffer Dy4 { vec4 dy_4[]; };
layout(set = 0, binding = 8) writeonly buffer Partial { vec2 partial[]; };

void main() {
  ROW_BEGIN(rows * slices);
  const uint s = row / rows, r = row - s * rows, begin = s * slice, end = min(begin + slice, count);
  const uint statistic = r / planes_a_mean;
  const float centre = mean[statistic], scale = 1.0 / sqrt(var[statistic] + epsilon);
  vec2 plain = vec2(0), along = vec2(0);
  for (uint start = begin + 4u * lane; start < end; start += 16u * lanes) {
    vec4 plain_16 = vec4(0.0), along_16 = vec4(0.0);
    for (uint k = 0u; k < 4u; ++k) {
      const uint e = start + 4u * k * lanes;
      if (e >= end) break;
      const bvec4 valid = VALID(e, end);
      const vec4 d = mix(vec4(0.0), LOAD_ROW(dy, dy_offset, e), valid);
      plain_16 += d;
      along_16 += mix(vec4(0.0), d * (LOAD_ROW(x, x_offset, e) - centre), valid);
    }
    accumulate(plain, SUM4(plain_16));
    accumulate(along, SUM4(along_16));
  }
  const float sum_plain = row_sum(plain.x), sum_along = row_sum(along.x) * scale;
  if (lane != 0u) return;
  if (slices > 1u || planes_a_mean > 1u) {
    partial[row] = vec2(sum_plain, sum_along);
    return;
  }
  const float factor = w[w_offset + r % channels] * scale;
  db[r] = sum_plain;
  dw[r] = sum_along;
  c[r] = vec4(factor, -factor * scale * sum_along * per_element, -factor * sum_plain * per_element, centre);
}
#endif

#ifdef KERNEL_batchnorm_backward_finish
layout(set = 0, binding = 6) readonly buffer Partial { vec2 partial[]; };

void main() {
  const uint statistic = invocation_index();
  if (statistic >= rows / planes_a_mean) return;
  vec2 weighted = vec2(0.0);
  for (uint k = 0u; k < planes_a_mean; ++k) {
    const uint r = statistic * planes_a_mean + k;
    vec2 total = partial[r];
    for (uint s = 1u; s < slices; ++s) total += partial[s * rows + r];
    db[r] = total.x;
    dw[r] = total.y;
    weighted += w[w_offset + r % channels] * total;
  }
  const float centre = mean[statistic], scale = 1.0 / sqrt(var[statistic] + epsilon);
  weighted *= -scale * per_element;
  for (uint k = 0u; k < planes_a_mean; ++k) {
    const uint r = statistic * planes_a_mean + k;
    c[r] = vec4(scale * w[w_offset + r % channels], scale * weighted.y, weighted.x, centre);
  }
}
#endif

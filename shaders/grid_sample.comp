// x [n, CHANNELS, IN_H, IN_W] at the points of grid [n, OUT_H, OUT_W, 2] (Jaderberg et al. 2015): (-1, -1) to (1, 1) are
// the corner elements' centres (ALIGN), or the corners of the image. Bilinear, or the element that is nearest; beyond
// the image are zeros, or (BORDER) its border. A NaN among the coordinates gives NaN.
//   grid_sample       an invocation makes one element of y
//   grid_sample_dx    an invocation makes one element of dx: it looks through all points of its image, in order, for those
//                     that touch it. Nothing is added atomically, at a cost of in * out for each plane.
//   grid_sample_dgrid an invocation makes the gradient of one point, from all channels
#version 460
#extension GL_GOOGLE_include_directive : require
#pragma stithy kernels grid_sample grid_sample_dx grid_sample_dgrid
#pragma stithy fuse grid_sample - y
#pragma stithy fuse grid_sample_dx - dx
layout(local_size_x = 64, local_size_x_id = 0) in;
layout(constant_id = 1) const uint CHANNELS = 1u;
layout(constant_id = 2) const int IN_H = 1;
layout(constant_id = 3) const int IN_W = 1;
layout(constant_id = 4) const int OUT_H = 1;
layout(constant_id = 5) const int OUT_W = 1;
layout(constant_id = 6) const bool NEAREST = false;
layout(constant_id = 7) const bool BORDER = false;
layout(constant_id = 8) const bool ALIGN = false;
#include "grid.glsl"
#include "math.glsl"
#include "fused.glsl"

layout(set = 0, binding = 0) readonly buffer Grid { float grid[]; };
layout(push_constant) uniform Push { uint count, x_offset, grid_offset, dy_offset; };

#define SIZE vec2(IN_W, IN_H)
const uint IN = uint(IN_H * IN_W), OUT = uint(OUT_H * OUT_W);

// Point p in elements of x; `slope` is its derivative by the grid's coordinates. Far outside all is alike.
vec2 source(uint p, out vec2 slope) {
  const vec2 at = vec2(grid[grid_offset + 2u * p], grid[grid_offset + 2u * p + 1u]);
  slope = 0.5 * (ALIGN ? SIZE - 1.0 : SIZE);
  const vec2 here = ALIGN ? (at + 1.0) * 0.5 * (SIZE - 1.0) : ((at + 1.0) * SIZE - 1.0) * 0.5;
  if (is_nan(here.x) || is_nan(here.y)) return vec2(nan_value());
  if (!BORDER) return clamp(here, vec2(-2.0), SIZE + 1.0);
  slope = mix(vec2(0.0), slope, bvec2(here.x > 0.0 && here.x < SIZE.x - 1.0, here.y > 0.0 && here.y < SIZE.y - 1.0));
  return clamp(here, vec2(0.0), SIZE - 1.0);
}
bool inside(ivec2 at) { return at.x >= 0 && at.y >= 0 && at.x < IN_W && at.y < IN_H; }

#if defined KERNEL_grid_sample || defined KERNEL_grid_sample_dgrid
layout(set = 0, binding = 1) readonly buffer X { float x[]; };
float element(uint base, ivec2 at) { return inside(at) ? x[base + uint(at.y * IN_W + at.x)] : 0.0; }
#endif

#ifdef KERNEL_grid_sample
layout(set = 0, binding = 2) writeonly buffer Y { float y[]; };

void main() {
  const uint i = invocation_index();
  if (i >= count) return;
  const uint plane = i / OUT, p = plane / CHANNELS * OUT + (i - plane * OUT), base = x_offset + plane * IN;
  vec2 slope;
  const vec2 at = source(p, slope);
  float value = nan_value();
  if (!is_nan(at.x)) {
    if (NEAREST) {
      value = element(base, ivec2(roundEven(at)));
    } else {
      const ivec2 low = ivec2(floor(at));
      const vec2 t = at - floor(at);
      value = (1.0 - t.y) * ((1.0 - t.x) * element(base, low) + t.x * element(base, low + ivec2(1, 0))) +
              t.y * ((1.0 - t.x) * element(base, low + ivec2(0, 1)) + t.x * element(base, low + ivec2(1, 1)));
    }
  }
  y[i] = EPILOGUE(value, i);
}
#endif

#ifdef KERNEL_grid_sample_dx
layout(set = 0, binding = 1) readonly buffer Dy { float dy[]; };
layout(set = 0, binding = 2) writeonly buffer Dx { float dx[]; };

void main() {
  const uint i = invocation_index();
  if (i >= count) return;
  const uint plane = i / IN, first = plane / CHANNELS * OUT, base = dy_offset + plane * OUT;
  const int here = int(i - plane * IN);
  const vec2 mine = vec2(here % IN_W, here / IN_W);
  float sum = 0.0;
  for (uint o = 0u; o < OUT; ++o) {
    vec2 slope;
    const vec2 at = source(first + o, slope);
    if (NEAREST) {
      if (roundEven(at) == mine) sum += dy[base + o];
    } else {
      const vec2 away = abs(at - mine);
      if (away.x < 1.0 && away.y < 1.0) sum += (1.0 - away.x) * (1.0 - away.y) * dy[base + o];
    }
  }
  dx[i] = EPILOGUE(sum, i);
}
#endif

#ifdef KERNEL_grid_sample_dgrid
layout(set = 0, binding = 2) readonly buffer Dy { float dy[]; };
layout(set = 0, binding = 3) writeonly buffer Dgrid { float dgrid[]; };

void main() {
  const uint p = invocation_index();
  if (p >= count) return;
  const uint image = p / OUT, o = p - image * OUT;
  vec2 slope, sum = vec2(0.0);
  const vec2 at = source(p, slope);
  if (is_nan(at.x)) {
    sum = vec2(nan_value());
  } else if (!NEAREST) {
    const ivec2 low = ivec2(floor(at));
    const vec2 t = at - floor(at);
    for (uint c = 0u; c < CHANNELS; ++c) {
      const uint plane = image * CHANNELS + c, base = x_offset + plane * IN;
      const float a = element(base, low), b = element(base, low + ivec2(1, 0));
      const float d = element(base, low + ivec2(0, 1)), e = element(base, low + ivec2(1, 1));
      sum += dy[dy_offset + plane * OUT + o] *
             vec2((1.0 - t.y) * (b - a) + t.y * (e - d), (1.0 - t.x) * (d - a) + t.x * (e - b));
    }
    sum *= slope;
  }
  dgrid[2u * p] = sum.x;
  dgrid[2u * p + 1u] = sum.y;
}
#endif

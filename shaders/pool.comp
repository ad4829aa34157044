// Pooling over three axes of x [planes, IN_D, IN_H, IN_W]; fewer axes are ones of size 1. The window of output o along
// an axis, before it is cut to the input:
//   from o STRIDE - PAD on, KERNEL elements, DILATION apart; or, ADAPTIVE, from floor(o IN / OUT) to ceil((o + 1) IN /
//   OUT), as PyTorch has it
// An invocation makes one element of y or of dx. The backward kernels gather: an element of dx goes through the outputs
// whose windows it is in, in order, so that nothing is added atomically.
//   maxpool            y and the place of the first maximum in its plane; NaN is greater than all else, and of
//                      several, as in PyTorch, the last is taken; -1 where the window holds nothing
//   maxpool_backward   dx = sum of dy of the outputs whose maximum this is
//   avgpool            y = sum / divisor: DIVISOR, or, where it is 0, the elements of the window, with the padding
//                      (INCLUDE_PADDING) or without
//   avgpool_backward   dx = sum of dy / divisor
#version 460
#extension GL_GOOGLE_include_directive : require
#pragma stithy kernels maxpool maxpool_backward avgpool avgpool_backward
#pragma stithy fuse maxpool - y
#pragma stithy fuse maxpool_backward - dx
#pragma stithy fuse avgpool - y
#pragma stithy fuse avgpool_backward - dx
layout(local_size_x = 64, local_size_x_id = 0) in;
#include "dtype.glsl"
#include "grid.glsl"
#include "fused.glsl"

layout(constant_id = 1) const bool ADAPTIVE = false;
layout(constant_id = 2) const int IN_D = 1;
layout(constant_id = 3) const int IN_H = 1;
layout(constant_id = 4) const int IN_W = 1;
layout(constant_id = 5) const int OUT_D = 1;
layout(constant_id = 6) const int OUT_H = 1;
layout(constant_id = 7) const int OUT_W = 1;
layout(constant_id = 8) const int KERNEL_D = 1;
layout(constant_id = 9) const int KERNEL_H = 1;
layout(constant_id = 10) const int KERNEL_W = 1;
layout(constant_id = 11) const int STRIDE_D = 1;
layout(constant_id = 12) const int STRIDE_H = 1;
layout(constant_id = 13) const int STRIDE_W = 1;
layout(constant_id = 14) const int PAD_D = 0;
layout(constant_id = 15) const int PAD_H = 0;
layout(constant_id = 16) const int PAD_W = 0;
layout(constant_id = 17) const int DILATION_D = 1;
layout(constant_id = 18) const int DILATION_H = 1;
layout(constant_id = 19) const int DILATION_W = 1;
layout(constant_id = 20) const bool INCLUDE_PADDING = true;
layout(constant_id = 21) const int DIVISOR = 0;

layout(push_constant) uniform Push { uint count, x_offset, index_offset; };

// Of the window of output o: its first element and the one past its last, within the input.
ivec2 window(int o, int size, int outputs, int kernel, int stride, int pad, int dilation) {
  if (ADAPTIVE) return ivec2(o * size / outputs, ((o + 1) * size + outputs - 1) / outputs);
  const int first = o * stride - pad, skipped = max(0, dilation - 1 - first) / dilation;
  return ivec2(first + skipped * dilation, min(first + (kernel - 1) * dilation + 1, size));
}
// How many elements it counts for.
int window_size(int o, int size, int outputs, int kernel, int stride, int pad) {
  if (ADAPTIVE || !INCLUDE_PADDING) {
    const ivec2 inside = window(o, size, outputs, kernel, stride, pad, 1);
    return inside.y - inside.x;
  }
  return min(kernel, size + 2 * pad - o * stride);
}
// The first and the last output whose window may hold element i.
ivec2 outputs_of(int i, int size, int outputs, int kernel, int stride, int pad, int dilation) {
  if (ADAPTIVE) return ivec2(i * outputs / size, ((i + 1) * outputs + size - 1) / size - 1);
  const int before = i + pad - (kernel - 1) * dilation;
  return ivec2(max(0, before + stride - 1) / stride, min((i + pad) / stride, outputs - 1));
}
#define WINDOW(o, A) window(o, IN_##A, OUT_##A, KERNEL_##A, STRIDE_##A, PAD_##A, DILATION_##A)
#define WINDOW_SIZE(o, A) window_size(o, IN_##A, OUT_##A, KERNEL_##A, STRIDE_##A, PAD_##A)
#define OUTPUTS_OF(i, A) outputs_of(i, IN_##A, OUT_##A, KERNEL_##A, STRIDE_##A, PAD_##A, DILATION_##A)

const int IN = IN_D * IN_H * IN_W, OUT = OUT_D * OUT_H * OUT_W;
// The plane of element i, and where it is there.
#define PLACE(A)                                                                    \
  const uint plane = i / uint(A);                                                   \
  const int at = int(i - plane * uint(A)), at_w = at % A##_W, at_h = at / A##_W % A##_H, at_d = at / (A##_W * A##_H)

#ifdef KERNEL_maxpool
layout(set = 0, binding = 0) readonly buffer X { float x[]; };
layout(set = 0, binding = 1) writeonly buffer Y { float y[]; };
layout(set = 0, binding = 2) writeonly buffer Index { int index[]; };

void main() {
  const uint i = invocation_index();
  if (i >= count) return;
  PLACE(OUT);
  const ivec2 ds = WINDOW(at_d, D), hs = WINDOW(at_h, H), ws = WINDOW(at_w, W);
  const uint base = x_offset + plane * uint(IN);
  float best = uintBitsToFloat(0xff800000u);
  int place = -1;
  for (int d = ds.x; d < ds.y; d += DILATION_D)
    for (int h = hs.x; h < hs.y; h += DILATION_H)
      for (int w = ws.x; w < ws.y; w += DILATION_W) {
        const int here = (d * IN_H + h) * IN_W + w;
        const float value = x[base + uint(here)];
        if (place < 0 || is_nan(value) || (value > best && !is_nan(best))) {
          best = value;
          place = here;
        }
      }
  y[i] = EPILOGUE(best, i);
  index[i] = place;
}
#endif

#ifdef KERNEL_avgpool
layout(set = 0, binding = 0) readonly buffer X { float x[]; };
layout(set = 0, binding = 1) writeonly buffer Y { float y[]; };

void main() {
  const uint i = invocation_index();
  if (i >= count) return;
  PLACE(OUT);
  const ivec2 ds = WINDOW(at_d, D), hs = WINDOW(at_h, H), ws = WINDOW(at_w, W);
  const uint base = x_offset + plane * uint(IN);
  float sum = 0.0;
  for (int d = ds.x; d < ds.y; ++d)
    for (int h = hs.x; h < hs.y; ++h) {
      float of_row = 0.0;
      for (int w = ws.x; w < ws.y; ++w) of_row += x[base + uint((d * IN_H + h) * IN_W + w)];
      sum += of_row;
    }
  const int size = DIVISOR > 0 ? DIVISOR : WINDOW_SIZE(at_d, D) * WINDOW_SIZE(at_h, H) * WINDOW_SIZE(at_w, W);
  y[i] = EPILOGUE(sum / float(size), i);
}
#endif

#if defined KERNEL_maxpool_backward || defined KERNEL_avgpool_backward
layout(set = 0, binding = 0) readonly buffer Dy { float dy[]; };
layout(set = 0, binding = 1) writeonly buffer Dx { float dx[]; };
#ifdef KERNEL_maxpool_backward
layout(set = 0, binding = 2) readonly buffer Index { int index[]; };
#endif

// Windows do not overlap: an element is in one at most.
#define SPAN(A) ((KERNEL_##A - 1) * DILATION_##A)
const bool APART = !ADAPTIVE && SPAN(D) < STRIDE_D && SPAN(H) < STRIDE_H && SPAN(W) < STRIDE_W;

// What output o gives to element `at` of its plane.
float term(ivec3 o, uint base, int at) {
  const uint from = base + uint((o.x * OUT_H + o.y) * OUT_W + o.z);
#ifdef KERNEL_maxpool_backward
  const float d = dy[x_offset + from];
  return index[index_offset + from] == at ? d : 0.0;
#else
  const int size = DIVISOR > 0 ? DIVISOR : WINDOW_SIZE(o.x, D) * WINDOW_SIZE(o.y, H) * WINDOW_SIZE(o.z, W);
  return dy[x_offset + from] / float(size);
#endif
}

void main() {
  const uint i = invocation_index();
  if (i >= count) return;
  PLACE(IN);
  const ivec2 ds = OUTPUTS_OF(at_d, D), hs = OUTPUTS_OF(at_h, H), ws = OUTPUTS_OF(at_w, W);
  const uint base = plane * uint(OUT);
  float sum = 0.0;
  if (APART) {
    const bool inside = ds.x <= ds.y && hs.x <= hs.y && ws.x <= ws.y;
    sum = term(inside ? ivec3(ds.x, hs.x, ws.x) : ivec3(0), base, at);
    if (!inside) sum = 0.0;
  } else {
    for (int d = ds.x; d <= ds.y; ++d)
      for (int h = hs.x; h <= hs.y; ++h)
        for (int w = ws.x; w <= ws.y; ++w) sum += term(ivec3(d, h, w), base, at);
  }
  dx[i] = EPILOGUE(sum, i);
}
#endif

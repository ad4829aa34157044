// Region of interest alignment (He et al. 2017), as torchvision has it: x [n, CHANNELS, IN_H, IN_W] and rois [k, 5],
// (image, x1, y1, x2, y2) times `scale`, to y [k, CHANNELS, OUT_H, OUT_W]. A bin is the mean of bilinear samples on a
// grid: RATIO along each axis, or, where it is 0, as many as the bin has elements. ALIGNED shifts by half an element.
// A sample's weights are a product over the two axes, so a bin is sum of row weight * sum of column weight * x.
//   roi_align           an invocation makes one element of y; a roi of an image that is not there, or with a NaN, is NaN
//   roi_align_backward  an invocation makes one element of dx: it goes through the bins of all rois, in order
#version 460
#extension GL_GOOGLE_include_directive : require
#pragma stithy kernels roi_align roi_align_backward
#pragma stithy fuse roi_align - y
#pragma stithy fuse roi_align_backward - dx
layout(local_size_x = 64, local_size_x_id = 0) in;
layout(constant_id = 1) const uint CHANNELS = 1u;
layout(constant_id = 2) const int IN_H = 1;
layout(constant_id = 3) const int IN_W = 1;
layout(constant_id = 4) const int OUT_H = 1;
layout(constant_id = 5) const int OUT_W = 1;
layout(constant_id = 6) const int RATIO = 0;
layout(constant_id = 7) const bool ALIGNED = false;
#include "grid.glsl"
#include "math.glsl"
#include "fused.glsl"

layout(set = 0, binding = 0) readonly buffer Rois { float rois[]; };
layout(push_constant) uniform Push {
  uint count, images, regions, x_offset, rois_offset;
  float scale;
};

const uint IN = uint(IN_H * IN_W), OUT = uint(OUT_H * OUT_W);

// Of one axis of a roi: where bins begin, the distance of bins and of samples, and the samples of a bin.
struct Axis {
  float start, bin, step, samples;
};
Axis axis_of(float low, float high, int bins) {
  const float shift = ALIGNED ? 0.5 : 0.0, start = low * scale - shift, extent = high * scale - shift - start;
  const float size = ALIGNED ? extent : max(extent, 1.0), bin = size / float(bins);
  const float samples = RATIO > 0 ? float(RATIO) : clamp(ceil(bin), 0.0, 1e9);
  return Axis(start, bin, bin / samples, samples);
}
bool is_known(float image, Axis h, Axis w) {
  return image >= 0.0 && image < float(images) && is_finite(h.start + h.bin) && is_finite(w.start + w.bin);
}
// The samples of bin b that lie within one element of the image.
ivec2 samples_of(Axis a, int b, int size) {
  const float first = a.start + float(b) * a.bin, most = a.samples - 1.0;
  if (!(a.step > 0.0)) return ivec2(0, int(most));
  const vec2 bounds = (vec2(-1.0, float(size)) - first) / a.step - 0.5;
  return ivec2(int(clamp(floor(bounds.x) - 1.0, 0.0, a.samples)), int(clamp(ceil(bounds.y) + 1.0, -1.0, most)));
}
// The two elements that a sample lies between, and how much of it is the second's; none: both -1.
ivec2 neighbours(Axis a, int b, int s, int size, out float t) {
  const float at = a.start + float(b) * a.bin + (float(s) + 0.5) * a.step;
  t = 0.0;
  if (at < -1.0 || at > float(size)) return ivec2(-1);
  const float inside = max(at, 0.0);
  const int low = int(inside);
  if (low >= size - 1) return ivec2(size - 1);
  t = inside - float(low);
  return ivec2(low, low + 1);
}
float samples_in_all(Axis h, Axis w) { return max(h.samples * w.samples, 1.0); }

#ifdef KERNEL_roi_align
layout(set = 0, binding = 1) readonly buffer X { float x[]; };
layout(set = 0, binding = 2) writeonly buffer Y { float y[]; };

void main() {
  const uint i = invocation_index();
  if (i >= count) return;
  const uint plane = i / OUT, k = plane / CHANNELS, roi = rois_offset + 5u * k;
  const int at = int(i - plane * OUT), bin_h = at / OUT_W, bin_w = at % OUT_W;
  const float image = rois[roi];
  const Axis h = axis_of(rois[roi + 2u], rois[roi + 4u], OUT_H), w = axis_of(rois[roi + 1u], rois[roi + 3u], OUT_W);
  float value = nan_value();
  if (is_known(image, h, w)) {
    const uint base = x_offset + (uint(image) * CHANNELS + plane % CHANNELS) * IN;
    const ivec2 hs = samples_of(h, bin_h, IN_H), ws = samples_of(w, bin_w, IN_W);
    value = 0.0;
    for (int sh = hs.x; sh <= hs.y; ++sh) {
      float th;
      const ivec2 rows = neighbours(h, bin_h, sh, IN_H, th);
      if (rows.x < 0) continue;
      const uint low = base + uint(rows.x * IN_W), high = base + uint(rows.y * IN_W);
      for (int sw = ws.x; sw <= ws.y; ++sw) {
        float tw;
        const ivec2 columns = neighbours(w, bin_w, sw, IN_W, tw);
        if (columns.x < 0) continue;
        const uint c = uint(columns.x), d = uint(columns.y);
        value += (1.0 - th) * ((1.0 - tw) * x[low + c] + tw * x[low + d]) +
                 th * ((1.0 - tw) * x[high + c] + tw * x[high + d]);
      }
    }
    value /= samples_in_all(h, w);
  }
  y[i] = EPILOGUE(value, i);
}
#endif

#ifdef KERNEL_roi_align_backward
layout(set = 0, binding = 1) readonly buffer Dy { float dy[]; };
layout(set = 0, binding = 2) writeonly buffer Dx { float dx[]; };

// How much of bin b is of element `here`, before the division by the count of samples.
float share(Axis a, int b, int here, int size) {
  const ivec2 samples = samples_of(a, b, size);
  float sum = 0.0;
  for (int s = samples.x; s <= samples.y; ++s) {
    float t;
    const ivec2 both = neighbours(a, b, s, size, t);
    sum += (both.x == here ? 1.0 - t : 0.0) + (both.y == here ? t : 0.0);
  }
  return sum;
}

void main() {
  const uint i = invocation_index();
  if (i >= count) return;
  const uint plane = i / IN, channel = plane % CHANNELS, mine = plane / CHANNELS;
  const int at = int(i - plane * IN), at_h = at / IN_W, at_w = at % IN_W;
  float sum = 0.0;
  for (uint k = 0u; k < regions; ++k) {
    const uint roi = rois_offset + 5u * k;
    const float image = rois[roi];
    const Axis h = axis_of(rois[roi + 2u], rois[roi + 4u], OUT_H), w = axis_of(rois[roi + 1u], rois[roi + 3u], OUT_W);
    if (!is_known(image, h, w) || uint(image) != mine) continue;
    const uint base = x_offset + (k * CHANNELS + channel) * OUT;
    float of_roi = 0.0;
    for (int b = 0; b < OUT_H; ++b) {
      const float row = share(h, b, at_h, IN_H);
      if (row == 0.0) continue;
      for (int c = 0; c < OUT_W; ++c) {
        const float column = share(w, c, at_w, IN_W);
        if (column != 0.0) of_roi += row * column * dy[base + uint(b * OUT_W + c)];
      }
    }
    sum += of_roi / samples_in_all(h, w);
  }
  dx[i] = EPILOGUE(sum, i);
}
#endif

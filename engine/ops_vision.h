// Ops on images and other signals, [n, channels, ...] with one to three spatial axes unless a line says
// otherwise. The conventions are those of engine/ops.h; options and defaults are PyTorch's.
#pragma once

#include <optional>
#include <vector>

#include "engine/graph/tensor.h"
#include "engine/graph/variable.h"

namespace stithy {

// Normalisation by the mean and the biased variance over all axes but the channels (Ioffe and Szegedy 2015),
// and over each group of channels of each element of the batch (Wu and He 2018): y = (x - mean) / sqrt(var +
// epsilon) weight + bias. Also for x [n, channels]. weight and bias [channels]; undefined: ones and zeros.
struct BatchNormOutputs {
  Tensor y, mean, var;  // mean and var [channels]; gradients flow through all three
};
BatchNormOutputs batchnorm(const Tensor& x, const Tensor& weight = {}, const Tensor& bias = {},
                           float epsilon = 1e-5f);
Tensor groupnorm(const Tensor& x, int64_t groups, const Tensor& weight = {}, const Tensor& bias = {},
                 float epsilon = 1e-5f);
// Updates running statistics [channels] in place and returns the mean's new value: r += momentum (s - r), of
// the mean and of the unbiased variance of `count` elements a channel, and batches (i32, one element) += 1.
// Without momentum they are the average of all batches. Throws Error where count < 2.
Tensor batchnorm_update(const Variable& running_mean, const Variable& running_var, const Variable& batches,
                        const BatchNormOutputs& statistics, int64_t count,
                        std::optional<float> momentum = 0.1f);
// x / (k + alpha s)^beta, where s is the mean of x^2 over a window of `size` channels, of which those that
// are not there count as 0 (Krizhevsky et al. 2012).
Tensor local_response_norm(const Tensor& x, int64_t size, float alpha = 1e-4f, float beta = 0.75f,
                           float k = 1);

// Pooling. Kernel, stride, padding, dilation and output sizes have one entry for all spatial axes, or one for
// each. With ceil_mode a window may go beyond the end, as long as it begins in the input or in the padding
// before it.
struct MaxPoolOptions {
  Shape stride = {};  // empty: the kernel
  Shape padding = {0}, dilation = {1};
  bool ceil_mode = false;
};
struct MaxPoolOutputs {
  Tensor y,
      index;  // index: i32, the place of the maximum in its channel's plane, row-major; the first of equals
};
// The maximum is NaN where a window has one. Throws Error where the padding is more than half of the kernel.
MaxPoolOutputs maxpool(const Tensor& x, const Shape& kernel, const MaxPoolOptions& options = {});
struct AvgPoolOptions {
  Shape stride = {};  // empty: the kernel
  Shape padding = {0};
  bool ceil_mode = false, count_include_pad = true;
  int64_t divisor = 0;  // 0: the size of the window
};
Tensor avgpool(const Tensor& x, const Shape& kernel, const AvgPoolOptions& options = {});
// (sum of x^p over the window)^(1 / p), p > 0. The gradient is 0 where the sum is.
Tensor lppool(const Tensor& x, float p, const Shape& kernel, const Shape& stride = {},
              bool ceil_mode = false);
// Windows from floor(i in / out) to ceil((i + 1) in / out), for outputs of a given size.
MaxPoolOutputs adaptive_maxpool(const Tensor& x, const Shape& size);
Tensor adaptive_avgpool(const Tensor& x, const Shape& size);

// Interpolation at as many points along each spatial axis as `size` says: bilinear for two axes, trilinear
// for three; cubic with Keys' a = -0.75. Without align_corners, elements are areas; with it, the corners'
// centres stay in place.
enum class Interpolation : uint8_t { nearest, linear, cubic };
Tensor upsample(const Tensor& x, const Shape& size, Interpolation mode = Interpolation::nearest,
                bool align_corners = false);
// To floor(factor * size). Without align_corners the points are 1 / factor apart, as in PyTorch.
Tensor upsample_by(const Tensor& x, const std::vector<double>& factors,
                   Interpolation mode = Interpolation::nearest, bool align_corners = false);
// x in reverse order along the axes (empty: all), of any rank.
Tensor flip(const Tensor& x, const Shape& axes);
// y[i] = x[i - shift] along the axis, around the ends. Any dtype that concat() takes, any rank.
Tensor roll(const Tensor& x, int64_t shift, int64_t axis);
// [n, c factor^2, h, w] to [n, c, h factor, w factor] and back (Shi et al. 2016).
Tensor pixel_shuffle(const Tensor& x, int64_t factor);
Tensor pixel_unshuffle(const Tensor& x, int64_t factor);

// x [n, channels, h, w] at the points of grid [n, out h, out w, 2], (x, y) from -1 to 1, to [n, channels, out
// h, out w] (Jaderberg et al. 2015). Bilinear, or the nearest element; outside are zeros, or the border. A
// NaN coordinate gives NaN. The gradient of x looks at every point for every element: it costs h w out_h
// out_w for each plane.
struct GridSampleOptions {
  bool nearest = false, border = false, align_corners = false;
};
Tensor grid_sample(const Tensor& x, const Tensor& grid, const GridSampleOptions& options = {});

// Boxes [n, 4], (x1, y1, x2, y2), in the order of their scores [n], without those that overlap a better one
// by more than `threshold` of their union; as torchvision.ops.nms. No gradient.
struct NmsOutputs {
  Tensor keep, count;  // i32 [n], the boxes that stay, then -1; i32 [], how many stay
};
NmsOutputs nms(const Tensor& boxes, const Tensor& scores, float threshold);

// Means of bilinear samples in `height` x `width` bins of each region: x [n, channels, h, w], rois [k, 5],
// (image, x1, y1, x2, y2), to [k, channels, height, width] (He et al. 2017; torchvision.ops.roi_align). A roi
// whose image is not there, or that has a NaN, gives NaN. No gradient flows to the rois.
struct RoiAlignOptions {
  float spatial_scale = 1;     // of the rois' coordinates
  int64_t sampling_ratio = 0;  // samples along an axis of a bin; 0: as many as it has elements
  bool aligned = false;        // shifts by half an element, which is exact
};
Tensor roi_align(const Tensor& x, const Tensor& rois, int64_t height, int64_t width,
                 const RoiAlignOptions& options = {});

}  // namespace stithy

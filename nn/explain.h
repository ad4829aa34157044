// Explanations: on which elements of its input a classifier's answer hangs. The model takes x, f32 [n, ...],
// to logits [n, classes] and is run in evaluation mode; what is explained of item i is its logit of
// classes[i]. Error is thrown, named after the function, for other shapes and for a class out of range.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "engine/core/array.h"
#include "nn/module.h"

namespace stithy::nn {

// d logit / d x, of x's shape. Its absolute value is the saliency map of Simonyan et al. 2014.
Array input_gradient(Module& model, const Array& x, std::span<const int32_t> classes);

struct Attributions {
  Array values;  // of x's shape
  // For each item, how far the sum of its values is from logit(x) - logit(baseline), as a share of that: the
  // error of the integral, which more steps make smaller.
  std::vector<double> completeness_error;
};
// (x - baseline) times the mean gradient along the line between them, taken at the middles of `steps` parts
// (Sundararajan et al. 2017). The baseline is the same value everywhere.
Attributions integrated_gradients(Module& model, const Array& x, std::span<const int32_t> classes,
                                  int64_t steps = 32, float baseline = 0);

// Grad-CAM (Selvaraju et al. 2017): the channels of a layer's output [n, channels, h, w], each weighted by
// the mean of its gradient, added up and cut off below 0; then resampled bilinearly to the last two axes of
// x, f32 [n, height, width]. `layer` is a path as in named_modules(), "4" or "features.4".
Array grad_cam(Module& model, const std::string& layer, const Array& x, std::span<const int32_t> classes);

// How much the logit falls when a window of `window` x `window` elements of the last two axes of x is set to
// `fill` (Zeiler and Fergus 2014), f32 [n, height, width]: for each element the mean over the windows that
// cover it. Windows are `stride` apart, the last ones at the border.
Array occlusion(Module& model, const Array& x, std::span<const int32_t> classes, int64_t window,
                int64_t stride = 1, float fill = 0);

}  // namespace stithy::nn

// Augmentation of whole batches by pairs of images with soft labels. Made for LoaderOptions::transform.
#pragma once

#include "engine/core/rng.h"
#include "nn/data/loader.h"

namespace stithy {

// A number in [0, 1] of the Beta distribution (by two Gamma variates: Marsaglia and Tsang 2000). Throws Error
// unless a and b are above 0 and finite.
double draw_beta(Philox& random, double a, double b);

// Column 0 of the batch is images, u8 or f32 [n, ...], column 1 labels, i32 [n]. Each image is mixed with the
// one before it in the batch (the first with the last), all by one number drawn from Beta(alpha, alpha), and
// the labels become f32 [n, classes], the targets of nn::CrossEntropy: the share of each class. u8 is
// rounded. Padding stays, with a row of zeros, whose loss is 0. Throws Error for other columns and for a
// label that is not below `classes`.

// lambda x1 + (1 - lambda) x2 (Zhang et al. 2018).
struct MixUp {
  int64_t classes;
  double alpha = 0.2;
  void operator()(Batch& batch, Philox& random) const;
};

// A rectangle of (1 - lambda) of the area, at a random place and cut off at the border, comes from the other
// image of [n, channels, height, width] or [n, height, width]; the labels take what area is left (Yun et al.
// 2019).
struct CutMix {
  int64_t classes;
  double alpha = 1;
  void operator()(Batch& batch, Philox& random) const;
};

}  // namespace stithy

// Ops on images and other signals, [n, channels, ...] with one to three spatial axes unless a line says
// otherwise. The conventions are those of engine/ops.h; options and defaults are PyTorch's.
#pragma once

#include <optional>

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

}  // namespace stithy

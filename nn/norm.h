// Normalisation layers. Parameters and buffers have PyTorch's names, shapes and default initial values.
#pragma once

#include <optional>

#include "engine/ops.h"
#include "engine/ops_vision.h"
#include "nn/module.h"

namespace stithy::nn {

// Over the last axis, whose size is `size`. weight and bias [size]: ones and zeros.
class LayerNorm : public Module {
 public:
  explicit LayerNorm(int64_t size, float epsilon = 1e-5f);
  Tensor forward(const Tensor& x) override { return layernorm(x, weight, bias, epsilon_); }
  std::string describe() const override;
  Variable weight, bias;

 private:
  float epsilon_;
};

// Over the last axis, whose size is `size`. weight [size]: ones.
class RmsNorm : public Module {
 public:
  explicit RmsNorm(int64_t size, float epsilon = 1e-5f);
  Tensor forward(const Tensor& x) override { return rmsnorm(x, weight, epsilon_); }
  std::string describe() const override;
  Variable weight;

 private:
  float epsilon_;
};

struct BatchNormOptions {
  float epsilon = 1e-5f;
  std::optional<float> momentum = 0.1f;  // none: running statistics are the average of all batches
  bool affine = true;                    // weight and bias [channels]: ones and zeros
  bool track_running_stats = true;
};

// Batch normalisation of [n, channels, ...], axis 1. In training by the batch's mean and variance, which also
// go into the buffers running_mean and running_var [channels] and num_batches_tracked (i32 []); in evaluation
// by these, or, where there are none, by the batch's. Throws Error in training where a channel has one value.
class BatchNorm : public Module {
 public:
  Tensor forward(const Tensor& x) override;
  std::string describe() const override;
  Variable weight, bias, running_mean, running_var, num_batches_tracked;

 protected:
  // For inputs of one of the ranks.
  BatchNorm(const char* name, int64_t channels, std::initializer_list<int> ranks,
            const BatchNormOptions& options);

 private:
  const char* name_;
  int64_t channels_;
  std::vector<int> ranks_;
  BatchNormOptions options_;
};
struct BatchNorm1d : BatchNorm {  // [n, channels] or [n, channels, length]
  explicit BatchNorm1d(int64_t channels, const BatchNormOptions& options = {});
};
struct BatchNorm2d : BatchNorm {  // [n, channels, height, width]
  explicit BatchNorm2d(int64_t channels, const BatchNormOptions& options = {});
};
struct BatchNorm3d : BatchNorm {  // [n, channels, depth, height, width]
  explicit BatchNorm3d(int64_t channels, const BatchNormOptions& options = {});
};

// Over each group of channels of each element of the batch, of [n, channels, ...]. weight and bias
// [channels]: ones and zeros. Throws Error where the groups do not divide the channels.
class GroupNorm : public Module {
 public:
  GroupNorm(int64_t groups, int64_t channels, float epsilon = 1e-5f, bool affine = true);
  Tensor forward(const Tensor& x) override;
  std::string describe() const override;
  Variable weight, bias;

 private:
  int64_t groups_, channels_;
  float epsilon_;
};

// Over each channel of each element of the batch (Ulyanov et al. 2016), of [n, channels, ...]. With `affine`,
// weight and bias [channels]: ones and zeros.
class InstanceNorm : public Module {
 public:
  Tensor forward(const Tensor& x) override;
  std::string describe() const override;
  Variable weight, bias;

 protected:
  InstanceNorm(const char* name, int64_t channels, int rank, float epsilon, bool affine);

 private:
  const char* name_;
  int64_t channels_;
  int rank_;
  float epsilon_;
};
struct InstanceNorm1d : InstanceNorm {  // [n, channels, length]
  explicit InstanceNorm1d(int64_t channels, float epsilon = 1e-5f, bool affine = false);
};
struct InstanceNorm2d : InstanceNorm {  // [n, channels, height, width]
  explicit InstanceNorm2d(int64_t channels, float epsilon = 1e-5f, bool affine = false);
};
struct InstanceNorm3d : InstanceNorm {  // [n, channels, depth, height, width]
  explicit InstanceNorm3d(int64_t channels, float epsilon = 1e-5f, bool affine = false);
};

// x / (k + alpha s)^beta with s the mean of x^2 over `size` channels (Krizhevsky et al. 2012), of [n,
// channels, ...].
class LocalResponseNorm : public Module {
 public:
  explicit LocalResponseNorm(int64_t size, float alpha = 1e-4f, float beta = 0.75f, float k = 1)
      : size_(size), alpha_(alpha), beta_(beta), k_(k) {}
  Tensor forward(const Tensor& x) override { return local_response_norm(x, size_, alpha_, beta_, k_); }
  std::string describe() const override;

 private:
  int64_t size_;
  float alpha_, beta_, k_;
};

}  // namespace stithy::nn

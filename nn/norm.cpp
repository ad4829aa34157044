#include "nn/norm.h"

#include <algorithm>

#include "engine/core/error.h"
#include "nn/init.h"

namespace stithy::nn {

namespace {
void check_size(const char* layer, int64_t size) {
  if (size < 1) throw Error(layer, cat("sizes must be at least 1, got ", size));
}
// [n, channels, ...] of one of the ranks.
void check_channels(const Module& layer, const Tensor& x, int64_t channels, const std::vector<int>& ranks) {
  const bool fits = ranks.empty() ? x.rank() >= 2 : std::ranges::find(ranks, x.rank()) != ranks.end();
  if (fits && x.dim(1) == channels) return;
  std::string wanted;
  for (const int rank : ranks) wanted += cat(wanted.empty() ? " of " : " or ", rank, " axes");
  throw Error(layer.describe(),
              cat("the input's shape is ", x.shape(), ", not [n, ", channels, ", ...]", wanted),
              "channels are axis 1");
}
// A parameter of each channel as x's shape sees it.
Tensor along_channels(const Tensor& parameter, const Tensor& x) {
  Shape shape = Shape::filled(x.rank(), 1);
  shape[1] = parameter.dim(0);
  return reshape(parameter, shape);
}
}  // namespace

LayerNorm::LayerNorm(int64_t size, float epsilon) : epsilon_(epsilon) {
  check_size("LayerNorm", size);
  weight = parameter("weight", init::constant({size}, 1));
  bias = parameter("bias", init::constant({size}, 0));
}
std::string LayerNorm::describe() const { return cat("LayerNorm(", weight.shape()[0], ")"); }

RmsNorm::RmsNorm(int64_t size, float epsilon) : epsilon_(epsilon) {
  check_size("RmsNorm", size);
  weight = parameter("weight", init::constant({size}, 1));
}
std::string RmsNorm::describe() const { return cat("RMSNorm(", weight.shape()[0], ")"); }

BatchNorm::BatchNorm(const char* name, int64_t channels, std::initializer_list<int> ranks,
                     const BatchNormOptions& options)
    : name_(name), channels_(channels), ranks_(ranks), options_(options) {
  check_size(name, channels);
  if (options.affine) {
    weight = parameter("weight", init::constant({channels}, 1));
    bias = parameter("bias", init::constant({channels}, 0));
  }
  if (options.track_running_stats) {
    running_mean = buffer("running_mean", init::constant({channels}, 0));
    running_var = buffer("running_var", init::constant({channels}, 1));
    num_batches_tracked = buffer("num_batches_tracked", Array({}, DType::i32));
  }
}

Tensor BatchNorm::forward(const Tensor& x) {
  check_channels(*this, x, channels_, ranks_);
  const Tensor w = weight.defined() ? Tensor(weight) : Tensor(), b = bias.defined() ? Tensor(bias) : Tensor();
  const int64_t count = x.numel() / channels_;
  if (training() && count < 2)
    throw Error(describe(), cat("a channel of ", x.shape(), " has ", count, " value, which has no variance"),
                "in training, give more than one value for each channel");
  if (training() || !running_mean.defined()) {
    const BatchNormOutputs outputs = batchnorm(x, w, b, options_.epsilon);
    if (running_mean.defined() && training())
      also_update([mean = running_mean, var = running_var, batches = num_batches_tracked, outputs, count,
                   momentum = options_.momentum] {
        return batchnorm_update(mean, var, batches, outputs, count, momentum);
      });
    return outputs.y;
  }
  // Pointwise, so that it becomes a part of the kernel of the op before, such as a convolution.
  Tensor scale = rsqrt(running_var + options_.epsilon);
  if (w.defined()) scale = scale * w;
  const Tensor y = (x - along_channels(running_mean, x)) * along_channels(scale, x);
  return b.defined() ? y + along_channels(b, x) : y;
}

std::string BatchNorm::describe() const { return cat(name_, "(", channels_, ")"); }

BatchNorm1d::BatchNorm1d(int64_t channels, const BatchNormOptions& options)
    : BatchNorm("BatchNorm1d", channels, {2, 3}, options) {}
BatchNorm2d::BatchNorm2d(int64_t channels, const BatchNormOptions& options)
    : BatchNorm("BatchNorm2d", channels, {4}, options) {}
BatchNorm3d::BatchNorm3d(int64_t channels, const BatchNormOptions& options)
    : BatchNorm("BatchNorm3d", channels, {5}, options) {}

GroupNorm::GroupNorm(int64_t groups, int64_t channels, float epsilon, bool affine)
    : groups_(groups), channels_(channels), epsilon_(epsilon) {
  check_size("GroupNorm", groups);
  check_size("GroupNorm", channels);
  if (channels % groups != 0)
    throw Error("GroupNorm", cat(groups, " groups do not divide ", channels, " channels"));
  if (!affine) return;
  weight = parameter("weight", init::constant({channels}, 1));
  bias = parameter("bias", init::constant({channels}, 0));
}
Tensor GroupNorm::forward(const Tensor& x) {
  check_channels(*this, x, channels_, {});
  return weight.defined() ? groupnorm(x, groups_, weight, bias, epsilon_)
                          : groupnorm(x, groups_, {}, {}, epsilon_);
}
std::string GroupNorm::describe() const { return cat("GroupNorm(", groups_, ", ", channels_, ")"); }

InstanceNorm::InstanceNorm(const char* name, int64_t channels, int rank, float epsilon, bool affine)
    : name_(name), channels_(channels), rank_(rank), epsilon_(epsilon) {
  check_size(name, channels);
  if (!affine) return;
  weight = parameter("weight", init::constant({channels}, 1));
  bias = parameter("bias", init::constant({channels}, 0));
}
Tensor InstanceNorm::forward(const Tensor& x) {
  check_channels(*this, x, channels_, {rank_});
  return weight.defined() ? groupnorm(x, channels_, weight, bias, epsilon_)
                          : groupnorm(x, channels_, {}, {}, epsilon_);
}
std::string InstanceNorm::describe() const { return cat(name_, "(", channels_, ")"); }

InstanceNorm1d::InstanceNorm1d(int64_t channels, float epsilon, bool affine)
    : InstanceNorm("InstanceNorm1d", channels, 3, epsilon, affine) {}
InstanceNorm2d::InstanceNorm2d(int64_t channels, float epsilon, bool affine)
    : InstanceNorm("InstanceNorm2d", channels, 4, epsilon, affine) {}
InstanceNorm3d::InstanceNorm3d(int64_t channels, float epsilon, bool affine)
    : InstanceNorm("InstanceNorm3d", channels, 5, epsilon, affine) {}

std::string LocalResponseNorm::describe() const { return cat("LocalResponseNorm(", size_, ")"); }

}  // namespace stithy::nn

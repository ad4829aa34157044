// Pooling layers of [n, channels, ...]; the ops of the same names in engine/ops_vision.h say what they
// compute. Kernel and output sizes are one value for all spatial axes, or one for each. They throw Error for
// inputs of another rank.
#pragma once

#include <functional>

#include "engine/core/error.h"
#include "engine/ops.h"
#include "engine/ops_vision.h"
#include "nn/module.h"

namespace stithy::nn {

// What the pooling layers share: a function of inputs with `axes` spatial axes.
class Pool : public Module {
 public:
  Tensor forward(const Tensor& x) override;
  std::string describe() const override { return description_; }

 protected:
  Pool(std::string name, int axes, const Shape& kernel, std::function<Tensor(const Tensor&)> pool);

 private:
  std::string description_;
  int axes_;
  std::function<Tensor(const Tensor&)> pool_;
};

template <int Axes>
struct MaxPool : Pool {
  explicit MaxPool(const Shape& kernel, const MaxPoolOptions& options = {})
      : Pool(cat("MaxPool", Axes, "d"), Axes, kernel,
             [=](const Tensor& x) { return maxpool(x, kernel, options).y; }) {}
  explicit MaxPool(int64_t kernel, const MaxPoolOptions& options = {}) : MaxPool(Shape{kernel}, options) {}
};
template <int Axes>
struct AvgPool : Pool {
  explicit AvgPool(const Shape& kernel, const AvgPoolOptions& options = {})
      : Pool(cat("AvgPool", Axes, "d"), Axes, kernel,
             [=](const Tensor& x) { return avgpool(x, kernel, options); }) {}
  explicit AvgPool(int64_t kernel, const AvgPoolOptions& options = {}) : AvgPool(Shape{kernel}, options) {}
};
template <int Axes>
struct LpPool : Pool {
  LpPool(float p, const Shape& kernel, const Shape& stride = {}, bool ceil_mode = false)
      : Pool(cat("LPPool", Axes, "d"), Axes, kernel,
             [=](const Tensor& x) { return lppool(x, p, kernel, stride, ceil_mode); }) {}
};
template <int Axes>
struct AdaptiveMaxPool : Pool {
  explicit AdaptiveMaxPool(const Shape& size)
      : Pool(cat("AdaptiveMaxPool", Axes, "d"), Axes, size,
             [=](const Tensor& x) { return adaptive_maxpool(x, size).y; }) {}
  explicit AdaptiveMaxPool(int64_t size) : AdaptiveMaxPool(Shape{size}) {}
};
template <int Axes>
struct AdaptiveAvgPool : Pool {
  explicit AdaptiveAvgPool(const Shape& size)
      : Pool(cat("AdaptiveAvgPool", Axes, "d"), Axes, size,
             [=](const Tensor& x) { return adaptive_avgpool(x, size); }) {}
  explicit AdaptiveAvgPool(int64_t size) : AdaptiveAvgPool(Shape{size}) {}
};

// Over the steps of sequences, x [n, t, c] -> [n, c]: their mean, and the largest of each channel. lengths,
// i32 [n], 0 to t (undefined: all are t): what stands beyond them counts for nothing; without a step the
// result is 0. Throw Error for other shapes and types.
Tensor mean_over_time(const Tensor& x, const Tensor& lengths = {});
Tensor max_over_time(const Tensor& x, const Tensor& lengths = {});

using MaxPool1d = MaxPool<1>;
using MaxPool2d = MaxPool<2>;
using MaxPool3d = MaxPool<3>;
using AvgPool1d = AvgPool<1>;
using AvgPool2d = AvgPool<2>;
using AvgPool3d = AvgPool<3>;
using LpPool1d = LpPool<1>;
using LpPool2d = LpPool<2>;
using LpPool3d = LpPool<3>;
using AdaptiveMaxPool1d = AdaptiveMaxPool<1>;
using AdaptiveMaxPool2d = AdaptiveMaxPool<2>;
using AdaptiveMaxPool3d = AdaptiveMaxPool<3>;
using AdaptiveAvgPool1d = AdaptiveAvgPool<1>;
using AdaptiveAvgPool2d = AdaptiveAvgPool<2>;
using AdaptiveAvgPool3d = AdaptiveAvgPool<3>;

}  // namespace stithy::nn

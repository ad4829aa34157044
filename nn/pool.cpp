#include "nn/pool.h"

#include <limits>

namespace stithy::nn {
namespace {

void check_steps(const char* name, const Tensor& x, const Tensor& lengths) {
  if (x.rank() != 3) throw Error(name, cat("the input's shape ", x.shape(), " is not [n, t, channels]"));
  if (lengths.defined() && (lengths.dtype() != DType::i32 || lengths.shape() != Shape{x.dim(0)}))
    throw Error(name, cat("lengths are i32 [", x.dim(0), "], got ", lengths.dtype(), " ", lengths.shape()));
}

// Whether a step is within its sequence: bool [n, t, 1].
Tensor is_within(const Tensor& x, const Tensor& lengths) {
  return less(reshape(arange(x.dim(1)), {1, x.dim(1), 1}), reshape(lengths, {x.dim(0), 1, 1}));
}

}  // namespace

Pool::Pool(std::string name, int axes, const Shape& kernel, std::function<Tensor(const Tensor&)> pool)
    : description_(name + "("), axes_(axes), pool_(std::move(pool)) {
  if (kernel.rank() != 1 && kernel.rank() != axes)
    throw Error(name, cat("sizes ", kernel, " are not for ", axes, " axes"),
                "give one size, or one for each axis");
  for (int d = 0; d < kernel.rank(); ++d) {
    if (kernel[d] < 1) throw Error(name, cat("sizes must be at least 1, got ", kernel));
    description_ += cat(d ? ", " : "", kernel[d]);
  }
  description_ += ")";
}

Tensor Pool::forward(const Tensor& x) {
  if (x.rank() != axes_ + 2)
    throw Error(describe(),
                cat("the input's shape ", x.shape(), " is not [n, channels] and ", axes_, " spatial axes"));
  return pool_(x);
}

Tensor mean_over_time(const Tensor& x, const Tensor& lengths) {
  check_steps("mean_over_time", x, lengths);
  if (!lengths.defined()) return mean(x, {1});
  const Tensor total = sum(where(is_within(x, lengths), x, full({}, 0)), {1});
  return total / unsqueeze(maximum(cast(lengths, DType::f32), full({}, 1)), 1);
}

Tensor max_over_time(const Tensor& x, const Tensor& lengths) {
  check_steps("max_over_time", x, lengths);
  if (!lengths.defined()) return max(x, {1});
  const Tensor least = full({}, std::numeric_limits<float>::lowest());
  const Tensor largest = max(where(is_within(x, lengths), x, least), {1});
  return where(greater(unsqueeze(cast(lengths, DType::f32), 1), full({}, 0)), largest, full({}, 0));
}

}  // namespace stithy::nn

#include "nn/pool.h"

namespace stithy::nn {

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

}  // namespace stithy::nn

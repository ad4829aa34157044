#include "nn/upsample.h"

#include "engine/core/error.h"

namespace stithy::nn {

Tensor Upsample::forward(const Tensor& x) {
  return size_.empty() ? upsample_by(x, {factor_}, mode_, align_corners_)
                       : upsample(x, size_, mode_, align_corners_);
}
std::string Upsample::describe() const {
  constexpr const char* kModes[] = {"nearest", "linear", "cubic"};
  const std::string to = size_.empty() ? cat("scale_factor=", factor_) : cat("size=", size_);
  return cat("Upsample(", to, ", mode=", kModes[static_cast<size_t>(mode_)], ")");
}

std::string PixelShuffle::describe() const { return cat("PixelShuffle(", factor_, ")"); }
std::string PixelUnshuffle::describe() const { return cat("PixelUnshuffle(", factor_, ")"); }

}  // namespace stithy::nn

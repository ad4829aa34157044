// What the transforms of images share.
#pragma once

#include "engine/core/array.h"

namespace stithy {

// The longest side of an image that a transform makes, as PNG and JPEG have it.
inline constexpr int64_t kImageSide = 65535;

struct ImageSize {
  int64_t channels, height, width;
};
// Throws Error, named `name`, for what is no u8 [channels, height, width] with pixels.
ImageSize image_size(const char* name, const Array& image);

}  // namespace stithy

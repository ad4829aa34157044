// PNG (ISO/IEC 15948), by libpng: 8 bits, greyscale or RGB, still or moving, for the images in reports.
#pragma once

#include <span>
#include <string>

#include "engine/core/array.h"

namespace stithy {

// The file's bytes. `pixels` is u8, [height, width] or [height, width, 3]; throws Error for anything else,
// for an empty image and for a side above 65,535.
std::string encode_png(const Array& pixels);

// An animated PNG (PNG, third edition; every browser shows it), which repeats for ever; where animation is
// unknown, its first frame is seen. Throws Error when there is no frame, frames differ in shape or are no
// images, and when the time is not in 0.001 to 65 seconds.
std::string encode_apng(std::span<const Array> frames, double seconds_per_frame);

// "data:image/png;base64,..." for an src attribute.
std::string png_data_uri(const Array& pixels);

// Standard base64 with padding (RFC 4648).
std::string base64(std::string_view bytes);

}  // namespace stithy

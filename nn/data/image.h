// Images: PNG (ISO/IEC 15948, by libpng) and JPEG (by libjpeg-turbo) as bytes.
#pragma once

#include <string>
#include <string_view>

#include "engine/core/array.h"

namespace stithy {

// The most pixels that an image may have; one with more is refused before anything is allocated.
inline constexpr int64_t kImagePixels = int64_t{1} << 27;

// u8 [height, width, channels], channels 3 (red, green, blue) or 1 (Pillow's luma, ITU-R BT.601). What the
// file is, its bytes tell, not its name. 16 bits are rounded to 8, palettes and CMYK become RGB, alpha is
// dropped as Pillow's convert("RGB") drops it, colour profiles and gamma are passed over, and the image is
// turned upright where its EXIF data says how. Throws Error, named `where`, for another format, damage
// (a file that ends early included), more than kImagePixels and an image that the file is too short to hold.
Array decode_image(std::string_view bytes, const std::string& where, int channels = 3);
Array read_image(const std::string& path, int channels = 3);

// [height, width, channels] to the [channels, height, width] of batches, and back.
Array to_planes(const Array& image);
Array from_planes(const Array& image);

}  // namespace stithy

// A PNG encoder (ISO/IEC 15948): 8 bits, greyscale or RGB, for the images in reports.
#pragma once

#include <string>

#include "engine/core/array.h"

namespace stithy {

// The file's bytes. `pixels` is u8, [height, width] or [height, width, 3]; throws Error for anything else,
// for an empty image and for a side above 65,535.
std::string encode_png(const Array& pixels);

// "data:image/png;base64,..." for an src attribute.
std::string png_data_uri(const Array& pixels);

// Standard base64 with padding (RFC 4648).
std::string base64(std::string_view bytes);

}  // namespace stithy

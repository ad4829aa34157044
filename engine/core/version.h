#pragma once

#include <string_view>

namespace stithy {

// Of the library that runs: "0.1.0".
std::string_view version();

}  // namespace stithy

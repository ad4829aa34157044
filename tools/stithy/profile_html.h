// A profile as one page: profile.html without external resources, for light and dark screens of any width.
#pragma once

#include <string>

#include "tools/stithy/profile_analysis.h"

namespace stithy::profiling {

// Roofline, flame graph, timeline, memory, tables, and every kernel with its source and what the driver says
// about it. All text is escaped; where a figure was not measured the page says so.
std::string to_html(const Analysis& analysis);

}  // namespace stithy::profiling

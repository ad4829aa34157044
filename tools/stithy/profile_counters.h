// What `stithy profile` says of the device's hardware counters.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "tools/stithy/profile_analysis.h"

namespace stithy::profiling {

// Of Profile::counters, those of the table: whose names match `pattern`, without one the first three. None
// where nothing was counted. Throws Error listing the names when none of them matches.
std::vector<size_t> counters_shown(const Analysis& analysis, const std::optional<std::string>& pattern);
// Over the row's calls: see vk::Counter::adds. None where the device has not told it of all of them.
std::optional<double> counter_of(const Analysis& analysis, const Row& row, size_t counter);
// "Waves [cycles]".
std::string title_of(const vk::Counter& counter);
// The line of the output about them: how many, or why there are none.
std::string counters_line(const Analysis& analysis);

}  // namespace stithy::profiling

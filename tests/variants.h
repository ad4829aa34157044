// Plans of every way in which tuning may have an op's test row run.
#pragma once

#include <functional>

#include "tests/harness.h"

namespace stithy::testing {

// Calls `take` with a plan, without fusion, for each candidate of the choices in the row's graphs, forward
// and backward, on `device`.
void each_variant(const Row& row, const vk::DeviceInfo& device, const std::function<void(const Plan&)>& take);

}  // namespace stithy::testing

// What `stithy doctor` and `stithy conformance` run on a device beside what they make of it.
#pragma once

#include <string>

#include "tests/harness.h"

namespace stithy {

// Runs one case of an op on the default device. The verdict of one that failed before a kernel of its own ran
// names those that it would have launched.
testing::Verdict run_case(const testing::Row& row, const testing::Case& test, bool quick);

// The NaN finder's kernel belongs to no op's row: it must find a planted NaN, and nothing in clean numbers.
// Empty where it does.
std::string test_nan_finder();

}  // namespace stithy

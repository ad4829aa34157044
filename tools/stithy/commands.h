// The commands of `stithy`: each takes the arguments after its name and returns the exit code.
#pragma once

#include <span>
#include <string>

namespace stithy {

int bench(std::span<const std::string> arguments);
int conformance(std::span<const std::string> arguments);
int doctor(std::span<const std::string> arguments);
int ops(std::span<const std::string> arguments);
int profile(std::span<const std::string> arguments);
int tune(std::span<const std::string> arguments);

// The table of ops as GitHub Markdown, a line an op; the README holds a copy, which a test compares.
std::string ops_markdown();

}  // namespace stithy

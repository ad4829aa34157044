// stithy profile --static: what compilers make of the kernels.
#pragma once

#include <span>
#include <string>

namespace stithy {

// Takes the arguments after `profile`. Returns 0, 1 where a target cannot be asked or does not compile a
// kernel, and 3 where a figure is worse than in the baseline. Throws Error for arguments that are not
// understood.
int profile_static(std::span<const std::string> arguments);

}  // namespace stithy

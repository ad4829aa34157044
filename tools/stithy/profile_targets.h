// What the compilers of other GPUs make of a program's kernels, beside its profile.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "engine/profile.h"
#include "tools/stithy/static_targets.h"

namespace stithy::profiling {

// Plans the program for the GPU of `target` (see figures::targets) and compiles its kernels there; nothing
// runs. A runner must see the current folder. Throws Error where the target cannot be asked.
ProfiledTarget ask_target(const std::string& target, const figures::Runner& runner,
                          std::span<const std::string> command);
// A table for each target, what spills first, then by the compiler's estimate of cycles. `top` 0: all.
void print_targets(const std::vector<ProfiledTarget>& targets, size_t top);

}  // namespace stithy::profiling

#include <algorithm>

#include "engine/core/error.h"
#include "tools/stithy/commands.h"
#include "tools/stithy/profile_static.h"

namespace stithy {

int profile(std::span<const std::string> arguments) {
  if (std::ranges::find(arguments, "--static") != arguments.end()) return profile_static(arguments);
  throw Error("stithy profile", "has nothing to do", "stithy profile --static asks the compiler");
}

}  // namespace stithy

#include "engine/core/version.h"

namespace stithy {

std::string_view version() { return STITHY_VERSION; }

}  // namespace stithy

// Driver workarounds, each with vendor, version and source. Everything else asks for features and limits.
#pragma once

#include "engine/vk/loader.h"

namespace stithy::vk {

// VkPhysicalDeviceSubgroupProperties of some drivers name a size that a compute kernel need not run with:
// Intel's compiler picks 8, 16 or 32 per shader unless a size is required (Vulkan spec,
// VK_EXT_subgroup_size_control, issue 1). Without the extension a device of this vendor has no fixed size.
inline bool subgroup_size_may_vary(uint32_t vendor_id) { return vendor_id == 0x8086; }

}  // namespace stithy::vk

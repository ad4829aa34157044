// The driver's compiled pipelines, kept from one process to the next.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "engine/core/cache.h"
#include "engine/vk/device_info.h"

namespace stithy::vk {

// The file for a device and its driver. A driver's own version number is a part of the key, since a pipeline
// cache UUID that was not changed with the driver is a known bug (Mesa, and several mobile drivers).
CacheFile pipeline_cache_file(const DeviceInfo& info);

// Whether pipeline cache data begins with the header that Vulkan prescribes
// (VkPipelineCacheHeaderVersionOne), for this very device and driver, and goes on behind it. Drivers have
// crashed on data of others.
bool is_pipeline_cache_of(const DeviceInfo& info, std::string_view data);

}  // namespace stithy::vk

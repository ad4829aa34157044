#include "engine/vk/pipeline_cache.h"

#include <cstring>

#include "engine/core/error.h"
#include "engine/vk/state.h"

namespace stithy::vk {

CacheFile pipeline_cache_file(const DeviceInfo& info) {
  return {"pipelines", cat(info.cache_key(), " pipelines ", hex(info.pipeline_cache_uuid))};
}

bool is_pipeline_cache_of(const DeviceInfo& info, std::string_view data) {
  // Little-endian words, whatever the host (Vulkan spec, "Pipeline Cache Header").
  const auto word = [&](size_t at) {
    uint32_t value = 0;
    for (size_t i = 4; i-- > 0;) value = value << 8 | static_cast<unsigned char>(data[at + i]);
    return value;
  };
  constexpr size_t kHeader = 16 + VK_UUID_SIZE;
  return data.size() > kHeader && word(0) == kHeader && word(4) == VK_PIPELINE_CACHE_HEADER_VERSION_ONE &&
         word(8) == info.vendor_id && word(12) == info.device_id &&
         std::memcmp(data.data() + 16, info.pipeline_cache_uuid.data(), VK_UUID_SIZE) == 0;
}

namespace {

std::string data_of(const Device::State& s, VkPipelineCache cache) {
  // Pipelines that another thread adds in between make the data larger: VK_INCOMPLETE, and once more.
  for (;;) {
    size_t size = 0;
    check(s.fn.GetPipelineCacheData(s.device, cache, &size, nullptr), "vkGetPipelineCacheData");
    std::string data(size, '\0');
    const VkResult result = s.fn.GetPipelineCacheData(s.device, cache, &size, data.data());
    if (result == VK_INCOMPLETE) continue;
    check(result, "vkGetPipelineCacheData");
    data.resize(size);
    return data;
  }
}

VkPipelineCache make_cache(const Device::State& s, std::string_view data) {
  VkPipelineCacheCreateInfo create{VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO};
  create.initialDataSize = data.size();
  create.pInitialData = data.data();
  VkPipelineCache cache = VK_NULL_HANDLE;
  const VkResult result = s.fn.CreatePipelineCache(s.device, &create, nullptr, &cache);
  if (result == VK_SUCCESS || data.empty()) {
    check(result, "vkCreatePipelineCache");
    return cache;
  }
  return make_cache(s, {});
}

}  // namespace

void Device::open_pipeline_cache() {
  std::string data = pipeline_cache_file(info_).read().value_or("");
  if (!is_pipeline_cache_of(info_, data)) data.clear();
  state_->cache = make_cache(*state_, data);
  state_->cached_bytes = data.size();
}

void Device::save_pipeline_cache() {
  const State& s = *state_;
  const std::string own = data_of(s, s.cache);
  // A driver that keeps its pipelines elsewhere, as lavapipe does, gives the header alone.
  if (!is_pipeline_cache_of(info_, own) || own.size() == state_->cached_bytes) return;
  state_->cached_bytes = own.size();
  pipeline_cache_file(info_).update([&](const std::optional<std::string>& present) {
    if (!present || *present == own || !is_pipeline_cache_of(info_, *present)) return own;
    const VkPipelineCache all = make_cache(s, own), other = make_cache(s, *present);
    const VkResult merged = s.fn.MergePipelineCaches(s.device, all, 1, &other);
    const std::string data = merged == VK_SUCCESS ? data_of(s, all) : own;
    s.fn.DestroyPipelineCache(s.device, all, nullptr);
    s.fn.DestroyPipelineCache(s.device, other, nullptr);
    return data;
  });
}

}  // namespace stithy::vk

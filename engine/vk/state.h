// The Vulkan handles behind Device, Buffer, Pipeline and Commands; seen by engine/vk/*.cpp alone.
#pragma once

#include <map>
#include <mutex>
#include <optional>
#include <vector>

#include "engine/vk/device.h"
#include "engine/vk/loader.h"

namespace stithy::vk {

struct Layout {
  VkDescriptorSetLayout set = VK_NULL_HANDLE;
  VkPipelineLayout pipeline = VK_NULL_HANDLE;
};

struct Pipeline {
  VkPipeline handle = VK_NULL_HANDLE;
  Layout layout;
  uint32_t bindings = 0, push_bytes = 0, texel_bindings = 0;
};

struct Buffer::Handles {
  VkBuffer buffer = VK_NULL_HANDLE;
  VkDeviceMemory memory = VK_NULL_HANDLE;
};

// Indices among the driver's, and how their values are stored, by CounterList::counters.
struct CountersInUse {
  CounterList list;
  std::vector<uint32_t> indices;
  std::vector<VkPerformanceCounterStorageKHR> storages;
};

struct Device::State {
  VkPhysicalDevice physical = VK_NULL_HANDLE;
  VkDevice device = VK_NULL_HANDLE;
  DeviceFunctions fn;
  VkQueue queue = VK_NULL_HANDLE;
  uint32_t queue_family = 0;
  VkSemaphore timeline = VK_NULL_HANDLE;
  VkPipelineCache cache = VK_NULL_HANDLE;
  bool keeps_statistics = false, keeps_texts = false, counts = false;
  std::optional<CountersInUse> counters;  // chosen when they were first asked for
  uint32_t counting = 0;                  // how many Counters hold the profiling lock
  size_t cached_bytes = 0;                // of its data when it was read or saved last
  VkPhysicalDeviceMemoryProperties memory{};
  std::map<std::array<uint32_t, 3>, Layout> layouts;  // by bindings, texel bindings and push-constant bytes
  std::map<std::pair<const uint32_t*, std::vector<uint32_t>>, Pipeline> pipelines;
  std::mutex mutex;
};

struct Commands::State {
  std::shared_ptr<Device> device;
  VkCommandPool pool = VK_NULL_HANDLE;
  VkCommandBuffer buffer = VK_NULL_HANDLE;
  std::vector<VkDescriptorPool> descriptor_pools;
  std::vector<VkBufferView> views;
  uint32_t sets_left = 0, descriptors_left = 0;
  ~State();
};

// Whether enable_counters() was called.
bool counters_enabled();

// Bytes from "512M"; none when the text is not a size.
std::optional<uint64_t> parse_size(const char* text);

inline VkDescriptorType descriptor_type(uint32_t texel_bindings, uint32_t binding) {
  return texel_bindings >> binding & 1 ? VK_DESCRIPTOR_TYPE_UNIFORM_TEXEL_BUFFER
                                       : VK_DESCRIPTOR_TYPE_STORAGE_BUFFER;
}

// Set when the process ends: layers and drivers may already be gone, so nothing is destroyed any more.
bool exiting();

}  // namespace stithy::vk

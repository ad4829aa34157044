#include "engine/vk/device.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <set>
#include <sstream>

#include "engine/core/error.h"
#include "engine/vk/quirks.h"
#include "engine/vk/state.h"

namespace stithy::vk {
namespace {

bool exiting_flag = false;
struct ExitMark {
  ~ExitMark() { exiting_flag = true; }
};

std::vector<VkPhysicalDevice> physical_devices() {
  Instance& vk = instance();
  uint32_t count = 0;
  const VkResult result = vk.EnumeratePhysicalDevices(vk.handle, &count, nullptr);
  if (result == VK_ERROR_INITIALIZATION_FAILED) return {};
  check(result, "vkEnumeratePhysicalDevices");
  std::vector<VkPhysicalDevice> devices(count);
  check(vk.EnumeratePhysicalDevices(vk.handle, &count, devices.data()), "vkEnumeratePhysicalDevices");
  devices.resize(count);
  return devices;
}

std::set<std::string> extensions_of(VkPhysicalDevice device) {
  Instance& vk = instance();
  uint32_t count = 0;
  check(vk.EnumerateDeviceExtensionProperties(device, nullptr, &count, nullptr),
        "vkEnumerateDeviceExtensionProperties");
  std::vector<VkExtensionProperties> properties(count);
  check(vk.EnumerateDeviceExtensionProperties(device, nullptr, &count, properties.data()),
        "vkEnumerateDeviceExtensionProperties");
  std::set<std::string> names;
  for (const VkExtensionProperties& property : properties) names.insert(property.extensionName);
  return names;
}

int compute_family(VkPhysicalDevice device, uint32_t* timestamp_bits = nullptr) {
  Instance& vk = instance();
  uint32_t count = 0;
  vk.GetPhysicalDeviceQueueFamilyProperties(device, &count, nullptr);
  std::vector<VkQueueFamilyProperties> families(count);
  vk.GetPhysicalDeviceQueueFamilyProperties(device, &count, families.data());
  for (uint32_t i = 0; i < count; ++i)
    if (families[i].queueFlags & VK_QUEUE_COMPUTE_BIT) {
      if (timestamp_bits) *timestamp_bits = families[i].timestampValidBits;
      return static_cast<int>(i);
    }
  return -1;
}

DeviceKind kind_of(VkPhysicalDeviceType type) {
  switch (type) {
    case VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU: return DeviceKind::integrated;
    case VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU: return DeviceKind::discrete;
    case VK_PHYSICAL_DEVICE_TYPE_VIRTUAL_GPU: return DeviceKind::virtual_gpu;
    case VK_PHYSICAL_DEVICE_TYPE_CPU: return DeviceKind::cpu;
    default: return DeviceKind::other;
  }
}

DeviceInfo describe(VkPhysicalDevice device) {
  Instance& vk = instance();
  DeviceInfo info;
  VkPhysicalDeviceProperties basic;
  vk.GetPhysicalDeviceProperties(device, &basic);
  info.name = basic.deviceName;
  info.kind = kind_of(basic.deviceType);
  info.vendor_id = basic.vendorID;
  info.device_id = basic.deviceID;
  info.driver_version = basic.driverVersion;
  info.api_major = VK_API_VERSION_MAJOR(basic.apiVersion);
  info.api_minor = VK_API_VERSION_MINOR(basic.apiVersion);
  info.api_patch = VK_API_VERSION_PATCH(basic.apiVersion);
  info.compute_queue = compute_family(device, &info.timestamp_bits) >= 0;
  if (basic.apiVersion < VK_API_VERSION_1_2) {
    info.unusable = why_unusable(info);
    return info;
  }
  const std::set<std::string> extensions = extensions_of(device);
  const bool size_control = extensions.contains(VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME);

  VkPhysicalDeviceVulkan12Properties v12{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_PROPERTIES};
  VkPhysicalDeviceVulkan11Properties v11{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_PROPERTIES, &v12};
  VkPhysicalDeviceSubgroupSizeControlPropertiesEXT sizes{
      VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_PROPERTIES_EXT};
  if (size_control) v12.pNext = &sizes;
  VkPhysicalDeviceProperties2 properties{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, &v11};
  vk.GetPhysicalDeviceProperties2(device, &properties);

  VkPhysicalDeviceSubgroupSizeControlFeaturesEXT size_features{
      VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES_EXT};
  VkPhysicalDeviceVulkan12Features f12{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES};
  if (size_control) f12.pNext = &size_features;
  VkPhysicalDevicePipelineExecutablePropertiesFeaturesKHR executables{
      VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PIPELINE_EXECUTABLE_PROPERTIES_FEATURES_KHR, f12.pNext};
  const bool tells_executables = extensions.contains(VK_KHR_PIPELINE_EXECUTABLE_PROPERTIES_EXTENSION_NAME);
  if (tells_executables) f12.pNext = &executables;
  VkPhysicalDevicePerformanceQueryFeaturesKHR queries{
      VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PERFORMANCE_QUERY_FEATURES_KHR, f12.pNext};
  const bool has_queries = extensions.contains(VK_KHR_PERFORMANCE_QUERY_EXTENSION_NAME);
  if (has_queries) f12.pNext = &queries;
  VkPhysicalDeviceVulkan11Features f11{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES, &f12};
  VkPhysicalDeviceFeatures2 features{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, &f11};
  vk.GetPhysicalDeviceFeatures2(device, &features);

  VkPhysicalDeviceMemoryProperties2 memory{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2};
  vk.GetPhysicalDeviceMemoryProperties2(device, &memory);

  info.driver = v12.driverName;
  info.driver_info = v12.driverInfo;
  std::copy_n(v11.deviceUUID, 16, info.uuid.begin());
  std::copy_n(v11.driverUUID, 16, info.driver_uuid.begin());
  std::copy_n(basic.pipelineCacheUUID, 16, info.pipeline_cache_uuid.begin());
  const VkPhysicalDeviceLimits& limits = basic.limits;
  info.few_registers = few_registers(info.vendor_id);
  info.subgroup_size = info.min_subgroup_size = info.max_subgroup_size = std::max(v11.subgroupSize, 1u);
  if (size_control && size_features.subgroupSizeControl) {
    info.min_subgroup_size = sizes.minSubgroupSize;
    info.max_subgroup_size = sizes.maxSubgroupSize;
    info.subgroup_size_control = sizes.requiredSubgroupSizeStages & VK_SHADER_STAGE_COMPUTE_BIT;
    info.full_subgroups = size_features.computeFullSubgroups;
    if (info.subgroup_size_control && info.few_registers)
      info.subgroup_size =
          std::clamp(kSubgroupOfFewRegisters, info.min_subgroup_size, info.max_subgroup_size);
  }
  info.fixed_subgroup_size =
      info.subgroup_size_control ||
      (info.min_subgroup_size == info.max_subgroup_size && !subgroup_size_may_vary(info.vendor_id));
  const bool in_compute = v11.subgroupSupportedStages & VK_SHADER_STAGE_COMPUTE_BIT;
  info.subgroup_arithmetic =
      in_compute && (v11.subgroupSupportedOperations & VK_SUBGROUP_FEATURE_ARITHMETIC_BIT);
  info.subgroup_ballot = in_compute && (v11.subgroupSupportedOperations & VK_SUBGROUP_FEATURE_BALLOT_BIT);
  info.subgroup_shuffle = in_compute && (v11.subgroupSupportedOperations & VK_SUBGROUP_FEATURE_SHUFFLE_BIT);
  info.max_storage_buffer_range = limits.maxStorageBufferRange;
  info.max_allocation = v11.maxMemoryAllocationSize;
  info.max_buffer = v11.maxMemoryAllocationSize;
  info.max_workgroup_invocations = limits.maxComputeWorkGroupInvocations;
  info.shared_memory = limits.maxComputeSharedMemorySize;
  info.max_push_constants = limits.maxPushConstantsSize;
  info.max_bindings = limits.maxPerStageDescriptorStorageBuffers;
  std::copy_n(limits.maxComputeWorkGroupSize, 3, info.max_workgroup_size.begin());
  std::copy_n(limits.maxComputeWorkGroupCount, 3, info.max_groups.begin());
  info.storage_alignment = static_cast<uint32_t>(limits.minStorageBufferOffsetAlignment);
  info.max_texel_elements = limits.maxTexelBufferElements;
  info.texel_alignment = static_cast<uint32_t>(limits.minTexelBufferOffsetAlignment);
  info.timestamp_period_ns = limits.timestampPeriod;
  for (uint32_t i = 0; i < memory.memoryProperties.memoryHeapCount; ++i)
    if (memory.memoryProperties.memoryHeaps[i].flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT)
      info.heap_bytes = std::max<uint64_t>(info.heap_bytes, memory.memoryProperties.memoryHeaps[i].size);
  info.storage_16bit = f11.storageBuffer16BitAccess;
  info.storage_8bit = f12.storageBuffer8BitAccess;
  info.arithmetic_f16 = f12.shaderFloat16;
  info.arithmetic_i8 = f12.shaderInt8;
  info.timeline_semaphore = f12.timelineSemaphore;
  info.preserves_signed_zero_inf_nan = v12.shaderSignedZeroInfNanPreserveFloat32;
  info.memory_budget = extensions.contains(VK_EXT_MEMORY_BUDGET_EXTENSION_NAME);
  info.cooperative_matrix = extensions.contains("VK_KHR_cooperative_matrix");
  info.executable_properties = tells_executables && executables.pipelineExecutableInfo;
  info.performance_query = has_queries && queries.performanceCounterQueryPools;
  const uint32_t lavapipe = v12.driverID == VK_DRIVER_ID_MESA_LLVMPIPE ? mesa_release(info.driver_info) : 0;
  info.fast_texels = lavapipe && lavapipe < kLavapipeFastStorageLoads;
  info.runs_in_order = runs_in_order(v12.driverID);
  info.slow_broadcast = lavapipe && lavapipe < kLavapipeFastBroadcast;
  if (lavapipe && lavapipe < kLavapipeEndlessLoops) info.most_turns = kLavapipeTurns;
  info.unusable = why_unusable(info);
  return info;
}

// For tests, words joined by commas. "gpu": the kernels' paths for GPUs of unknown subgroup size, where there
// is only a CPU driver. "few-registers": those for compilers that quirks.h says so of. "range:64K": a smaller
// maxStorageBufferRange.
void pretend(const std::string& text, DeviceInfo& info) {
  std::istringstream words(text);
  for (std::string word; std::getline(words, word, ',');) {
    const auto size_after = [&](std::string_view prefix) {
      return word.starts_with(prefix) ? parse_size(word.c_str() + prefix.size()) : std::nullopt;
    };
    const std::optional<uint64_t> range = size_after("range:"), bits = size_after("timestamp-bits:");
    if (word == "gpu") {
      info.kind = DeviceKind::other;
      info.fixed_subgroup_size = info.subgroup_size_control = false;
    } else if (word == "few-registers") {
      info.few_registers = true;
    } else if (range) {
      info.max_storage_buffer_range = *range;
    } else if (bits && *bits <= 64) {
      info.timestamp_bits = static_cast<uint32_t>(*bits);
    } else if (word == "timestamp-period:inf") {
      info.timestamp_period_ns = std::numeric_limits<double>::infinity();
    } else if (!word.empty()) {
      throw Error("STITHY_PRETEND", cat("does not know \"", word, "\""),
                  "use gpu, few-registers, range:BYTES, timestamp-bits:N or timestamp-period:inf");
    }
  }
}

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return result;
}

// Higher is better; discrete cards first, CPUs last.
int rank_of(DeviceKind kind) {
  switch (kind) {
    case DeviceKind::discrete: return 4;
    case DeviceKind::integrated: return 3;
    case DeviceKind::virtual_gpu: return 2;
    case DeviceKind::other: return 1;
    case DeviceKind::cpu: return 0;
  }
  return 0;
}

bool matches(const DeviceInfo& info, const std::string& wanted) {
  if (wanted == "gpu") return !info.is_cpu();
  return wanted == name_of(info.kind) || lower(info.name).find(wanted) != std::string::npos ||
         lower(info.driver).find(wanted) != std::string::npos;
}

size_t choose(const std::vector<DeviceInfo>& infos, std::string_view selector) {
  std::string list;
  for (size_t i = 0; i < infos.size(); ++i)
    list += cat(i ? ", " : "", i, " = ", infos[i].name, infos[i].unusable.empty() ? "" : " (unusable)");
  if (infos.empty())
    throw Error(
        "device", "no driver offers a Vulkan device",
        "install one: apt install mesa-vulkan-drivers (AMD, Intel, and a CPU driver), or NVIDIA's driver");
  const std::string wanted = lower(selector);
  size_t index = 0;
  const auto [end, code] = std::from_chars(wanted.data(), wanted.data() + wanted.size(), index);
  const bool is_index = !wanted.empty() && code == std::errc() && end == wanted.data() + wanted.size();
  if (is_index && index >= infos.size())
    throw Error("device", cat("there is no device ", index), cat("choose one of ", list));
  if (!is_index) {
    index = infos.size();
    for (size_t i = 0; i < infos.size(); ++i)
      if ((wanted.empty() || matches(infos[i], wanted)) && infos[i].unusable.empty() &&
          (index == infos.size() || rank_of(infos[i].kind) > rank_of(infos[index].kind)))
        index = i;
    if (index == infos.size() && wanted.empty())
      throw Error("device", cat("no usable device: ", infos[0].name, " ", infos[0].unusable),
                  "stithy doctor says more");
    if (index == infos.size())
      throw Error("device", cat("no usable device matches \"", selector, "\""), cat("choose one of ", list));
  }
  if (!infos[index].unusable.empty())
    throw Error("device", cat(infos[index].name, " ", infos[index].unusable));
  return index;
}

}  // namespace

bool exiting() { return exiting_flag; }

std::string_view name_of(DeviceKind kind) {
  constexpr std::string_view kNames[] = {"other", "integrated", "discrete", "virtual", "cpu"};
  return kNames[static_cast<size_t>(kind)];
}

std::string DeviceInfo::cache_key() const {
  return cat(hex(uuid), " driver ", hex(driver_uuid), " ", driver_version, " ", driver, " ", driver_info, " ",
             name, " Vulkan ", api_major, ".", api_minor, ".", api_patch);
}

std::string why_unusable(const DeviceInfo& info) {
  if (info.api_major < 1 || (info.api_major == 1 && info.api_minor < 2))
    return cat("speaks Vulkan ", info.api_major, ".", info.api_minor, ", 1.2 is needed: update the driver");
  if (!info.compute_queue) return "has no compute queue";
  if (!info.timeline_semaphore) return "has no timeline semaphores: update the driver";
  if (!info.subgroup_arithmetic || !info.subgroup_ballot)
    return "has no subgroup arithmetic and ballot in compute shaders: update the driver";
  return {};
}

bool DeviceInfo::timestamps() const {
  return timestamp_bits > 0 && std::isfinite(timestamp_period_ns) && timestamp_period_ns > 0;
}

double DeviceInfo::nanoseconds(uint64_t from, uint64_t to) const {
  // The difference of two counters of so many bits, with its sign.
  const uint32_t unused = 64 - std::clamp(timestamp_bits, 1u, 64u);
  return static_cast<double>(static_cast<int64_t>((to - from) << unused) >> unused) * timestamp_period_ns;
}

std::vector<DeviceInfo> list_devices() {
  std::vector<DeviceInfo> infos;
  for (VkPhysicalDevice device : physical_devices()) infos.push_back(describe(device));
  return infos;
}

Device::Device() : state_(std::make_unique<State>()) {}

std::shared_ptr<Device> Device::open(std::string_view selector) {
  Instance& vk = instance();
  const std::vector<VkPhysicalDevice> physical = physical_devices();
  std::vector<DeviceInfo> infos;
  for (VkPhysicalDevice device : physical) infos.push_back(describe(device));
  const size_t index = choose(infos, selector);

  std::shared_ptr<Device> device(new Device);
  State& state = *device->state_;
  device->info_ = infos[index];
  const char* validation = std::getenv("STITHY_VALIDATION");
  device->info_.instrumented = validation && std::string_view(validation) == "gpu";
  if (const char* text = std::getenv("STITHY_PRETEND")) pretend(text, device->info_);
  const DeviceInfo& info = device->info_;
  state.physical = physical[index];
  state.queue_family = static_cast<uint32_t>(compute_family(state.physical));

  const float priority = 1;
  VkDeviceQueueCreateInfo queue{VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO};
  queue.queueFamilyIndex = state.queue_family;
  queue.queueCount = 1;
  queue.pQueuePriorities = &priority;
  std::vector<const char*> extensions;
  VkPhysicalDeviceSubgroupSizeControlFeaturesEXT sizes{
      VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES_EXT};
  VkPhysicalDeviceVulkan12Features f12{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES};
  f12.timelineSemaphore = VK_TRUE;
  if (info.subgroup_size_control) {
    extensions.push_back(VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME);
    sizes.subgroupSizeControl = VK_TRUE;
    sizes.computeFullSubgroups = info.full_subgroups;
    f12.pNext = &sizes;
  }
  VkPhysicalDevicePipelineExecutablePropertiesFeaturesKHR executables{
      VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PIPELINE_EXECUTABLE_PROPERTIES_FEATURES_KHR};
  if (info.executable_properties) {
    extensions.push_back(VK_KHR_PIPELINE_EXECUTABLE_PROPERTIES_EXTENSION_NAME);
    executables.pipelineExecutableInfo = VK_TRUE;
    executables.pNext = f12.pNext;
    f12.pNext = &executables;
  }
  VkPhysicalDevicePerformanceQueryFeaturesKHR queries{
      VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PERFORMANCE_QUERY_FEATURES_KHR};
  state.counts = info.performance_query && counters_enabled();
  if (state.counts) {
    extensions.push_back(VK_KHR_PERFORMANCE_QUERY_EXTENSION_NAME);
    queries.performanceCounterQueryPools = VK_TRUE;
    queries.pNext = f12.pNext;
    f12.pNext = &queries;
  }
  if (info.memory_budget) extensions.push_back(VK_EXT_MEMORY_BUDGET_EXTENSION_NAME);
  VkDeviceCreateInfo create{VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO, &f12};
  create.queueCreateInfoCount = 1;
  create.pQueueCreateInfos = &queue;
  create.enabledExtensionCount = static_cast<uint32_t>(extensions.size());
  create.ppEnabledExtensionNames = extensions.data();
  check(vk.CreateDevice(state.physical, &create, nullptr, &state.device), "vkCreateDevice");
  state.fn = load_device_functions(state.device);
  state.fn.GetDeviceQueue(state.device, state.queue_family, 0, &state.queue);
  VkPhysicalDeviceMemoryProperties2 memory{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2};
  vk.GetPhysicalDeviceMemoryProperties2(state.physical, &memory);
  state.memory = memory.memoryProperties;

  device->open_pipeline_cache();
  // Made after the layers and the driver were loaded, so it goes before them when the process ends.
  static ExitMark mark;
  return device;
}

Device::~Device() {
  State& s = *state_;
  if (!s.device || exiting()) return;
  if (last_serial_ > 0) wait(last_serial_);
  for (auto& [key, pipeline] : s.pipelines) s.fn.DestroyPipeline(s.device, pipeline.handle, nullptr);
  for (auto& [key, layout] : s.layouts) {
    s.fn.DestroyPipelineLayout(s.device, layout.pipeline, nullptr);
    s.fn.DestroyDescriptorSetLayout(s.device, layout.set, nullptr);
  }
  if (s.cache) s.fn.DestroyPipelineCache(s.device, s.cache, nullptr);
  if (s.timeline) s.fn.DestroySemaphore(s.device, s.timeline, nullptr);
  s.fn.DestroyDevice(s.device, nullptr);
}

uint64_t Device::submit(std::span<const Commands* const> commands, std::optional<uint32_t> counter_pass) {
  const std::lock_guard lock(state_->mutex);
  // Not earlier: drivers that only compile, without a GPU, have no timelines.
  if (!state_->timeline) {
    VkSemaphoreTypeCreateInfo type{VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO};
    type.semaphoreType = VK_SEMAPHORE_TYPE_TIMELINE;
    VkSemaphoreCreateInfo create{VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO, &type};
    check(state_->fn.CreateSemaphore(state_->device, &create, nullptr, &state_->timeline),
          "vkCreateSemaphore");
  }
  std::vector<VkCommandBuffer> buffers;
  for (const Commands* one : commands) buffers.push_back(one->state_->buffer);
  const uint64_t serial = last_serial_ + 1;
  VkTimelineSemaphoreSubmitInfo timeline{VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO};
  timeline.signalSemaphoreValueCount = 1;
  timeline.pSignalSemaphoreValues = &serial;
  VkPerformanceQuerySubmitInfoKHR pass{VK_STRUCTURE_TYPE_PERFORMANCE_QUERY_SUBMIT_INFO_KHR};
  if (counter_pass) {
    pass.counterPassIndex = *counter_pass;
    timeline.pNext = &pass;
  }
  VkSubmitInfo submit{VK_STRUCTURE_TYPE_SUBMIT_INFO, &timeline};
  submit.commandBufferCount = static_cast<uint32_t>(buffers.size());
  submit.pCommandBuffers = buffers.data();
  submit.signalSemaphoreCount = 1;
  submit.pSignalSemaphores = &state_->timeline;
  check(state_->fn.QueueSubmit(state_->queue, 1, &submit, VK_NULL_HANDLE), "vkQueueSubmit");
  return last_serial_ = serial;
}

void Device::wait(uint64_t serial) {
  if (serial == 0) return;
  VkSemaphoreWaitInfo wait{VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO};
  wait.semaphoreCount = 1;
  wait.pSemaphores = &state_->timeline;
  wait.pValues = &serial;
  check(state_->fn.WaitSemaphores(state_->device, &wait, UINT64_MAX), "vkWaitSemaphores");
}

void Device::wait_idle() { check(state_->fn.QueueWaitIdle(state_->queue), "vkQueueWaitIdle"); }

}  // namespace stithy::vk

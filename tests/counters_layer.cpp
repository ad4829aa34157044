// A Vulkan layer that gives any driver VK_KHR_performance_query, with counters of which a test knows the
// values: what they count are the workgroups that were dispatched. It holds its user to the extension's
// rules, and ends the process with a message at the first that is broken.
// STITHY_COUNTERS_LAYER=locked: the profiling lock is never to be had.
#define VK_NO_PROTOTYPES
#include <vulkan/vulkan.h>
// Needs it.
#include <vulkan/vk_layer.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <vector>

namespace {

void require(bool kept, const char* rule) {
  if (kept) return;
  std::fprintf(stderr, "counters_layer: BROKEN RULE: %s\n", rule);
  std::abort();
}

struct Offered {
  const char* name;
  VkPerformanceCounterUnitKHR unit;
  VkPerformanceCounterStorageKHR storage;
  VkPerformanceCounterScopeKHR scope = VK_PERFORMANCE_COUNTER_SCOPE_COMMAND_KHR;
  VkPerformanceCounterDescriptionFlagsKHR flags = 0;
  uint32_t first_pass = 0, passes = 1;  // passes in which it is counted
};
constexpr Offered kOffered[] = {
    {"Workgroups", VK_PERFORMANCE_COUNTER_UNIT_GENERIC_KHR, VK_PERFORMANCE_COUNTER_STORAGE_UINT64_KHR},
    {"Slow", VK_PERFORMANCE_COUNTER_UNIT_GENERIC_KHR, VK_PERFORMANCE_COUNTER_STORAGE_UINT64_KHR,
     VK_PERFORMANCE_COUNTER_SCOPE_COMMAND_KHR,
     VK_PERFORMANCE_COUNTER_DESCRIPTION_PERFORMANCE_IMPACTING_BIT_KHR},
    {"Busy", VK_PERFORMANCE_COUNTER_UNIT_PERCENTAGE_KHR, VK_PERFORMANCE_COUNTER_STORAGE_FLOAT32_KHR,
     VK_PERFORMANCE_COUNTER_SCOPE_COMMAND_BUFFER_KHR},
    {"Fragments", VK_PERFORMANCE_COUNTER_UNIT_GENERIC_KHR, VK_PERFORMANCE_COUNTER_STORAGE_UINT32_KHR,
     VK_PERFORMANCE_COUNTER_SCOPE_RENDER_PASS_KHR},
    {"Moved", VK_PERFORMANCE_COUNTER_UNIT_BYTES_KHR, VK_PERFORMANCE_COUNTER_STORAGE_INT32_KHR,
     VK_PERFORMANCE_COUNTER_SCOPE_COMMAND_KHR, 0, 1},
    {"Everything", VK_PERFORMANCE_COUNTER_UNIT_CYCLES_KHR, VK_PERFORMANCE_COUNTER_STORAGE_INT64_KHR,
     VK_PERFORMANCE_COUNTER_SCOPE_COMMAND_KHR, 0, 2, 7},
    {"Clock", VK_PERFORMANCE_COUNTER_UNIT_HERTZ_KHR, VK_PERFORMANCE_COUNTER_STORAGE_FLOAT64_KHR,
     VK_PERFORMANCE_COUNTER_SCOPE_COMMAND_KHR, 0, 1},
};
constexpr uint32_t kCount = std::size(kOffered);

VkPerformanceCounterResultKHR value_of(uint32_t counter, uint64_t groups) {
  VkPerformanceCounterResultKHR value{};
  const std::string name = kOffered[counter].name;
  if (name == "Workgroups") value.uint64 = groups;
  if (name == "Busy") value.float32 = static_cast<float>(groups % 64) + 0.5f;
  if (name == "Moved") value.int32 = static_cast<int32_t>(groups * 4);
  if (name == "Clock") value.float64 = 1e9 + static_cast<double>(groups);
  return value;
}

std::set<uint32_t> passes_of(const std::vector<uint32_t>& counters) {
  std::set<uint32_t> passes;
  for (uint32_t c : counters)
    for (uint32_t i = 0; i < kOffered[c].passes; ++i) passes.insert(kOffered[c].first_pass + i);
  return passes;
}

struct Query {
  bool fresh = false;                 // it was reset
  std::map<uint32_t, uint64_t> seen;  // groups by pass
};
struct Pool {
  std::vector<uint32_t> counters;
  std::vector<Query> queries;
  bool whole_buffers = false;  // a counter's scope is the command buffer
};
// What a command buffer does that concerns counters.
struct Recorded {
  VkCommandPool from = VK_NULL_HANDLE;
  uint64_t lock = 0;  // which one was held when it began; 0: none
  uint32_t commands = 0;
  Pool* open = nullptr;
  uint32_t open_query = 0;
  bool closed_whole = false;  // a query that must end with the command buffer has ended
  uint64_t groups = 0;        // in the open query
  std::set<Pool*> counted, reset;
  struct Step {
    Pool* pool;
    uint32_t query, count;
    bool resets;
    uint64_t groups;
  };
  std::vector<Step> steps;
};

std::mutex mutex;
bool locked = false;
uint64_t locks = 0;  // acquired so far
std::map<VkCommandBuffer, Recorded> buffers;
std::set<Pool*> pools;

// The layer or driver below. Tests use one instance and one device.
PFN_vkGetInstanceProcAddr next_instance_function;
PFN_vkGetDeviceProcAddr next_device_function;
VkDevice device_in_use;
// Asked for while the instance is made: later the loader's answers begin at the uppermost layer.
PFN_vkCreateDevice next_create_device;
PFN_vkEnumerateDeviceExtensionProperties next_extensions;
PFN_vkGetPhysicalDeviceFeatures2 next_features;
bool counts = false;  // the device was made with the extension

template <class Function>
Function below(const char* name) {
  return reinterpret_cast<Function>(next_device_function(device_in_use, name));
}
#define BELOW(function) below<PFN_##function>(#function)

Pool* own(VkQueryPool pool) {
  const auto found = pools.find(reinterpret_cast<Pool*>(pool));
  return found == pools.end() ? nullptr : *found;
}

template <class Struct>
Struct* find(const void* chain, VkStructureType type) {
  for (auto* s = static_cast<const VkBaseInStructure*>(chain); s; s = s->pNext)
    if (s->sType == type) return reinterpret_cast<Struct*>(const_cast<VkBaseInStructure*>(s));
  return nullptr;
}
// The element of the chain that says what is below.
template <class Info>
Info* link_of(const void* chain, VkStructureType type) {
  for (const void* at = chain;;) {
    auto* info = find<Info>(at, type);
    if (!info || info->function == VK_LAYER_LINK_INFO) return info;
    at = info->pNext;
  }
}

VkResult CreateInstance(const VkInstanceCreateInfo* create, const VkAllocationCallbacks* allocator,
                        VkInstance* instance) {
  auto* link =
      link_of<VkLayerInstanceCreateInfo>(create->pNext, VK_STRUCTURE_TYPE_LOADER_INSTANCE_CREATE_INFO);
  next_instance_function = link->u.pLayerInfo->pfnNextGetInstanceProcAddr;
  link->u.pLayerInfo = link->u.pLayerInfo->pNext;
  const auto next =
      reinterpret_cast<PFN_vkCreateInstance>(next_instance_function(nullptr, "vkCreateInstance"));
  const VkResult result = next(create, allocator, instance);
  const auto load = [&](auto& function, const char* name) {
    function = reinterpret_cast<std::decay_t<decltype(function)>>(next_instance_function(*instance, name));
  };
  load(next_create_device, "vkCreateDevice");
  load(next_extensions, "vkEnumerateDeviceExtensionProperties");
  load(next_features, "vkGetPhysicalDeviceFeatures2");
  return result;
}

VkResult CreateDevice(VkPhysicalDevice physical, const VkDeviceCreateInfo* create,
                      const VkAllocationCallbacks* allocator, VkDevice* device) {
  auto* link = link_of<VkLayerDeviceCreateInfo>(create->pNext, VK_STRUCTURE_TYPE_LOADER_DEVICE_CREATE_INFO);
  next_device_function = link->u.pLayerInfo->pfnNextGetDeviceProcAddr;
  link->u.pLayerInfo = link->u.pLayerInfo->pNext;
  // What is below knows nothing of the extension.
  VkDeviceCreateInfo without = *create;
  std::vector<const char*> extensions(create->ppEnabledExtensionNames,
                                      create->ppEnabledExtensionNames + create->enabledExtensionCount);
  const bool named = std::erase_if(extensions, [](const char* name) {
    return std::string(name) == VK_KHR_PERFORMANCE_QUERY_EXTENSION_NAME;
  });
  without.enabledExtensionCount = static_cast<uint32_t>(extensions.size());
  without.ppEnabledExtensionNames = extensions.data();
  auto* before = reinterpret_cast<VkBaseOutStructure*>(&without);
  while (before->pNext &&
         before->pNext->sType != VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PERFORMANCE_QUERY_FEATURES_KHR)
    before = before->pNext;
  VkBaseOutStructure* features = before->pNext;
  if (features) before->pNext = features->pNext;
  const VkResult result = next_create_device(physical, &without, allocator, device);
  if (features) before->pNext = features;
  device_in_use = *device;
  counts =
      named && features &&
      reinterpret_cast<VkPhysicalDevicePerformanceQueryFeaturesKHR*>(features)->performanceCounterQueryPools;
  return result;
}

VkResult EnumerateDeviceExtensionProperties(VkPhysicalDevice physical, const char* layer, uint32_t* count,
                                            VkExtensionProperties* properties) {
  std::vector<VkExtensionProperties> all;
  if (!layer) {
    uint32_t others = 0;
    next_extensions(physical, nullptr, &others, nullptr);
    all.resize(others);
    next_extensions(physical, nullptr, &others, all.data());
  }
  VkExtensionProperties mine{VK_KHR_PERFORMANCE_QUERY_EXTENSION_NAME, 1};
  all.push_back(mine);
  const auto wanted = static_cast<uint32_t>(all.size());
  if (properties) std::copy_n(all.begin(), std::min(*count, wanted), properties);
  const bool fits = !properties || *count >= wanted;
  *count = properties ? std::min(*count, wanted) : wanted;
  return fits ? VK_SUCCESS : VK_INCOMPLETE;
}

void GetPhysicalDeviceFeatures2(VkPhysicalDevice physical, VkPhysicalDeviceFeatures2* features) {
  next_features(physical, features);
  if (auto* mine = find<VkPhysicalDevicePerformanceQueryFeaturesKHR>(
          features->pNext, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PERFORMANCE_QUERY_FEATURES_KHR))
    mine->performanceCounterQueryPools = VK_TRUE;
}

VkResult EnumerateCounters(VkPhysicalDevice, uint32_t, uint32_t* count, VkPerformanceCounterKHR* counters,
                           VkPerformanceCounterDescriptionKHR* descriptions) {
  for (uint32_t i = 0; counters && i < std::min(*count, kCount); ++i) {
    counters[i].unit = kOffered[i].unit;
    counters[i].scope = kOffered[i].scope;
    counters[i].storage = kOffered[i].storage;
  }
  for (uint32_t i = 0; descriptions && i < std::min(*count, kCount); ++i) {
    descriptions[i].flags = kOffered[i].flags;
    std::snprintf(descriptions[i].name, sizeof descriptions[i].name, "%s", kOffered[i].name);
    std::snprintf(descriptions[i].category, sizeof descriptions[i].category, "tests");
    std::snprintf(descriptions[i].description, sizeof descriptions[i].description, "of the layer");
  }
  *count = kCount;
  return VK_SUCCESS;
}

void GetPasses(VkPhysicalDevice, const VkQueryPoolPerformanceCreateInfoKHR* info, uint32_t* passes) {
  const std::vector<uint32_t> counters(info->pCounterIndices,
                                       info->pCounterIndices + info->counterIndexCount);
  *passes = static_cast<uint32_t>(passes_of(counters).size());
}

VkResult AcquireProfilingLock(VkDevice, const VkAcquireProfilingLockInfoKHR*) {
  const std::lock_guard guard(mutex);
  const char* mode = std::getenv("STITHY_COUNTERS_LAYER");
  if (mode && std::string(mode) == "locked") return VK_TIMEOUT;
  require(!locked, "the profiling lock is acquired once");
  locked = true;
  ++locks;
  return VK_SUCCESS;
}

void ReleaseProfilingLock(VkDevice) {
  const std::lock_guard guard(mutex);
  require(locked, "what is released was acquired");
  for (const auto& [buffer, recorded] : buffers)
    require(recorded.counted.empty(), "the lock is held as long as there are command buffers that count");
  locked = false;
}

VkResult CreateQueryPool(VkDevice device, const VkQueryPoolCreateInfo* create,
                         const VkAllocationCallbacks* allocator, VkQueryPool* pool) {
  if (create->queryType != VK_QUERY_TYPE_PERFORMANCE_QUERY_KHR)
    return BELOW(vkCreateQueryPool)(device, create, allocator, pool);
  const std::lock_guard guard(mutex);
  require(counts, "the device was made with the extension and its feature");
  const auto* info = find<VkQueryPoolPerformanceCreateInfoKHR>(
      create->pNext, VK_STRUCTURE_TYPE_QUERY_POOL_PERFORMANCE_CREATE_INFO_KHR);
  require(info && info->counterIndexCount > 0 && create->queryCount > 0, "a pool says what it counts");
  auto* mine = new Pool;
  for (uint32_t i = 0; i < info->counterIndexCount; ++i) {
    const uint32_t counter = info->pCounterIndices[i];
    require(counter < kCount, "a counter is of the driver's");
    mine->counters.push_back(counter);
    mine->whole_buffers |= kOffered[counter].scope == VK_PERFORMANCE_COUNTER_SCOPE_COMMAND_BUFFER_KHR;
  }
  mine->queries.resize(create->queryCount);
  pools.insert(mine);
  *pool = reinterpret_cast<VkQueryPool>(mine);
  return VK_SUCCESS;
}

void DestroyQueryPool(VkDevice device, VkQueryPool pool, const VkAllocationCallbacks* allocator) {
  {
    const std::lock_guard guard(mutex);
    if (Pool* mine = own(pool)) {
      for (const auto& [buffer, recorded] : buffers)
        require(!recorded.counted.contains(mine), "a pool outlives the commands that use it");
      pools.erase(mine);
      delete mine;
      return;
    }
  }
  BELOW(vkDestroyQueryPool)(device, pool, allocator);
}

VkResult AllocateCommandBuffers(VkDevice device, const VkCommandBufferAllocateInfo* info,
                                VkCommandBuffer* made) {
  const VkResult result = BELOW(vkAllocateCommandBuffers)(device, info, made);
  const std::lock_guard guard(mutex);
  for (uint32_t i = 0; i < info->commandBufferCount; ++i) buffers[made[i]] = {.from = info->commandPool};
  return result;
}

void DestroyCommandPool(VkDevice device, VkCommandPool pool, const VkAllocationCallbacks* allocator) {
  {
    const std::lock_guard guard(mutex);
    std::erase_if(buffers, [&](const auto& one) { return one.second.from == pool; });
  }
  BELOW(vkDestroyCommandPool)(device, pool, allocator);
}

VkResult BeginCommandBuffer(VkCommandBuffer buffer, const VkCommandBufferBeginInfo* begin) {
  {
    const std::lock_guard guard(mutex);
    Recorded& recorded = buffers[buffer];
    recorded = {.from = recorded.from, .lock = locked ? locks : 0};
  }
  return BELOW(vkBeginCommandBuffer)(buffer, begin);
}

VkResult EndCommandBuffer(VkCommandBuffer buffer) {
  {
    const std::lock_guard guard(mutex);
    require(!buffers[buffer].open, "a query ends in the command buffer that began it");
  }
  return BELOW(vkEndCommandBuffer)(buffer);
}

Recorded& command(VkCommandBuffer buffer) {
  Recorded& recorded = buffers[buffer];
  require(!recorded.closed_whole, "a query of a whole command buffer ends with its last command");
  ++recorded.commands;
  return recorded;
}

void CmdBeginQuery(VkCommandBuffer buffer, VkQueryPool pool, uint32_t query, VkQueryControlFlags flags) {
  const std::lock_guard guard(mutex);
  Pool* mine = own(pool);
  if (!mine) return BELOW(vkCmdBeginQuery)(buffer, pool, query, flags);
  Recorded& recorded = command(buffer);
  require(recorded.lock && locked, "the lock is held before a command buffer that counts begins");
  require(!recorded.reset.contains(mine), "no command buffer counts what it resets");
  require(!recorded.open, "one query at a time");
  require(!mine->whole_buffers || recorded.commands == 1,
          "a query of a whole command buffer begins with its first command");
  require(query < mine->queries.size(), "a query is one of its pool's");
  recorded.open = mine;
  recorded.open_query = query;
  recorded.groups = 0;
  recorded.counted.insert(mine);
}

void CmdEndQuery(VkCommandBuffer buffer, VkQueryPool pool, uint32_t query) {
  const std::lock_guard guard(mutex);
  Pool* mine = own(pool);
  if (!mine) return BELOW(vkCmdEndQuery)(buffer, pool, query);
  Recorded& recorded = command(buffer);
  require(recorded.open == mine && recorded.open_query == query, "a query that ends was begun");
  recorded.open = nullptr;
  recorded.closed_whole = mine->whole_buffers;
  recorded.steps.push_back({mine, query, 1, false, recorded.groups});
}

void CmdResetQueryPool(VkCommandBuffer buffer, VkQueryPool pool, uint32_t first, uint32_t count) {
  const std::lock_guard guard(mutex);
  Recorded& recorded = command(buffer);
  Pool* mine = own(pool);
  if (!mine) return BELOW(vkCmdResetQueryPool)(buffer, pool, first, count);
  require(!recorded.counted.contains(mine), "no command buffer resets what it counts");
  require(first + count <= mine->queries.size(), "a query is one of its pool's");
  recorded.reset.insert(mine);
  recorded.steps.push_back({mine, first, count, true, 0});
}

void CmdDispatch(VkCommandBuffer buffer, uint32_t x, uint32_t y, uint32_t z) {
  {
    const std::lock_guard guard(mutex);
    command(buffer).groups += uint64_t{x} * y * z;
  }
  BELOW(vkCmdDispatch)(buffer, x, y, z);
}

template <size_t size>
struct Name {
  char text[size];
  constexpr Name(const char (&name)[size]) { std::copy_n(name, size, text); }
};
// Any other command: it counts as one, and goes on.
template <Name name, class Function>
struct Other;
template <Name name, class... Arguments>
struct Other<name, void (*)(VkCommandBuffer, Arguments...)> {
  static void call(VkCommandBuffer buffer, Arguments... arguments) {
    {
      const std::lock_guard guard(mutex);
      command(buffer);
    }
    below<void (*)(VkCommandBuffer, Arguments...)>(name.text)(buffer, arguments...);
  }
};

VkResult QueueSubmit(VkQueue queue, uint32_t count, const VkSubmitInfo* submits, VkFence fence) {
  {
    const std::lock_guard guard(mutex);
    for (uint32_t i = 0; i < count; ++i) {
      const auto* info = find<VkPerformanceQuerySubmitInfoKHR>(
          submits[i].pNext, VK_STRUCTURE_TYPE_PERFORMANCE_QUERY_SUBMIT_INFO_KHR);
      const uint32_t pass = info ? info->counterPassIndex : 0;
      for (uint32_t b = 0; b < submits[i].commandBufferCount; ++b) {
        const Recorded& recorded = buffers[submits[i].pCommandBuffers[b]];
        require(recorded.counted.empty() || (locked && recorded.lock == locks),
                "the lock is held from the recording to the submission");
        for (const Recorded::Step& step : recorded.steps) {
          for (uint32_t q = step.query; q < step.query + step.count; ++q) {
            Query& query = step.pool->queries[q];
            if (step.resets) {
              query = {.fresh = true};
              continue;
            }
            require(query.fresh, "a query is reset before its first pass");
            require(pass < passes_of(step.pool->counters).size(), "the pass is one of the pool's");
            require(query.seen.try_emplace(pass, step.groups).second, "each pass is submitted once");
          }
        }
      }
    }
  }
  return BELOW(vkQueueSubmit)(queue, count, submits, fence);
}

VkResult GetQueryPoolResults(VkDevice device, VkQueryPool pool, uint32_t first, uint32_t count, size_t bytes,
                             void* data, VkDeviceSize stride, VkQueryResultFlags flags) {
  {
    const std::lock_guard guard(mutex);
    if (const Pool* mine = own(pool)) {
      using Result = VkPerformanceCounterResultKHR;
      const size_t counters = mine->counters.size();
      require((flags & ~static_cast<VkQueryResultFlags>(VK_QUERY_RESULT_WAIT_BIT)) == 0,
              "values are read as they are stored");
      require(stride % sizeof(Result) == 0 && bytes >= (count - 1) * stride + counters * sizeof(Result) &&
                  first + count <= mine->queries.size(),
              "what is read has its place");
      const std::set<uint32_t> passes = passes_of(mine->counters);
      for (uint32_t q = 0; q < count; ++q) {
        const Query& query = mine->queries[first + q];
        require(query.seen.size() == passes.size(), "values are read when all passes were submitted");
        auto* results = reinterpret_cast<Result*>(static_cast<char*>(data) + q * stride);
        for (size_t c = 0; c < counters; ++c) {
          const auto place = passes.find(kOffered[mine->counters[c]].first_pass);
          const auto pass = static_cast<uint32_t>(std::distance(passes.begin(), place));
          results[c] = value_of(mine->counters[c], query.seen.at(pass));
        }
      }
      return VK_SUCCESS;
    }
  }
  return BELOW(vkGetQueryPoolResults)(device, pool, first, count, bytes, data, stride, flags);
}

PFN_vkVoidFunction GetDeviceProcAddr(VkDevice device, const char* name);
PFN_vkVoidFunction GetInstanceProcAddr(VkInstance instance, const char* name);

struct Intercepted {
  const char* name;
  PFN_vkVoidFunction function;
};
#define MINE(name) \
  { "vk" #name, reinterpret_cast<PFN_vkVoidFunction>(static_cast<PFN_vk##name>(name)) }
#define MINE_AS(name, own) \
  { "vk" #name, reinterpret_cast<PFN_vkVoidFunction>(static_cast<PFN_vk##name>(own)) }
#define OTHER(name) \
  { "vk" #name, reinterpret_cast<PFN_vkVoidFunction>(&Other<"vk" #name, PFN_vk##name>::call) }
const Intercepted kOfInstances[] = {
    MINE(GetInstanceProcAddr),
    MINE(CreateInstance),
    MINE(CreateDevice),
    MINE(EnumerateDeviceExtensionProperties),
    MINE(GetPhysicalDeviceFeatures2),
    MINE_AS(EnumeratePhysicalDeviceQueueFamilyPerformanceQueryCountersKHR, EnumerateCounters),
    MINE_AS(GetPhysicalDeviceQueueFamilyPerformanceQueryPassesKHR, GetPasses),
};
const Intercepted kOfDevices[] = {
    MINE(GetDeviceProcAddr),
    MINE_AS(AcquireProfilingLockKHR, AcquireProfilingLock),
    MINE_AS(ReleaseProfilingLockKHR, ReleaseProfilingLock),
    MINE(CreateQueryPool),
    MINE(DestroyQueryPool),
    MINE(GetQueryPoolResults),
    MINE(AllocateCommandBuffers),
    MINE(DestroyCommandPool),
    MINE(BeginCommandBuffer),
    MINE(EndCommandBuffer),
    MINE(QueueSubmit),
    MINE(CmdBeginQuery),
    MINE(CmdEndQuery),
    MINE(CmdResetQueryPool),
    MINE(CmdDispatch),
    OTHER(CmdBindPipeline),
    OTHER(CmdBindDescriptorSets),
    OTHER(CmdPushConstants),
    OTHER(CmdPipelineBarrier),
    OTHER(CmdCopyBuffer),
    OTHER(CmdFillBuffer),
    OTHER(CmdWriteTimestamp),
};

PFN_vkVoidFunction GetDeviceProcAddr(VkDevice device, const char* name) {
  for (const Intercepted& one : kOfDevices)
    if (!std::strcmp(one.name, name)) return one.function;
  return next_device_function(device, name);
}

PFN_vkVoidFunction GetInstanceProcAddr(VkInstance instance, const char* name) {
  for (const Intercepted& one : kOfInstances)
    if (!std::strcmp(one.name, name)) return one.function;
  for (const Intercepted& one : kOfDevices)
    if (!std::strcmp(one.name, name)) return one.function;
  return next_instance_function ? next_instance_function(instance, name) : nullptr;
}

}  // namespace

extern "C" __attribute__((visibility("default"))) VkResult vkNegotiateLoaderLayerInterfaceVersion(
    VkNegotiateLayerInterface* versions) {
  versions->loaderLayerInterfaceVersion = 2;
  versions->pfnGetInstanceProcAddr = GetInstanceProcAddr;
  versions->pfnGetDeviceProcAddr = GetDeviceProcAddr;
  versions->pfnGetPhysicalDeviceProcAddr = nullptr;
  return VK_SUCCESS;
}

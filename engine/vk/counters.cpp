#include "engine/vk/counters.h"

#include <atomic>
#include <limits>
#include <mutex>

#include "engine/core/error.h"
#include "engine/vk/state.h"

namespace stithy::vk {
namespace {

constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();

std::atomic<bool> enabled = false;

template <class Function>
void load(Function& function, PFN_vkVoidFunction found, const char* name) {
  function = reinterpret_cast<Function>(found);
  if (!function) throw Error("counters", cat("the driver has no function ", name));
}

const char* unit_of(VkPerformanceCounterUnitKHR unit) {
  switch (unit) {
    case VK_PERFORMANCE_COUNTER_UNIT_PERCENTAGE_KHR: return "%";
    case VK_PERFORMANCE_COUNTER_UNIT_NANOSECONDS_KHR: return "ns";
    case VK_PERFORMANCE_COUNTER_UNIT_BYTES_KHR: return "bytes";
    case VK_PERFORMANCE_COUNTER_UNIT_BYTES_PER_SECOND_KHR: return "bytes/s";
    case VK_PERFORMANCE_COUNTER_UNIT_KELVIN_KHR: return "K";
    case VK_PERFORMANCE_COUNTER_UNIT_WATTS_KHR: return "W";
    case VK_PERFORMANCE_COUNTER_UNIT_VOLTS_KHR: return "V";
    case VK_PERFORMANCE_COUNTER_UNIT_AMPS_KHR: return "A";
    case VK_PERFORMANCE_COUNTER_UNIT_HERTZ_KHR: return "Hz";
    case VK_PERFORMANCE_COUNTER_UNIT_CYCLES_KHR: return "cycles";
    default: return "";
  }
}

bool adds(const VkPerformanceCounterKHR& counter) {
  switch (counter.unit) {
    case VK_PERFORMANCE_COUNTER_UNIT_NANOSECONDS_KHR:
    case VK_PERFORMANCE_COUNTER_UNIT_BYTES_KHR:
    case VK_PERFORMANCE_COUNTER_UNIT_CYCLES_KHR: return true;
    case VK_PERFORMANCE_COUNTER_UNIT_GENERIC_KHR:
      return counter.storage != VK_PERFORMANCE_COUNTER_STORAGE_FLOAT32_KHR &&
             counter.storage != VK_PERFORMANCE_COUNTER_STORAGE_FLOAT64_KHR;
    default: return false;
  }
}

double number_of(const VkPerformanceCounterResultKHR& result, VkPerformanceCounterStorageKHR storage) {
  switch (storage) {
    case VK_PERFORMANCE_COUNTER_STORAGE_INT32_KHR: return result.int32;
    case VK_PERFORMANCE_COUNTER_STORAGE_INT64_KHR: return static_cast<double>(result.int64);
    case VK_PERFORMANCE_COUNTER_STORAGE_UINT32_KHR: return result.uint32;
    case VK_PERFORMANCE_COUNTER_STORAGE_UINT64_KHR: return static_cast<double>(result.uint64);
    case VK_PERFORMANCE_COUNTER_STORAGE_FLOAT32_KHR: return static_cast<double>(result.float32);
    case VK_PERFORMANCE_COUNTER_STORAGE_FLOAT64_KHR: return result.float64;
    default: return kUnknown;
  }
}

// Chooses among what the driver offers.
void choose(const Device::State& s, CountersInUse& use) {
  const Instance& vk = instance();
  PFN_vkEnumeratePhysicalDeviceQueueFamilyPerformanceQueryCountersKHR enumerate;
  PFN_vkGetPhysicalDeviceQueueFamilyPerformanceQueryPassesKHR passes_function;
  const auto load_by_name = [&](auto& function, const char* name) {
    load(function, vk.GetInstanceProcAddr(vk.handle, name), name);
  };
  load_by_name(enumerate, "vkEnumeratePhysicalDeviceQueueFamilyPerformanceQueryCountersKHR");
  load_by_name(passes_function, "vkGetPhysicalDeviceQueueFamilyPerformanceQueryPassesKHR");
  const auto enumerate_into = [&](uint32_t& count, VkPerformanceCounterKHR* counters,
                                  VkPerformanceCounterDescriptionKHR* descriptions) {
    check(enumerate(s.physical, s.queue_family, &count, counters, descriptions),
          "vkEnumeratePhysicalDeviceQueueFamilyPerformanceQueryCountersKHR");
  };
  uint32_t count = 0;
  enumerate_into(count, nullptr, nullptr);
  std::vector<VkPerformanceCounterKHR> counters(count, {VK_STRUCTURE_TYPE_PERFORMANCE_COUNTER_KHR});
  std::vector<VkPerformanceCounterDescriptionKHR> descriptions(
      count, {VK_STRUCTURE_TYPE_PERFORMANCE_COUNTER_DESCRIPTION_KHR});
  if (count > 0) enumerate_into(count, counters.data(), descriptions.data());

  CounterList& list = use.list;
  list.offered = count;
  std::vector<uint32_t> candidates;
  for (uint32_t i = 0; i < count; ++i) {
    if (descriptions[i].flags & VK_PERFORMANCE_COUNTER_DESCRIPTION_PERFORMANCE_IMPACTING_BIT_KHR)
      ++list.disturbing;
    else if (counters[i].scope == VK_PERFORMANCE_COUNTER_SCOPE_RENDER_PASS_KHR)
      ++list.rendering;
    else
      candidates.push_back(i);
  }
  const auto passes_of = [&](const std::vector<uint32_t>& indices) {
    VkQueryPoolPerformanceCreateInfoKHR query{VK_STRUCTURE_TYPE_QUERY_POOL_PERFORMANCE_CREATE_INFO_KHR};
    query.queueFamilyIndex = s.queue_family;
    query.counterIndexCount = static_cast<uint32_t>(indices.size());
    query.pCounterIndices = indices.data();
    uint32_t passes = 0;
    passes_function(s.physical, &query, &passes);
    return passes;
  };
  if (!candidates.empty() && passes_of(candidates) <= CounterList::kMostPasses) {
    use.indices = candidates;
  } else {
    for (uint32_t i : candidates) {
      use.indices.push_back(i);
      if (passes_of(use.indices) <= CounterList::kMostPasses) continue;
      use.indices.pop_back();
      ++list.too_many;
    }
  }
  if (!use.indices.empty()) list.passes = passes_of(use.indices);
  for (uint32_t i : use.indices) {
    list.counters.push_back({.name = descriptions[i].name,
                             .category = descriptions[i].category,
                             .description = descriptions[i].description,
                             .unit = unit_of(counters[i].unit),
                             .adds = adds(counters[i])});
    use.storages.push_back(counters[i].storage);
  }
}

}  // namespace

void enable_counters() { enabled = true; }
bool counters_enabled() { return enabled; }

const CounterList& Device::counters() {
  if (!info_.performance_query)
    throw Error("counters", cat(info_.driver, " (", info_.driver_info, ") has no VK_KHR_performance_query"));
  if (!state_->counts)
    throw Error("counters", "the device was not opened for them", "call enable_counters()");
  const std::lock_guard lock(state_->mutex);
  if (!state_->counters) {
    CountersInUse use;
    choose(*state_, use);
    state_->counters = std::move(use);
  }
  return state_->counters->list;
}

struct Counters::Handle {
  VkQueryPool pool = VK_NULL_HANDLE;
  PFN_vkReleaseProfilingLockKHR release = nullptr;
};

Counters::Counters(const std::shared_ptr<Device>& device, uint32_t count)
    : device_(device), count_(count), handle_(std::make_unique<Handle>()) {
  if (device->counters().counters.empty()) throw Error("counters", "the driver offers none that can be used");
  const std::lock_guard guard(device->state_->mutex);
  Device::State& s = *device->state_;
  PFN_vkAcquireProfilingLockKHR acquire;
  load(acquire, instance().GetDeviceProcAddr(s.device, "vkAcquireProfilingLockKHR"),
       "vkAcquireProfilingLockKHR");
  load(handle_->release, instance().GetDeviceProcAddr(s.device, "vkReleaseProfilingLockKHR"),
       "vkReleaseProfilingLockKHR");
  VkQueryPoolPerformanceCreateInfoKHR counters{VK_STRUCTURE_TYPE_QUERY_POOL_PERFORMANCE_CREATE_INFO_KHR};
  counters.queueFamilyIndex = s.queue_family;
  counters.counterIndexCount = static_cast<uint32_t>(s.counters->indices.size());
  counters.pCounterIndices = s.counters->indices.data();
  VkQueryPoolCreateInfo create{VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO, &counters};
  create.queryType = VK_QUERY_TYPE_PERFORMANCE_QUERY_KHR;
  create.queryCount = count_;
  check(s.fn.CreateQueryPool(s.device, &create, nullptr, &handle_->pool), "vkCreateQueryPool");
  if (s.counting == 0) {
    constexpr uint64_t kSecond = 1'000'000'000;
    VkAcquireProfilingLockInfoKHR lock{VK_STRUCTURE_TYPE_ACQUIRE_PROFILING_LOCK_INFO_KHR};
    lock.timeout = kSecond;
    const VkResult result = acquire(s.device, &lock);
    if (result != VK_SUCCESS) {
      s.fn.DestroyQueryPool(s.device, handle_->pool, nullptr);
      if (result == VK_TIMEOUT) throw Error("counters", "another process profiles this device");
      throw Error("counters", cat("vkAcquireProfilingLockKHR failed: ", result_name(result)),
                  "drivers may want rights for it");
    }
  }
  ++s.counting;
}

Counters::~Counters() {
  if (exiting()) return;
  const std::lock_guard guard(device_->state_->mutex);
  Device::State& s = *device_->state_;
  s.fn.DestroyQueryPool(s.device, handle_->pool, nullptr);
  if (--s.counting == 0) handle_->release(s.device);
}

std::vector<std::vector<double>> Counters::read() const {
  const Device::State& s = *device_->state_;
  const std::vector<VkPerformanceCounterStorageKHR>& storages = s.counters->storages;
  std::vector<std::vector<double>> values;
  for (uint32_t i = 0; i < count_; ++i) {
    std::vector<double>& of_stretch = values.emplace_back(storages.size(), kUnknown);
    std::vector<VkPerformanceCounterResultKHR> results(storages.size());
    const size_t bytes = results.size() * sizeof results[0];
    // None of the flags that tell whether there is a result may be set; so one by one.
    const VkResult result =
        s.fn.GetQueryPoolResults(s.device, handle_->pool, i, 1, bytes, results.data(), bytes, 0);
    if (result == VK_NOT_READY) continue;
    check(result, "vkGetQueryPoolResults");
    for (size_t c = 0; c < results.size(); ++c) of_stretch[c] = number_of(results[c], storages[c]);
  }
  return values;
}

void Commands::reset(const Counters& counters) {
  state_->device->state_->fn.CmdResetQueryPool(state_->buffer, counters.handle_->pool, 0, counters.count_);
}
void Commands::begin(const Counters& counters, uint32_t index) {
  state_->device->state_->fn.CmdBeginQuery(state_->buffer, counters.handle_->pool, index, 0);
}
void Commands::end(const Counters& counters, uint32_t index) {
  state_->device->state_->fn.CmdEndQuery(state_->buffer, counters.handle_->pool, index);
}

}  // namespace stithy::vk

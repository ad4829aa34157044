#include "engine/vk/statistics.h"

#include <algorithm>
#include <cctype>

#include "engine/core/error.h"
#include "engine/vk/state.h"

namespace stithy::vk {
namespace {

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return result;
}

double number_of(const VkPipelineExecutableStatisticKHR& statistic) {
  switch (statistic.format) {
    case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_BOOL32_KHR: return statistic.value.b32;
    case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_INT64_KHR: return static_cast<double>(statistic.value.i64);
    case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_UINT64_KHR: return static_cast<double>(statistic.value.u64);
    case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_FLOAT64_KHR: return statistic.value.f64;
    default: return 0;
  }
}

}  // namespace

KernelStatistics normalised(std::vector<std::pair<std::string, double>> own) {
  KernelStatistics result;
  const auto first_of = [&](std::initializer_list<std::string_view> names) -> std::optional<uint64_t> {
    for (std::string_view name : names)
      for (const auto& [theirs, value] : own)
        if (lower(theirs) == name && value >= 0) return static_cast<uint64_t>(value);
    return {};
  };
  result.registers = first_of({"vgprs", "grf registers", "max live registers", "number of gprs",
                               "register count", "registers", "registers used", "work registers"});
  result.shared_bytes =
      first_of({"lds size", "workgroup memory size", "shared memory size", "shared size", "shared memory"});
  result.scratch_bytes = first_of(
      {"scratch size", "scratch memory size", "slm size", "stack size", "local memory size", "scratch"});
  result.code_bytes = first_of({"code size", "binary size"});
  for (const auto& [name, value] : own)
    if (lower(name).find("spill") != std::string::npos && value >= 0)
      result.spills = result.spills.value_or(0) + static_cast<uint64_t>(value);
  result.own = std::move(own);
  return result;
}

void Device::keep_statistics() {
  if (!info_.executable_properties)
    throw Error("statistics", cat(info_.driver, " (", info_.driver_info, ") tells nothing about its kernels"),
                "Mesa's drivers for AMD, Intel and NVIDIA do");
  state_->keeps_statistics = true;
}

KernelStatistics Device::statistics(const Pipeline& pipeline) const {
  const auto load = [&](auto& function, const char* name) {
    function = reinterpret_cast<std::decay_t<decltype(function)>>(
        instance().GetDeviceProcAddr(state_->device, name));
    if (!function) throw Error("statistics", cat("the driver has no function ", name));
  };
  PFN_vkGetPipelineExecutablePropertiesKHR properties_of;
  PFN_vkGetPipelineExecutableStatisticsKHR statistics_of;
  load(properties_of, "vkGetPipelineExecutablePropertiesKHR");
  load(statistics_of, "vkGetPipelineExecutableStatisticsKHR");

  VkPipelineInfoKHR of{VK_STRUCTURE_TYPE_PIPELINE_INFO_KHR};
  of.pipeline = pipeline.handle;
  uint32_t executables = 0;
  check(properties_of(state_->device, &of, &executables, nullptr), "vkGetPipelineExecutablePropertiesKHR");
  std::vector<std::pair<std::string, double>> own;
  for (uint32_t i = 0; i < executables; ++i) {
    VkPipelineExecutableInfoKHR executable{VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_INFO_KHR};
    executable.pipeline = pipeline.handle;
    executable.executableIndex = i;
    uint32_t count = 0;
    check(statistics_of(state_->device, &executable, &count, nullptr),
          "vkGetPipelineExecutableStatisticsKHR");
    std::vector<VkPipelineExecutableStatisticKHR> list(count,
                                                       {VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_STATISTIC_KHR});
    check(statistics_of(state_->device, &executable, &count, list.data()),
          "vkGetPipelineExecutableStatisticsKHR");
    for (const VkPipelineExecutableStatisticKHR& statistic : list) {
      const std::string name = statistic.name;
      const auto known = std::find_if(own.begin(), own.end(), [&](const auto& o) { return o.first == name; });
      if (known == own.end())
        own.emplace_back(name, number_of(statistic));
      else
        known->second = std::max(known->second, number_of(statistic));
    }
  }
  return normalised(std::move(own));
}

}  // namespace stithy::vk

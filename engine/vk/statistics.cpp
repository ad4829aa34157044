#include "engine/vk/statistics.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstring>

#include "engine/core/error.h"
#include "engine/vk/state.h"

namespace stithy::vk {
namespace {

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return result;
}

using Names = std::initializer_list<std::string_view>;

std::optional<uint64_t> whole(const DriverFigure& figure) {
  if (const auto* value = std::get_if<uint64_t>(&figure.value)) return *value;
  const double value = number_of(figure);
  if (!(value >= 0) || value >= 0x1p63) return {};
  return static_cast<uint64_t>(value);
}

std::optional<uint64_t> first_of(const Executable& executable, Names names) {
  for (const std::string_view name : names)
    for (const DriverFigure& figure : executable.own)
      if (lower(figure.name) == name)
        if (const auto value = whole(figure)) return value;
  return {};
}

// Of all executables.
std::optional<uint64_t> largest(const std::vector<Executable>& executables, Names names) {
  std::optional<uint64_t> result;
  for (const Executable& executable : executables)
    if (const auto value = first_of(executable, names)) result = std::max(result.value_or(0), *value);
  return result;
}

std::optional<uint64_t> spills_of(const Executable& executable) {
  std::optional<uint64_t> spills;
  for (const DriverFigure& figure : executable.own) {
    const std::string name = lower(figure.name);
    // Turnip's stores to private memory are its spills; its compiler makes them for nothing else.
    if (name.find("spill") == std::string::npos && name != "stp count") continue;
    if (const auto value = whole(figure)) spills = spills.value_or(0) + *value;
  }
  return spills;
}

DriverFigure figure_of(const VkPipelineExecutableStatisticKHR& statistic) {
  const auto text = [](const char* chars) {
    return std::string(chars, strnlen(chars, VK_MAX_DESCRIPTION_SIZE));
  };
  DriverFigure figure{text(statistic.name), text(statistic.description), double(NAN)};
  switch (statistic.format) {
    case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_BOOL32_KHR: figure.value = statistic.value.b32 != 0; break;
    case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_INT64_KHR: figure.value = statistic.value.i64; break;
    case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_UINT64_KHR: figure.value = statistic.value.u64; break;
    case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_FLOAT64_KHR: figure.value = statistic.value.f64; break;
    default: break;
  }
  return figure;
}

// A driver's count is believed up to here: a larger one is a defect, not a kernel.
constexpr uint32_t kMostExecutables = 64, kMostFigures = 4096, kMostTexts = 64;
constexpr size_t kMostTextBytes = size_t{256} << 20;

// A list by Vulkan's way of asking twice.
template <class T, class Ask>
std::vector<T> list_of(const char* call, uint32_t most, const T& empty, const Ask& ask) {
  uint32_t count = 0;
  check(ask(&count, static_cast<T*>(nullptr)), call);
  if (count > most) throw Error("statistics", cat(call, " counts ", count, ", which is not believed"));
  std::vector<T> list(count, empty);
  if (count) check(ask(&count, list.data()), call);
  list.resize(std::min<size_t>(count, list.size()));
  return list;
}

std::string without_end(std::string text) {
  if (const size_t end = text.find('\0'); end != std::string::npos) text.resize(end);
  return text;
}

}  // namespace

double number_of(const DriverFigure& figure) {
  return std::visit([](auto value) { return static_cast<double>(value); }, figure.value);
}

const KernelText* assembly_of(const Executable& executable) {
  const KernelText* found = nullptr;
  for (const KernelText& text : executable.texts) {
    const std::string words = lower(text.name + " " + text.description);
    if (words.find("assembly") != std::string::npos || words.find("disasm") != std::string::npos)
      found = &text;
  }
  return found;
}

KernelStatistics normalised(std::vector<Executable> executables, uint32_t vendor_id,
                            std::optional<uint64_t> most_subgroups) {
  KernelStatistics result;
  const auto find = [&](Names names) { return largest(executables, names); };
  result.registers = find({"vgprs", "grf registers", "max live registers", "number of gprs", "register count",
                           "registers", "registers used", "work registers"});
  result.scalar_registers = find({"sgprs", "number of ugprs", "uniform registers"});
  result.shared_bytes =
      find({"lds size", "workgroup memory size", "shared memory size", "shared size", "shared memory"});
  result.scratch_bytes =
      find({"scratch size", "scratch memory size", "slm size", "stack size", "local memory size", "scratch"});
  result.code_bytes = find({"code size", "binary size"});
  result.instructions = find({"instruction count", "instructions"});
  result.cycles = find({"latency", "cycle count", "cycles", "static cycle count", "estimated cycles"});
  for (const Executable& executable : executables) {
    if (const auto spills = spills_of(executable))
      result.spills = std::max(result.spills.value_or(0), *spills);
    if (executable.subgroup_size)
      result.subgroup_size = std::max<uint64_t>(result.subgroup_size.value_or(0), executable.subgroup_size);
    if (const auto subgroups =
            first_of(executable, {"subgroups per simd", "max waves", "max warps/sm", "max waves per core"}))
      if (!result.occupancy || *subgroups < result.occupancy->subgroups)
        // A limit that is below what fits is of another unit.
        result.occupancy = Occupancy{
            *subgroups, most_subgroups && *most_subgroups >= *subgroups ? most_subgroups : std::nullopt};
    if (const KernelText* assembly = assembly_of(executable))
      if (const auto mix = instruction_mix(assembly->text, vendor_id))
        if (!result.mix || mix->total() > result.mix->total()) result.mix = mix;
  }
  result.executables = std::move(executables);
  return result;
}

void Device::keep_statistics(bool texts) {
  if (!info_.executable_properties)
    throw Error("statistics", cat(info_.driver, " (", info_.driver_info, ") tells nothing about its kernels"),
                "Mesa's drivers for AMD, Intel and NVIDIA do");
  state_->keeps_statistics = true;
  state_->keeps_texts |= texts;
}

namespace {

// The most subgroups that a scheduler of the device holds, where the driver says so. RADV counts those of its
// smallest size: one of 64 lanes is two where there are any of 32 (radv_get_max_waves, Mesa 22.3 to 26).
std::optional<uint64_t> most_subgroups_of(VkPhysicalDevice physical, uint32_t sizes) {
  Instance& vk = instance();
  uint32_t count = 0;
  if (vk.EnumerateDeviceExtensionProperties(physical, nullptr, &count, nullptr) < 0) return {};
  std::vector<VkExtensionProperties> extensions(count);
  if (vk.EnumerateDeviceExtensionProperties(physical, nullptr, &count, extensions.data()) < 0) return {};
  const auto has = [&](const char* name) {
    return std::ranges::any_of(extensions,
                               [&](const auto& e) { return !std::strcmp(e.extensionName, name); });
  };
  VkPhysicalDeviceProperties2 properties{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2};
  VkPhysicalDeviceShaderCorePropertiesAMD amd{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_CORE_PROPERTIES_AMD};
  VkPhysicalDeviceShaderSMBuiltinsPropertiesNV nvidia{
      VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_SM_BUILTINS_PROPERTIES_NV};
  if (has(VK_AMD_SHADER_CORE_PROPERTIES_EXTENSION_NAME))
    properties.pNext = &amd;
  else if (has(VK_NV_SHADER_SM_BUILTINS_EXTENSION_NAME))
    properties.pNext = &nvidia;
  else
    return {};
  vk.GetPhysicalDeviceProperties2(physical, &properties);
  const uint64_t most =
      properties.pNext == &amd ? uint64_t{amd.wavefrontsPerSimd} * sizes : nvidia.shaderWarpsPerSM;
  return most ? std::optional(most) : std::nullopt;
}

}  // namespace

KernelStatistics Device::statistics(const Pipeline& pipeline) const {
  const auto load = [&](auto& function, const char* name) {
    function = reinterpret_cast<std::decay_t<decltype(function)>>(
        instance().GetDeviceProcAddr(state_->device, name));
    if (!function) throw Error("statistics", cat("the driver has no function ", name));
  };
  PFN_vkGetPipelineExecutablePropertiesKHR properties_of;
  PFN_vkGetPipelineExecutableStatisticsKHR statistics_of;
  PFN_vkGetPipelineExecutableInternalRepresentationsKHR texts_of;
  load(properties_of, "vkGetPipelineExecutablePropertiesKHR");
  load(statistics_of, "vkGetPipelineExecutableStatisticsKHR");
  load(texts_of, "vkGetPipelineExecutableInternalRepresentationsKHR");

  VkPipelineInfoKHR of{VK_STRUCTURE_TYPE_PIPELINE_INFO_KHR};
  of.pipeline = pipeline.handle;
  std::vector<Executable> executables;
  for (const VkPipelineExecutablePropertiesKHR& one : list_of<VkPipelineExecutablePropertiesKHR>(
           "vkGetPipelineExecutablePropertiesKHR", kMostExecutables,
           {VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_PROPERTIES_KHR},
           [&](uint32_t*count, auto*list) { return properties_of(state_->device, &of, count, list); })) {
    Executable executable{without_end({one.name, sizeof one.name}),
                          without_end({one.description, sizeof one.description}),
                          one.subgroupSize,
                          {},
                          {}};
    VkPipelineExecutableInfoKHR info{VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_INFO_KHR};
    info.pipeline = pipeline.handle;
    info.executableIndex = static_cast<uint32_t>(executables.size());
    for (const VkPipelineExecutableStatisticKHR& statistic : list_of<VkPipelineExecutableStatisticKHR>(
             "vkGetPipelineExecutableStatisticsKHR", kMostFigures,
             {VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_STATISTIC_KHR},
             [&](uint32_t*count, auto*list) { return statistics_of(state_->device, &info, count, list); }))
      executable.own.push_back(figure_of(statistic));
    if (state_->keeps_texts) {
      using Text = VkPipelineExecutableInternalRepresentationKHR;
      const char* call = "vkGetPipelineExecutableInternalRepresentationsKHR";
      // The first list has no places for the texts: it tells their sizes.
      std::vector<Text> list = list_of<Text>(
          call, kMostTexts, {VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_INTERNAL_REPRESENTATION_KHR},
          [&](uint32_t* count, auto* places) { return texts_of(state_->device, &info, count, places); });
      std::vector<std::string> texts;
      for (Text& text : list) {
        if (text.dataSize > kMostTextBytes) text.dataSize = kMostTextBytes;
        texts.emplace_back(text.dataSize, '\0');
      }
      for (size_t i = 0; i < list.size(); ++i) list[i].pData = texts[i].data();
      auto count = static_cast<uint32_t>(list.size());
      if (count) check(texts_of(state_->device, &info, &count, list.data()), call);
      for (size_t i = 0; i < std::min<size_t>(count, list.size()); ++i)
        if (list[i].isText)
          executable.texts.push_back({without_end({list[i].name, sizeof list[i].name}),
                                      without_end({list[i].description, sizeof list[i].description}),
                                      without_end(std::move(texts[i]))});
    }
    executables.push_back(std::move(executable));
  }
  uint32_t lanes = 1;
  for (const Executable& executable : executables) lanes = std::max(lanes, executable.subgroup_size);
  return normalised(
      std::move(executables), info_.vendor_id,
      most_subgroups_of(state_->physical, std::max(1u, lanes / std::max(1u, info_.min_subgroup_size))));
}

}  // namespace stithy::vk

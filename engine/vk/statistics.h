// What a driver's compiler says about a kernel (VK_KHR_pipeline_executable_properties), in one set of words.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace stithy::vk {

// Absent where the driver does not tell. Of a kernel that was compiled for several subgroup sizes the
// largest.
struct KernelStatistics {
  std::optional<uint64_t> registers;  // of an invocation, or of a subgroup where the driver counts those
  std::optional<uint64_t> spills;     // values or instructions that memory or other registers had to take
  std::optional<uint64_t> shared_bytes, scratch_bytes, code_bytes;
  std::vector<std::pair<std::string, double>> own;  // by the driver's names
};

// Finds the common words among the driver's own: of Mesa's RADV, ANV, NVK, Turnip, PanVK and Honeykrisp, and
// of NVIDIA's driver.
KernelStatistics normalised(std::vector<std::pair<std::string, double>> own);

}  // namespace stithy::vk

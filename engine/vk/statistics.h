// What a driver's compiler says about a kernel (VK_KHR_pipeline_executable_properties): its own words and
// texts, and one set of words for all drivers.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "engine/vk/instruction_mix.h"

namespace stithy::vk {

// A figure by the driver's own name, in the driver's own format.
struct DriverFigure {
  std::string name, description;
  std::variant<bool, int64_t, uint64_t, double> value;
};
double number_of(const DriverFigure& figure);

// The kernel as the driver writes it down on its way: NIR, ACO IR, assembly.
struct KernelText {
  std::string name, description, text;
};

// One compiled form of a kernel; most drivers make one, some a form for each subgroup size.
struct Executable {
  std::string name, description;
  uint32_t subgroup_size = 0;  // 0: not told
  std::vector<DriverFigure> own;
  std::vector<KernelText> texts;
};

// Subgroups that one of the device's schedulers (SIMD, SM, core) holds at once.
struct Occupancy {
  uint64_t subgroups = 0;
  std::optional<uint64_t> most;  // of any kernel
};

// Absent where the driver does not tell. Of several executables the largest, but the least occupancy.
struct KernelStatistics {
  std::optional<uint64_t> registers;  // of an invocation, or of a subgroup where the driver counts those
  std::optional<uint64_t> scalar_registers;  // of a subgroup
  std::optional<uint64_t> spills;  // values or instructions that memory or other registers had to take
  std::optional<uint64_t> shared_bytes, scratch_bytes, code_bytes, instructions;
  std::optional<uint64_t> cycles;  // the compiler's estimate for one subgroup from its begin to its end
  std::optional<uint64_t> subgroup_size;
  std::optional<Occupancy> occupancy;
  std::optional<InstructionMix> mix;  // where the texts were kept and hold an assembly that is understood
  std::vector<Executable> executables;
};

// Finds the common words among the driver's own: of Mesa's RADV, ANV, NVK, Turnip, PanVK and Honeykrisp, and
// of NVIDIA's driver. `vendor_id` tells whose assembly the texts hold, `most_subgroups` completes Occupancy.
KernelStatistics normalised(std::vector<Executable> executables, uint32_t vendor_id = 0,
                            std::optional<uint64_t> most_subgroups = {});

// The final assembly among an executable's texts; null where there is none.
const KernelText* assembly_of(const Executable& executable);

}  // namespace stithy::vk

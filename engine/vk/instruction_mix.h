// What kinds of instructions a kernel is made of, counted in the assembly that its driver's compiler wrote.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace stithy::vk {

// Classes that every vendor's instructions fall into. Conversions, moves, selections and bit operations of
// vector registers are integer work; what is the same for a whole subgroup is scalar where the hardware has
// units of its own for it.
enum class InstructionClass : uint8_t {
  float_alu,
  integer_alu,
  scalar_alu,
  matrix,
  load,
  store,
  shared,   // shared memory, also shuffles that go through its unit
  control,  // branches, loops, the end
  sync,     // barriers, fences, waits for counters
  other,    // hints, idle cycles, what no rule knows
};
inline constexpr size_t kInstructionClasses = 10;
std::string_view name_of(InstructionClass instruction);

struct InstructionMix {
  std::array<uint64_t, kInstructionClasses> counts{};
  uint64_t& operator[](InstructionClass c) { return counts[static_cast<size_t>(c)]; }
  uint64_t operator[](InstructionClass c) const { return counts[static_cast<size_t>(c)]; }
  uint64_t total() const;
  friend bool operator==(const InstructionMix&, const InstructionMix&) = default;
};

// Counts the instructions of an assembly text: ACO's and LLVM's for AMD (vendor 0x1002), Mesa's for Intel
// (0x8086) and NAK's for NVIDIA (0x10de). None for other vendors, and where the text holds no instruction.
// Each is counted once, however often it runs.
std::optional<InstructionMix> instruction_mix(std::string_view assembly, uint32_t vendor_id);

}  // namespace stithy::vk

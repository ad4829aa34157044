// An op must give the same bits alone, built into another's kernel, and computed anew in backward. Compilers
// may turn a * b + c into one rounding, or reorder it, by what stands around it; SPIR-V's NoContraction
// forbids both (SPIR-V spec, 3.20).
#pragma once

#include <cstdint>
#include <span>
#include <unordered_set>
#include <vector>

namespace stithy {

// Decorates the float arithmetic of all functions but main, as glslang writes modules: the formulas of
// pointwise ops are functions; main's loops, where sums of products may be contracted, stay as they are.
inline std::vector<uint32_t> without_contraction(std::span<const uint32_t> spirv) {
  constexpr size_t kHeader = 5;
  constexpr uint32_t kEntryPoint = 15, kTypeVoid = 19, kFunction = 54, kDecorate = 71, kNoContraction = 42;
  const auto is_arithmetic = [](uint32_t op) {  // FAdd, FSub, FMul, FDiv, VectorTimesScalar, Dot
    return op == 129 || op == 131 || op == 133 || op == 136 || op == 142 || op == 148;
  };
  std::vector<uint32_t> found;
  std::unordered_set<uint32_t> decorated;
  uint32_t main = 0, function = 0;
  size_t before_types = 0;
  for (size_t at = kHeader; at + 2 < spirv.size(); at += spirv[at] >> 16 ? spirv[at] >> 16 : 1) {
    const uint32_t op = spirv[at] & 0xffff;
    if (op == kEntryPoint) main = spirv[at + 2];
    if (op == kDecorate && spirv[at + 2] == kNoContraction) decorated.insert(spirv[at + 1]);
    if (op == kTypeVoid && !before_types) before_types = at;
    if (op == kFunction) function = spirv[at + 2];
    if (is_arithmetic(op) && function != main && !decorated.contains(spirv[at + 2]))
      found.push_back(spirv[at + 2]);
  }
  std::vector<uint32_t> result(spirv.begin(), spirv.end());
  if (!before_types) return result;
  std::vector<uint32_t> decorations;
  for (const uint32_t id : found)
    decorations.insert(decorations.end(), {3u << 16 | kDecorate, id, kNoContraction});
  result.insert(result.begin() + static_cast<std::ptrdiff_t>(before_types), decorations.begin(),
                decorations.end());
  return result;
}

}  // namespace stithy

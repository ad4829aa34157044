#include "engine/graph/kernel.h"

#include <algorithm>

#include "engine/core/error.h"
#include "engine/core/hash.h"
#include "engine/vk/device.h"

namespace stithy {
namespace {

// A function-local static: generated sources register before this file's globals may be initialised.
std::vector<const KernelInfo*>& registry() {
  static std::vector<const KernelInfo*> kernels;
  return kernels;
}

}  // namespace

vk::PipelineRequest request_of(const KernelInfo& kernel, std::span<const uint32_t> spec) {
  const bool subgroups =
      std::any_of(kernel.capabilities.begin(), kernel.capabilities.end(),
                  [](std::string_view name) { return name.starts_with("GroupNonUniform"); });
  return {kernel.name,
          kernel.spirv,
          static_cast<uint32_t>(kernel.bindings.size()),
          kernel.push_bytes,
          kernel.texel_bindings(),
          subgroups,
          kernel.spec_ids,
          spec};
}

std::string spirv_hash(const KernelInfo& kernel) {
  return hash_text({reinterpret_cast<const char*>(kernel.spirv.data()), kernel.spirv.size_bytes()});
}

std::span<const KernelInfo* const> all_kernels() { return registry(); }

bool register_kernels(std::span<const KernelInfo> kernels) {
  auto& all = registry();
  for (const KernelInfo& kernel : kernels) {
    auto place = std::lower_bound(all.begin(), all.end(), kernel.name,
                                  [](const KernelInfo* k, std::string_view name) { return k->name < name; });
    if (place != all.end() && (*place)->name == kernel.name) {
      throw Error("shadergen", cat("kernel ", kernel.name, " is in both shaders/", (*place)->shader,
                                   ".comp and shaders/", kernel.shader, ".comp"));
    }
    all.insert(place, &kernel);
  }
  return true;
}

}  // namespace stithy

#include <algorithm>
#include <atomic>
#include <exception>
#include <span>
#include <thread>
#include <vector>

#include "engine/core/error.h"
#include "engine/vk/state.h"

namespace stithy::vk {
namespace {

using Key = std::pair<const uint32_t*, std::vector<uint32_t>>;

Key key_of(const PipelineRequest& request) {
  return {request.spirv.data(), {request.spec_values.begin(), request.spec_values.end()}};
}

// The module, asking that kernels keep NaN, infinities and the sign of zero: without that, a compiler may
// take x - x for 0 (SPIR-V 1.5, execution mode SignedZeroInfNanPreserve).
std::vector<uint32_t> with_special_values(std::span<const uint32_t> spirv) {
  constexpr size_t kHeader = 5;
  constexpr uint32_t kCapability = 17, kEntryPoint = 15, kExecutionMode = 16, kPreserve = 4466, kMode = 4461;
  size_t after_entry_point = 0;
  uint32_t main = 0;
  for (size_t at = kHeader; at < spirv.size(); at += std::max(spirv[at] >> 16, 1u)) {
    if ((spirv[at] & 0xffff) != kEntryPoint) continue;
    main = spirv[at + 2];
    after_entry_point = at + (spirv[at] >> 16);
  }
  std::vector<uint32_t> result(spirv.begin(), spirv.end());
  if (!after_entry_point) return result;
  result.insert(result.begin() + static_cast<ptrdiff_t>(after_entry_point),
                {4 << 16 | kExecutionMode, main, kMode, 32});
  result.insert(result.begin() + kHeader, {2 << 16 | kCapability, kPreserve});
  return result;
}

VkPipeline compile(const Device::State& s, const DeviceInfo& info, const PipelineRequest& request,
                   VkPipelineLayout layout) {
  VkShaderModuleCreateInfo code{VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO};
  std::vector<uint32_t> preserving;
  std::span<const uint32_t> spirv = request.spirv;
  if (info.preserves_signed_zero_inf_nan) spirv = preserving = with_special_values(spirv);
  code.codeSize = spirv.size_bytes();
  code.pCode = spirv.data();
  VkShaderModule module;
  check(s.fn.CreateShaderModule(s.device, &code, nullptr, &module), "vkCreateShaderModule");
  std::vector<VkSpecializationMapEntry> entries;
  for (uint32_t i = 0; i < request.spec_ids.size(); ++i) entries.push_back({request.spec_ids[i], i * 4, 4});
  const VkSpecializationInfo specialization{static_cast<uint32_t>(entries.size()), entries.data(),
                                            request.spec_values.size_bytes(), request.spec_values.data()};
  VkPipelineShaderStageRequiredSubgroupSizeCreateInfoEXT required{
      VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_REQUIRED_SUBGROUP_SIZE_CREATE_INFO_EXT};
  required.requiredSubgroupSize = info.subgroup_size;
  VkComputePipelineCreateInfo create{VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO};
  create.stage.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO;
  create.stage.stage = VK_SHADER_STAGE_COMPUTE_BIT;
  create.stage.module = module;
  create.stage.pName = "main";
  create.stage.pSpecializationInfo = entries.empty() ? nullptr : &specialization;
  if (request.uses_subgroups && info.subgroup_size_control) create.stage.pNext = &required;
  create.layout = layout;
  create.flags = (s.keeps_statistics ? VK_PIPELINE_CREATE_CAPTURE_STATISTICS_BIT_KHR : 0) |
                 (s.keeps_texts ? VK_PIPELINE_CREATE_CAPTURE_INTERNAL_REPRESENTATIONS_BIT_KHR : 0);
  VkPipeline pipeline = VK_NULL_HANDLE;
  const VkResult result = s.fn.CreateComputePipelines(s.device, s.cache, 1, &create, nullptr, &pipeline);
  s.fn.DestroyShaderModule(s.device, module, nullptr);
  if (result < 0)
    throw Error(std::string(request.name),
                cat("the driver cannot compile this kernel: ", result_name(result)),
                "update the driver; stithy doctor lists the kernels that work");
  return pipeline;
}

}  // namespace

const Layout& Device::layout(const PipelineRequest& request) {
  State& s = *state_;
  if (request.push_bytes > info_.max_push_constants)
    throw Error(std::string(request.name),
                cat("needs ", request.push_bytes, " bytes of push constants, the device has ",
                    info_.max_push_constants));
  if (request.bindings > info_.max_bindings)
    throw Error(std::string(request.name),
                cat("binds ", request.bindings, " buffers, the device allows ", info_.max_bindings));
  Layout& layout = s.layouts[{request.bindings, request.texel_bindings, request.push_bytes}];
  if (layout.pipeline) return layout;
  std::vector<VkDescriptorSetLayoutBinding> bindings(request.bindings);
  for (uint32_t i = 0; i < request.bindings; ++i)
    bindings[i] = {i, descriptor_type(request.texel_bindings, i), 1, VK_SHADER_STAGE_COMPUTE_BIT, nullptr};
  VkDescriptorSetLayoutCreateInfo set{VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO};
  set.bindingCount = request.bindings;
  set.pBindings = bindings.data();
  check(s.fn.CreateDescriptorSetLayout(s.device, &set, nullptr, &layout.set), "vkCreateDescriptorSetLayout");
  const VkPushConstantRange range{VK_SHADER_STAGE_COMPUTE_BIT, 0, request.push_bytes};
  VkPipelineLayoutCreateInfo create{VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO};
  create.setLayoutCount = 1;
  create.pSetLayouts = &layout.set;
  create.pushConstantRangeCount = request.push_bytes ? 1 : 0;
  create.pPushConstantRanges = &range;
  check(s.fn.CreatePipelineLayout(s.device, &create, nullptr, &layout.pipeline), "vkCreatePipelineLayout");
  return layout;
}

std::vector<const Pipeline*> Device::pipelines(std::span<const PipelineRequest> requests) {
  State& s = *state_;
  struct Missing {
    const PipelineRequest* request;
    Layout layout;
    VkPipeline pipeline = VK_NULL_HANDLE;
    std::exception_ptr error;
  };
  std::map<Key, size_t> seen;
  std::vector<Missing> missing;
  {
    const std::lock_guard lock(s.mutex);
    for (const PipelineRequest& request : requests) {
      Key key = key_of(request);
      if (!s.pipelines.contains(key) && seen.emplace(std::move(key), missing.size()).second)
        missing.push_back({&request, layout(request), VK_NULL_HANDLE, nullptr});
    }
  }
  // The longest programs take the longest: they begin first.
  std::vector<Missing*> order;
  for (Missing& one : missing) order.push_back(&one);
  std::stable_sort(order.begin(), order.end(), [](const Missing* a, const Missing* b) {
    return a->request->spirv.size() > b->request->spirv.size();
  });
  std::atomic<size_t> next = 0;
  const auto work = [&] {
    for (size_t i = next++; i < order.size(); i = next++) try {
        order[i]->pipeline = compile(s, info_, *order[i]->request, order[i]->layout.pipeline);
      } catch (...) {
        order[i]->error = std::current_exception();
      }
  };
  {
    const size_t threads =
        std::min<size_t>(missing.size(), std::max(1u, std::thread::hardware_concurrency()));
    std::vector<std::jthread> others;
    for (size_t i = 1; i < threads; ++i) others.emplace_back(work);
    work();
  }
  std::vector<const Pipeline*> found;
  {
    const std::lock_guard lock(s.mutex);
    for (Missing& one : missing) {
      if (!one.pipeline) continue;
      const Pipeline pipeline{one.pipeline, one.layout, one.request->bindings, one.request->push_bytes,
                              one.request->texel_bindings};
      // Another thread may have been first.
      if (!s.pipelines.emplace(key_of(*one.request), pipeline).second)
        s.fn.DestroyPipeline(s.device, one.pipeline, nullptr);
    }
    for (const Missing& one : missing)
      if (one.error) std::rethrow_exception(one.error);
    for (const PipelineRequest& request : requests) found.push_back(&s.pipelines.at(key_of(request)));
  }
  if (!missing.empty()) save_pipeline_cache();
  return found;
}

}  // namespace stithy::vk

#include "engine/core/error.h"
#include "engine/vk/state.h"

namespace stithy::vk {

const Pipeline& Device::pipeline(const PipelineRequest& request) {
  State& s = *state_;
  const std::lock_guard lock(s.mutex);
  std::pair<const uint32_t*, std::vector<uint32_t>> key{
      request.spirv.data(), {request.spec_values.begin(), request.spec_values.end()}};
  if (const auto found = s.pipelines.find(key); found != s.pipelines.end()) return found->second;
  if (request.push_bytes > info_.max_push_constants)
    throw Error(std::string(request.name),
                cat("needs ", request.push_bytes, " bytes of push constants, the device has ",
                    info_.max_push_constants));
  if (request.bindings > info_.max_bindings)
    throw Error(std::string(request.name),
                cat("binds ", request.bindings, " buffers, the device allows ", info_.max_bindings));

  Layout& layout = s.layouts[{request.bindings, request.push_bytes}];
  if (!layout.pipeline) {
    std::vector<VkDescriptorSetLayoutBinding> bindings(request.bindings);
    for (uint32_t i = 0; i < request.bindings; ++i)
      bindings[i] = {i, VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, 1, VK_SHADER_STAGE_COMPUTE_BIT, nullptr};
    VkDescriptorSetLayoutCreateInfo set{VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO};
    set.bindingCount = request.bindings;
    set.pBindings = bindings.data();
    check(s.fn.CreateDescriptorSetLayout(s.device, &set, nullptr, &layout.set),
          "vkCreateDescriptorSetLayout");
    const VkPushConstantRange range{VK_SHADER_STAGE_COMPUTE_BIT, 0, request.push_bytes};
    VkPipelineLayoutCreateInfo create{VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO};
    create.setLayoutCount = 1;
    create.pSetLayouts = &layout.set;
    create.pushConstantRangeCount = request.push_bytes ? 1 : 0;
    create.pPushConstantRanges = &range;
    check(s.fn.CreatePipelineLayout(s.device, &create, nullptr, &layout.pipeline), "vkCreatePipelineLayout");
  }

  VkShaderModuleCreateInfo code{VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO};
  code.codeSize = request.spirv.size_bytes();
  code.pCode = request.spirv.data();
  VkShaderModule module;
  check(s.fn.CreateShaderModule(s.device, &code, nullptr, &module), "vkCreateShaderModule");
  std::vector<VkSpecializationMapEntry> entries;
  for (uint32_t i = 0; i < request.spec_ids.size(); ++i) entries.push_back({request.spec_ids[i], i * 4, 4});
  const VkSpecializationInfo specialization{static_cast<uint32_t>(entries.size()), entries.data(),
                                            request.spec_values.size_bytes(), request.spec_values.data()};
  VkPipelineShaderStageRequiredSubgroupSizeCreateInfoEXT required{
      VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_REQUIRED_SUBGROUP_SIZE_CREATE_INFO_EXT};
  required.requiredSubgroupSize = info_.subgroup_size;
  VkComputePipelineCreateInfo create{VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO};
  create.stage.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO;
  create.stage.stage = VK_SHADER_STAGE_COMPUTE_BIT;
  create.stage.module = module;
  create.stage.pName = "main";
  create.stage.pSpecializationInfo = entries.empty() ? nullptr : &specialization;
  if (request.uses_subgroups && info_.subgroup_size_control) create.stage.pNext = &required;
  create.layout = layout.pipeline;
  Pipeline pipeline{VK_NULL_HANDLE, layout, request.bindings, request.push_bytes};
  const VkResult result =
      s.fn.CreateComputePipelines(s.device, s.cache, 1, &create, nullptr, &pipeline.handle);
  s.fn.DestroyShaderModule(s.device, module, nullptr);
  if (result < 0)
    throw Error(std::string(request.name),
                cat("the driver cannot compile this kernel: ", result_name(result)),
                "update the driver; stithy doctor lists the kernels that work");
  return s.pipelines.emplace(std::move(key), pipeline).first->second;
}

}  // namespace stithy::vk

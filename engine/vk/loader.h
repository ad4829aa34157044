// The Vulkan loader, opened at run time: a program starts without it, and can say what is missing.
#pragma once

#ifndef VK_NO_PROTOTYPES
#define VK_NO_PROTOTYPES
#endif
#include <vulkan/vulkan.h>

#include <string>

namespace stithy::vk {

#define STITHY_VK_GLOBAL_FUNCTIONS(X) \
  X(CreateInstance)                   \
  X(EnumerateInstanceVersion)         \
  X(EnumerateInstanceLayerProperties) \
  X(EnumerateInstanceExtensionProperties)

#define STITHY_VK_INSTANCE_FUNCTIONS(X)     \
  X(EnumeratePhysicalDevices)               \
  X(GetPhysicalDeviceProperties)            \
  X(GetPhysicalDeviceProperties2)           \
  X(GetPhysicalDeviceFeatures2)             \
  X(GetPhysicalDeviceMemoryProperties2)     \
  X(GetPhysicalDeviceQueueFamilyProperties) \
  X(EnumerateDeviceExtensionProperties)     \
  X(CreateDevice)                           \
  X(GetDeviceProcAddr)

#define STITHY_VK_DEVICE_FUNCTIONS(X) \
  X(DestroyDevice)                    \
  X(GetDeviceQueue)                   \
  X(QueueSubmit)                      \
  X(QueueWaitIdle)                    \
  X(CreateSemaphore)                  \
  X(DestroySemaphore)                 \
  X(WaitSemaphores)                   \
  X(CreateBuffer)                     \
  X(DestroyBuffer)                    \
  X(CreateBufferView)                 \
  X(DestroyBufferView)                \
  X(GetBufferMemoryRequirements)      \
  X(AllocateMemory)                   \
  X(FreeMemory)                       \
  X(BindBufferMemory)                 \
  X(MapMemory)                        \
  X(CreateShaderModule)               \
  X(DestroyShaderModule)              \
  X(CreateDescriptorSetLayout)        \
  X(DestroyDescriptorSetLayout)       \
  X(CreatePipelineLayout)             \
  X(DestroyPipelineLayout)            \
  X(CreatePipelineCache)              \
  X(DestroyPipelineCache)             \
  X(GetPipelineCacheData)             \
  X(MergePipelineCaches)              \
  X(CreateComputePipelines)           \
  X(DestroyPipeline)                  \
  X(CreateDescriptorPool)             \
  X(DestroyDescriptorPool)            \
  X(AllocateDescriptorSets)           \
  X(UpdateDescriptorSets)             \
  X(CreateCommandPool)                \
  X(DestroyCommandPool)               \
  X(AllocateCommandBuffers)           \
  X(BeginCommandBuffer)               \
  X(EndCommandBuffer)                 \
  X(CmdBindPipeline)                  \
  X(CmdBindDescriptorSets)            \
  X(CmdPushConstants)                 \
  X(CmdDispatch)                      \
  X(CmdPipelineBarrier)               \
  X(CmdCopyBuffer)                    \
  X(CmdFillBuffer)                    \
  X(CreateQueryPool)                  \
  X(DestroyQueryPool)                 \
  X(CmdResetQueryPool)                \
  X(CmdBeginQuery)                    \
  X(CmdEndQuery)                      \
  X(CmdWriteTimestamp)                \
  X(GetQueryPoolResults)

#define STITHY_VK_MEMBER(name) PFN_vk##name name = nullptr;
struct DeviceFunctions {
  STITHY_VK_DEVICE_FUNCTIONS(STITHY_VK_MEMBER)
};

// The process's only instance, with its functions. It is never destroyed: layers may be gone before our
// statics.
struct Instance {
  VkInstance handle = VK_NULL_HANDLE;
  PFN_vkGetInstanceProcAddr GetInstanceProcAddr = nullptr;
  STITHY_VK_GLOBAL_FUNCTIONS(STITHY_VK_MEMBER)
  STITHY_VK_INSTANCE_FUNCTIONS(STITHY_VK_MEMBER)
  bool validation = false;
};
#undef STITHY_VK_MEMBER

// Opens the loader and creates the instance, with validation layers when STITHY_VALIDATION is set.
// Throws Error with the way out when there is no loader, no driver, or a layer is missing.
Instance& instance();
DeviceFunctions load_device_functions(VkDevice device);

// Throws Error naming the call and the result when `result` is a failure.
void check(VkResult result, const char* call);
std::string result_name(VkResult result);

}  // namespace stithy::vk

#include "engine/vk/loader.h"

#include <dlfcn.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "engine/core/error.h"
#include "engine/vk/device.h"

namespace stithy::vk {
namespace {

std::atomic<uint64_t> message_count{0};

VKAPI_ATTR VkBool32 VKAPI_CALL on_message(VkDebugUtilsMessageSeverityFlagBitsEXT severity,
                                          VkDebugUtilsMessageTypeFlagsEXT,
                                          const VkDebugUtilsMessengerCallbackDataEXT* data, void*) {
  // Layers speak of their own set-up as warnings without an object; only what concerns our calls counts.
  const char* id = data->pMessageIdName ? data->pMessageIdName : "";
  const bool own_setup = std::strstr(id, "GPU-Assisted") || std::strstr(id, "GPU-DEBUG-PRINTF") ||
                         std::strstr(id, "specialuse") || std::strstr(id, "WARNING-Setting");
  if (severity < VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT && own_setup) return VK_FALSE;
  ++message_count;
  std::fprintf(stderr, "validation: %s: %s\n", id, data->pMessage);
  return VK_FALSE;
}

bool has_layer(const Instance& vk, const char* name) {
  uint32_t count = 0;
  check(vk.EnumerateInstanceLayerProperties(&count, nullptr), "vkEnumerateInstanceLayerProperties");
  std::vector<VkLayerProperties> layers(count);
  check(vk.EnumerateInstanceLayerProperties(&count, layers.data()), "vkEnumerateInstanceLayerProperties");
  for (const VkLayerProperties& layer : layers)
    if (!std::strcmp(layer.layerName, name)) return true;
  return false;
}

template <class Function>
void load(const Instance& vk, VkInstance handle, const char* name, Function& function) {
  function = reinterpret_cast<Function>(vk.GetInstanceProcAddr(handle, name));
  if (!function)
    throw Error("vulkan", cat("the loader has no function ", name), "install a Vulkan loader 1.2 or newer");
}

Instance* create_instance() {
  auto* vk = new Instance;
  void* library = nullptr;
  for (const char* name : {"libvulkan.so.1", "libvulkan.so", "libvulkan.1.dylib", "libMoltenVK.dylib"})
    if (!library) library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
  if (!library)
    throw Error(
        "vulkan", "no Vulkan loader (libvulkan.so.1) on this machine",
        "install it: apt install libvulkan1 mesa-vulkan-drivers (Debian, Ubuntu), or your GPU's driver");
  vk->GetInstanceProcAddr =
      reinterpret_cast<PFN_vkGetInstanceProcAddr>(dlsym(library, "vkGetInstanceProcAddr"));
  if (!vk->GetInstanceProcAddr)
    throw Error("vulkan", "libvulkan.so.1 is not a Vulkan loader (no vkGetInstanceProcAddr)");
#define STITHY_VK_LOAD(name) load(*vk, VK_NULL_HANDLE, "vk" #name, vk->name);
  STITHY_VK_GLOBAL_FUNCTIONS(STITHY_VK_LOAD)
#undef STITHY_VK_LOAD

  uint32_t version = 0;
  check(vk->EnumerateInstanceVersion(&version), "vkEnumerateInstanceVersion");
  if (version < VK_API_VERSION_1_2)
    throw Error("vulkan",
                cat("the loader speaks Vulkan ", VK_API_VERSION_MAJOR(version), ".",
                    VK_API_VERSION_MINOR(version), ", Stithy needs 1.2"),
                "update the Vulkan loader (libvulkan1) and the GPU's driver");

  VkApplicationInfo application{VK_STRUCTURE_TYPE_APPLICATION_INFO};
  application.pApplicationName = "stithy";
  application.pEngineName = "stithy";
  application.apiVersion = version < VK_API_VERSION_1_3 ? VK_API_VERSION_1_2 : VK_API_VERSION_1_3;
  VkInstanceCreateInfo create{VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO};
  create.pApplicationInfo = &application;

  const char* layer = "VK_LAYER_KHRONOS_validation";
  const char* extensions[] = {VK_EXT_DEBUG_UTILS_EXTENSION_NAME, VK_EXT_VALIDATION_FEATURES_EXTENSION_NAME};
  std::vector<VkValidationFeatureEnableEXT> enables{
      VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT};
  VkValidationFeaturesEXT features{VK_STRUCTURE_TYPE_VALIDATION_FEATURES_EXT};
  VkDebugUtilsMessengerCreateInfoEXT messenger{VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT};
  if (const char* wanted = std::getenv("STITHY_VALIDATION"); wanted && *wanted && std::strcmp(wanted, "0")) {
    if (!has_layer(*vk, layer))
      throw Error("vulkan", cat("STITHY_VALIDATION=", wanted, " but the layer ", layer, " is not installed"),
                  "apt install vulkan-validationlayers, or unset STITHY_VALIDATION");
    if (!std::strcmp(wanted, "gpu")) {
      enables = {VK_VALIDATION_FEATURE_ENABLE_GPU_ASSISTED_EXT,
                 VK_VALIDATION_FEATURE_ENABLE_GPU_ASSISTED_RESERVE_BINDING_SLOT_EXT};
    }
    features.enabledValidationFeatureCount = static_cast<uint32_t>(enables.size());
    features.pEnabledValidationFeatures = enables.data();
    messenger.messageSeverity =
        VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT | VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT;
    messenger.messageType =
        VK_DEBUG_UTILS_MESSAGE_TYPE_GENERAL_BIT_EXT | VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT;
    messenger.pfnUserCallback = on_message;
    features.pNext = &messenger;
    create.pNext = &features;
    create.enabledLayerCount = 1;
    create.ppEnabledLayerNames = &layer;
    create.enabledExtensionCount = 2;
    create.ppEnabledExtensionNames = extensions;
    vk->validation = true;
  }
  const VkResult result = vk->CreateInstance(&create, nullptr, &vk->handle);
  if (result == VK_ERROR_INCOMPATIBLE_DRIVER)
    throw Error(
        "vulkan", "no Vulkan driver on this machine",
        "install one: apt install mesa-vulkan-drivers (AMD, Intel, and a CPU driver), or NVIDIA's driver");
  check(result, "vkCreateInstance");
#define STITHY_VK_LOAD(name) load(*vk, vk->handle, "vk" #name, vk->name);
  STITHY_VK_INSTANCE_FUNCTIONS(STITHY_VK_LOAD)
#undef STITHY_VK_LOAD
  if (vk->validation) {
    PFN_vkCreateDebugUtilsMessengerEXT create_messenger = nullptr;
    load(*vk, vk->handle, "vkCreateDebugUtilsMessengerEXT", create_messenger);
    VkDebugUtilsMessengerEXT handle;
    check(create_messenger(vk->handle, &messenger, nullptr, &handle), "vkCreateDebugUtilsMessengerEXT");
  }
  return vk;
}

}  // namespace

Instance& instance() {
  static Instance* vk = create_instance();
  return *vk;
}

DeviceFunctions load_device_functions(VkDevice device) {
  DeviceFunctions functions;
  const auto load = [&](const char* name, auto& function) {
    function = reinterpret_cast<std::decay_t<decltype(function)>>(instance().GetDeviceProcAddr(device, name));
    if (!function) throw Error("vulkan", cat("the driver has no function ", name), "update the GPU's driver");
  };
#define STITHY_VK_LOAD(name) load("vk" #name, functions.name);
  STITHY_VK_DEVICE_FUNCTIONS(STITHY_VK_LOAD)
#undef STITHY_VK_LOAD
  return functions;
}

uint64_t validation_messages() { return message_count; }

std::string result_name(VkResult result) {
  switch (result) {
    case VK_ERROR_OUT_OF_HOST_MEMORY: return "out of host memory";
    case VK_ERROR_OUT_OF_DEVICE_MEMORY: return "out of device memory";
    case VK_ERROR_INITIALIZATION_FAILED: return "initialization failed";
    case VK_ERROR_DEVICE_LOST: return "device lost";
    case VK_ERROR_LAYER_NOT_PRESENT: return "layer not present";
    case VK_ERROR_EXTENSION_NOT_PRESENT: return "extension not present";
    case VK_ERROR_FEATURE_NOT_PRESENT: return "feature not present";
    case VK_ERROR_INCOMPATIBLE_DRIVER: return "incompatible driver";
    case VK_ERROR_TOO_MANY_OBJECTS: return "too many objects";
    default: return cat("VkResult ", static_cast<int>(result));
  }
}

void check(VkResult result, const char* call) {
  if (result >= 0) return;
  std::string hint;
  if (result == VK_ERROR_DEVICE_LOST)
    hint =
        "the driver gave up on the GPU: mostly a submission longer than its watchdog allows, or memory "
        "over-committed";
  throw Error("vulkan", cat(call, " failed: ", result_name(result)), hint);
}

}  // namespace stithy::vk

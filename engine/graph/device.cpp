#include "engine/graph/device.h"

#include <cstdlib>

#include "engine/core/error.h"
#include "engine/vk/device.h"

namespace stithy {
namespace {

// Never freed: tensors at namespace scope may outlive any order of destruction.
std::shared_ptr<vk::Device>& opened() {
  static auto* device = new std::shared_ptr<vk::Device>;
  return *device;
}

}  // namespace

void set_default_device(const std::string& selector) {
  std::shared_ptr<vk::Device>& device = opened();
  if (!device) {
    device = vk::Device::open(selector);
    return;
  }
  const vk::DeviceInfo wanted = vk::Device::open(selector)->info();
  if (wanted.uuid != device->info().uuid || wanted.name != device->info().name)
    throw Error(
        "device",
        "cannot change from " + device->info().name + " to " + wanted.name + " once tensors are on it",
        "choose the device before anything else");
}

const std::shared_ptr<vk::Device>& default_device() {
  std::shared_ptr<vk::Device>& device = opened();
  if (!device) {
    const char* selector = std::getenv("STITHY_DEVICE");
    device = vk::Device::open(selector ? selector : "");
  }
  return device;
}

const vk::DeviceInfo& default_device_info() { return default_device()->info(); }
uint64_t device_allocated_bytes() { return default_device()->allocated_bytes(); }
uint64_t device_available_bytes() { return default_device()->available_bytes(); }

}  // namespace stithy

// The device that programs run on: one a process (several GPUs are several processes).
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "engine/vk/device_info.h"

namespace stithy {

namespace vk {
class Device;
}

// Chooses the device by index, a part of its name, or kind (gpu, cpu, discrete, integrated); empty is the
// best one. Before the first use; afterwards it throws Error unless it names the device in use.
void set_default_device(const std::string& selector);
// Opens the chosen device, else the one that STITHY_DEVICE names, else the best one.
const std::shared_ptr<vk::Device>& default_device();
const vk::DeviceInfo& default_device_info();
// Bytes that this process holds on the default device, and how many more it can have.
uint64_t device_allocated_bytes();
uint64_t device_available_bytes();

}  // namespace stithy

// Behind Variable: the host's copy until the first program that uses it, then a place on the device.
#pragma once

#include <memory>
#include <string>

#include "engine/core/array.h"
#include "engine/vk/device.h"

namespace stithy {

struct VariableState {
  std::string name;
  Shape shape;
  DType dtype = DType::f32;
  Array initial;  // emptied once placed
  std::shared_ptr<vk::Device> device;
  std::shared_ptr<vk::Buffer> buffer;
  uint64_t offset = 0;
};

}  // namespace stithy

// Behind Variable: the host's copy until the first program that uses it, then a place on the device.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "engine/core/array.h"
#include "engine/vk/device.h"

namespace stithy {

class Node;

struct VariableState {
  std::string name;
  Shape shape;
  DType dtype = DType::f32;
  Array initial;  // emptied once placed
  std::shared_ptr<vk::Device> device;
  std::shared_ptr<vk::Buffer> buffer;
  uint64_t offset = 0;
  // A part of an arena has none of the four above: its values are the owner's from this byte on.
  std::shared_ptr<VariableState> owner;
  uint64_t owner_offset = 0;
  std::weak_ptr<Node> node;
};

// Where a variable's values are: itself, or the arena that it is a part of, and how many bytes into it.
std::pair<std::shared_ptr<VariableState>, uint64_t> place_of(std::shared_ptr<VariableState> variable);
// How often variables that programs may have recorded were moved, in this process.
uint64_t variable_moves();

}  // namespace stithy

// Launch: collects the kernel calls of one node while a program is planned. Nothing runs yet.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "engine/graph/choose.h"
#include "engine/graph/kernel.h"
#include "engine/graph/node.h"
#include "engine/vk/device_info.h"

namespace stithy {

struct Groups {
  uint32_t x = 1, y = 1, z = 1;
};

// A part of a buffer; the node's only output stands for it in a Ref.
struct Window {
  std::shared_ptr<const Node> node;
  Ref whole;
  uint64_t offset = 0, bytes = 0;
};
Window make_window(const Ref& whole, uint64_t offset, uint64_t bytes);

struct PlannedCall {
  KernelCall call;
  Groups groups;
};

class Launch {
 public:
  // `chooser` answers choose(); without one the first candidate is taken.
  Launch(const Node& node, const vk::DeviceInfo& device, const Chooser& chooser = {})
      : node_(node), device_(device), chooser_(chooser) {}

  const vk::DeviceInfo& device() const { return device_; }
  // The storage of an input or output. Kernels add the value's offset and strides themselves.
  Ref in(int i) const;
  Ref out(int i = 0) const;
  // Whether the values of input i are in output 0 already, where OpDef::places wants them.
  bool in_place(int i) const;
  // A temporary buffer that lives while this node's kernels run.
  Ref scratch(uint64_t bytes);

  // Bytes that one binding may hold, and where a window may begin: multiples of the alignment.
  uint64_t binding_limit() const { return device_.max_storage_buffer_range; }
  uint64_t window_alignment() const { return std::max<uint64_t>(device_.storage_alignment, 16); }
  // A part of a buffer as a binding of its own, for buffers beyond the limit.
  Ref window(const Ref& whole, uint64_t offset, uint64_t bytes);

  // Offers the ways in which this node can run; returns the index of the one to take. All must compute the
  // same, up to the rounding of sums in another order. A single one is taken without asking.
  size_t choose(Choice choice);

  // Adds a kernel call. Calls of a node run in the order given, each seeing the writes of those before.
  // A grid without workgroups is dropped. Throws Error when the grid is beyond the device's limits.
  template <class Kernel>
  void operator()(const Kernel& kernel, Groups groups) {
    add({kernel.call(), groups});
  }

  // `count` workgroups in one dimension, folded into x and y where x alone cannot hold them; kernels number
  // themselves by group_index() of shaders/grid.glsl and must ignore those past the end.
  Groups grid(uint64_t count) const;

  const std::vector<PlannedCall>& calls() const { return calls_; }
  const std::vector<uint64_t>& scratch_bytes() const { return scratch_bytes_; }
  std::vector<Window> take_windows() { return std::move(windows_); }
  const std::vector<Choice>& choices() const { return choices_; }
  void set_in_place(std::vector<bool> inputs) { in_place_ = std::move(inputs); }

 private:
  void add(PlannedCall call);
  const Node& node_;
  const vk::DeviceInfo& device_;
  const Chooser chooser_;
  std::vector<PlannedCall> calls_;
  std::vector<uint64_t> scratch_bytes_;
  std::vector<Window> windows_;
  std::vector<Choice> choices_;
  std::vector<bool> in_place_;
};

}  // namespace stithy

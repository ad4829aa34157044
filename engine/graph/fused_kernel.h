// Fused kernels: a chain of pointwise ops as one kernel, or built into the kernel of the op that it feeds or
// follows.
#pragma once

#include <optional>
#include <vector>

#include "engine/graph/launch.h"

namespace stithy {

// Pointwise ops in the order of running, all of one shape, as one function of the elements of their inputs.
// An input that is another op's whole output is that op's value; any other is a leaf, read from memory.
struct Chain {
  std::vector<const Node*> ops;
  const Node* anchor = nullptr;      // an op whose output 0 the chain takes as a value as well
  std::vector<const Node*> results;  // whose output 0 is needed in memory: ops, or the anchor
};

// True where `x`, read by an op of a chain, is all of node's output 0, element by element.
bool is_whole(const Tensor& x, const Node& node);

// Buffers that a chain reads and writes.
size_t binding_count(const Chain& chain);

// The chain alone as one kernel call.
PlannedCall fused_call(const Chain& chain, const vk::DeviceInfo& device);

// `call` of an anchor's kernel with pointwise ops built in: `before`, whose only result takes the place of
// what the kernel reads through KernelInfo::fuse_in, and `after`, which goes on with what it writes through
// fuse_out. Either may be empty.
PlannedCall fused_call(const PlannedCall& call, const Chain& before, const Chain& after);

}  // namespace stithy

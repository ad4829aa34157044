// Tensors larger than one binding may be (VkPhysicalDeviceLimits::maxStorageBufferRange; 128 MiB on some
// drivers): a node that touches one runs as several pieces, each on windows of its tensors.
#pragma once

#include <initializer_list>
#include <memory>
#include <string_view>
#include <vector>

#include "engine/graph/launch.h"
#include "engine/graph/node.h"
#include "engine/vk/device_info.h"

namespace stithy {

// How an op is cut: the axis of input `input` that goes along with `axis` of the outputs; kWhole where every
// piece needs all of the input; kNever where pieces along `axis` would depend on each other; kSelf where the
// op's launch makes windows itself.
using Cut = int (*)(const Node& node, int input, int axis);
inline constexpr int kWhole = -1, kNever = -2, kSelf = -3;
// Says how some ops are cut, by name. The result is true.
bool define_cut(Cut cut, std::initializer_list<std::string_view> ops);
// For a Cut: elements depend on elements at the same place; scalars are for all. So are pointwise ops cut.
int cut_by_element(const Node& node, int input, int axis);
// The same, but the last axis is never cut: rows depend on themselves alone.
int cut_by_row(const Node& node, int input, int axis);
// For a Cut: an op whose launch makes all windows itself.
inline int launch_makes_windows(const Node&, int, int) { return kSelf; }

// More dispatches than this for one node are a sign of a cut across the grain.
inline constexpr size_t kMostPieces = 4096;

// Whether the storage of x is larger than a binding.
bool beyond_binding(const Tensor& x, const vk::DeviceInfo& device);

// A node's work on windows: `nodes`, to be launched in order, in the place of the node; empty where its
// launch makes the windows.
struct Pieces {
  std::vector<std::shared_ptr<const Node>> nodes;
  std::vector<Window> windows;
};

// Whether one of the node's tensors is larger than a binding.
bool needs_pieces(const Node& node, const vk::DeviceInfo& device);
// Throws Error naming op, tensor and limit where the node cannot be cut into pieces that fit.
Pieces cut_into_pieces(const Node& node, const vk::DeviceInfo& device);

// Throws the Error that says so: `large` is the tensor, or the one whose storage it is.
[[noreturn]] void refuse_pieces(const Node& node, const Value& large, const vk::DeviceInfo& device);

}  // namespace stithy

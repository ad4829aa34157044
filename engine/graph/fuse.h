// Fusion: which pointwise ops of a graph become one kernel, alone or with the op that they feed or follow.
#pragma once

#include <vector>

#include "engine/graph/fused_kernel.h"

namespace stithy {

// Runs where its last op stands. Without an anchor, `after` is all there is.
struct FusedGroup {
  Chain before;  // computed where the anchor reads its input 0; may be empty
  const Node* anchor = nullptr;
  Chain after;  // may be empty where there is an anchor
  // Memory traffic that the fusion saves: what is neither written nor read any more.
  uint64_t saved_bytes = 0;

  std::vector<const Node*> members() const;  // in the order of running
};

// The groups of a graph whose nodes are in the order of running; every node is in one at most. A value is
// kept out of memory only where nothing outside its group needs it.
std::vector<FusedGroup> find_fusions(const std::vector<const Node*>& nodes,
                                     const std::vector<Tensor>& fetches, const vk::DeviceInfo& device);

}  // namespace stithy

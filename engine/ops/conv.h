// Ways to compute convolutions: geometry, candidates and launches, for the ops in conv.cpp.
#pragma once

#include <array>
#include <cstdint>

#include "engine/graph/launch.h"
#include "engine/graph/node.h"

namespace stithy {

// Kernels see three spatial axes; those that a tensor lacks stand before the others and have size 1.
inline constexpr int kConvAxes = 3;
using ConvAxes = std::array<int64_t, kConvAxes>;

// Attributes of the three ops.
struct ConvGeometry {
  ConvAxes stride{1, 1, 1}, padding{0, 0, 0}, dilation{1, 1, 1};  // padding: before the first element
  int64_t groups = 1;
};

void launch_conv(const Node& n, Launch& launch);            // inputs: x, w
void launch_conv_transpose(const Node& n, Launch& launch);  // inputs: x, w
void launch_conv_weight(const Node& n, Launch& launch);  // inputs: x, dy; a batch beyond a binding in parts

}  // namespace stithy

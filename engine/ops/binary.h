// The launch that all pointwise ops of two inputs share, those of unary.cpp's gradients among them.
#pragma once

#include <initializer_list>
#include <string_view>

#include "engine/graph/op.h"

namespace stithy {

// Attributes of pointwise ops: what their functions in shaders/pointwise.glsl take as `p`.
struct Parameters {
  float p0 = 0, p1 = 0;
};

// Runs the variant of shaders/binary.comp that has the op's name; the node's attributes are Parameters.
void launch_binary(const Node& n, Launch& launch);
Pointwise pointwise_binary(const Node& n);

// A call of the op's function in shaders/pointwise.glsl.
Pointwise pointwise_call(const Node& n, std::initializer_list<std::string_view> arguments);

}  // namespace stithy

// Reads a compute kernel's interface out of its SPIR-V (unoptimised, so that names and decorations are
// whole).
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/graph/kernel.h"

namespace stithy::shadergen {

enum class Scalar : uint8_t { uint32, int32, float32, boolean };

// A buffer; its binding number is its place in Facts::bindings.
struct Binding {
  std::string name;
  Access access = Access::read_write;
  BindingKind kind = BindingKind::storage;
  bool operator==(const Binding&) const = default;
};

struct PushMember {
  std::string name;
  Scalar type = Scalar::uint32;
  uint32_t count = 0;  // elements of an array; 0 for a scalar
  bool operator==(const PushMember&) const = default;
};

struct SpecConstant {
  uint32_t id = 0;
  std::string name;
  Scalar type = Scalar::uint32;
  uint32_t bits = 0;  // the default value
  bool operator==(const SpecConstant&) const = default;
};

struct Facts {
  std::vector<Binding> bindings;
  std::vector<PushMember> push;  // in order, without gaps
  uint32_t push_bytes = 0;
  std::vector<SpecConstant> spec;         // ascending by id
  std::array<uint32_t, 3> local_size{};   // 0 where a specialization constant gives it
  std::vector<std::string> capabilities;  // sorted
};

// The facts of a module with one GLCompute entry point. `shader` names it in errors. Throws Error for a
// malformed module and for an interface that the engine cannot bind: anything but storage buffers and
// texel buffers of floats (textureBuffer) in set 0 with bindings 0, 1, ... n-1, push constants other than
// 4-byte scalars and arrays of them in the C++ layout, over 128 bytes of them, specialization constants
// without a name or not of 4 bytes.
Facts reflect(std::string_view shader, std::span<const uint32_t> words);

// The first difference between two interfaces (capabilities aside), in words; empty if there is none.
std::string difference(const Facts& a, const Facts& b);

}  // namespace stithy::shadergen

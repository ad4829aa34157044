// Kernels as the engine sees them: the facts that shadergen read from their SPIR-V, and one call of one
// kernel.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace stithy {

class Node;
namespace vk {
struct PipelineRequest;
}

// Where a kernel argument lives: an output of a node, or, where scratch >= 0, a scratch buffer of the node
// being launched.
struct Ref {
  const Node* node = nullptr;
  int output = 0;
  int scratch = -1;
};

enum class Access : uint8_t { read = 1, write = 2, read_write = 3 };

// How a kernel sees a buffer. texel: read-only, as a uniform texel buffer of four floats an element; only
// whole elements can be read.
enum class BindingKind : uint8_t { storage, texel };

// One buffer of a kernel; its binding number is its place in KernelInfo::bindings.
struct BindingInfo {
  std::string_view name;
  Access access;
  BindingKind kind = BindingKind::storage;
};

// The facts of one compiled kernel, as declared in GLSL. Lives as long as the library that holds the kernel.
struct KernelInfo {
  std::string_view name;    // "softmax_backward", "unary_exp"
  std::string_view shader;  // the file's stem: "softmax"
  std::span<const uint32_t> spirv;
  std::span<const BindingInfo> bindings;
  std::span<const uint32_t> spec_ids;  // ascending; KernelCall::spec has the same order
  std::span<const std::string_view> spec_names;
  uint32_t push_bytes = 0;
  std::span<const std::string_view> capabilities;  // SPIR-V names: "GroupNonUniformArithmetic"
  std::array<uint32_t, 3> local_size{};            // 0 where a specialization constant gives it
  std::string_view defines = {};                   // macros that chose it: "KERNEL_reduce_rows OP=sum OP_sum"
  // Bindings whose loads, or stores, go through the macros of shaders/fused.glsl; none where negative.
  int fuse_in = -1, fuse_out = -1;
  // It prepares or finishes what another kernel of the same node computes: beside that one, none of the
  // node's floating-point operations are its own.
  bool aids = false;
  std::string_view fused_text = {};  // GLSL before the shader's, of a kernel made while planning

  // Bit i: binding i is of BindingKind::texel.
  uint32_t texel_bindings() const {
    uint32_t bits = 0;
    for (size_t i = 0; i < bindings.size(); ++i)
      bits |= static_cast<uint32_t>(bindings[i].kind == BindingKind::texel) << i;
    return bits;
  }
};

// A kernel with everything that a launch needs, apart from the number of workgroups.
struct KernelCall {
  const KernelInfo* kernel = nullptr;
  std::vector<Ref> refs;       // one per binding
  std::vector<uint32_t> spec;  // one per spec_id, the bits of its value
  std::vector<std::byte> push;
};

// The files in shaders/.
struct ShaderText {
  std::string_view file, text;
};
std::span<const ShaderText> shader_texts();

// What the device must compile for a kernel with these values of its spec_ids; refers to both.
vk::PipelineRequest request_of(const KernelInfo& kernel, std::span<const uint32_t> spec);

// FNV-1a, 64 bits, of the kernel's SPIR-V, as 16 hexadecimal digits.
std::string spirv_hash(const KernelInfo& kernel);

// Every kernel linked into this process, sorted by name.
std::span<const KernelInfo* const> all_kernels();

// Adds kernels to all_kernels(); called by the generated sources while the library loads. The result is true.
// Throws Error where a kernel of that name is there already.
bool register_kernels(std::span<const KernelInfo> kernels);

}  // namespace stithy

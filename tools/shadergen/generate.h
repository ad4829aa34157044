// The C++ that shadergen writes for one shader: a typed call per kernel, with its SPIR-V and its facts.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "tools/shadergen/spirv.h"

namespace stithy::shadergen {

// What the shader's `#pragma stithy` lines say.
struct Directives {
  std::vector<std::string> kernels;   // the file's stem where there is no such line
  std::string variant_macro;          // "OP" of `#pragma stithy variants OP: exp log sqrt`
  std::vector<std::string> variants;  // empty where there is no such line
  std::vector<std::string> aids;      // kernels of `#pragma stithy aids copy`
  struct Fuse {
    std::string in, out;  // names of buffers, empty for none
  };
  std::map<std::string, Fuse> fuse;  // by kernel: `#pragma stithy fuse softmax x y`
};

// Throws Error for a directive that is unknown, repeated, empty or not made of identifiers.
Directives read_directives(std::string_view shader, const std::string& stem, std::string_view source);

struct Module {
  std::string name;             // "unary_exp": the kernel's name, then the variant's
  std::string defines;          // macros it was compiled with: "KERNEL_unary OP=exp OP_exp"
  std::vector<uint32_t> spirv;  // as embedded, optimised
  Facts facts;
};

struct Kernel {
  std::string name;
  std::vector<Module> modules;  // one per variant, of one interface; one where there are no variants
};

struct Sources {
  std::string header, source;
};

// C++ that holds the texts of shaders, by file name: for kernels that are compiled while the program runs.
std::string embed(const std::map<std::string, std::string>& texts);

// `stem` names the two files. Throws Error where a name in the shader cannot be a member in C++.
Sources generate(std::string_view shader, const std::string& stem, const Directives& directives,
                 const std::vector<Kernel>& kernels);

}  // namespace stithy::shadergen

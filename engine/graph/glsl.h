// GLSL to SPIR-V while the program runs, for kernels that are put together from a plan.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace stithy {

// SPIR-V (for Vulkan 1.2) of a compute shader. Includes are files of shaders/, and `fused` under the name
// "fused.glsl". `defines` as KernelInfo has them. Compiled once a process for the same text; what was
// compiled before by anybody is read from the cache folder. The words live as long as the process. Throws
// Error, named `name`, with glslang's messages where the text is wrong.
std::span<const uint32_t> compile_glsl(std::string_view name, std::string_view text, std::string_view defines,
                                       std::string_view fused);

// The text of a file in shaders/; empty where there is none.
std::string_view shader_text(std::string_view file);

}  // namespace stithy

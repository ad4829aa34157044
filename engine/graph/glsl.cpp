#include "engine/graph/glsl.h"

#include <glslang/Public/ResourceLimits.h>
#include <glslang/Public/ShaderLang.h>
#include <glslang/SPIRV/GlslangToSpv.h>
#include <glslang/build_info.h>

#include <cstring>
#include <map>
#include <mutex>
#include <sstream>
#include <vector>

#include "engine/core/cache.h"
#include "engine/core/contraction.h"
#include "engine/core/error.h"
#include "engine/core/hash.h"
#include "engine/graph/kernel.h"

namespace stithy {
namespace {

class Includer : public glslang::TShader::Includer {
 public:
  explicit Includer(std::string_view fused) : fused_(fused) {}
  IncludeResult* includeLocal(const char* name, const char*, size_t) override {
    const std::string_view text = std::string_view(name) == "fused.glsl" ? fused_ : shader_text(name);
    return text.data() ? new IncludeResult(name, text.data(), text.size(), nullptr) : nullptr;
  }
  IncludeResult* includeSystem(const char* name, const char* from, size_t depth) override {
    return includeLocal(name, from, depth);
  }
  void releaseInclude(IncludeResult* result) override { delete result; }

 private:
  std::string_view fused_;
};

std::vector<uint32_t> compile(std::string_view name, std::string_view text, std::string_view defines,
                              std::string_view fused) {
  std::string preamble = "#extension GL_GOOGLE_include_directive : require\n";
  std::istringstream words{std::string(defines)};
  for (std::string word; words >> word;) {
    const size_t equals = word.find('=');
    preamble += "#define " + word.substr(0, equals) +
                (equals == std::string::npos ? "" : " " + word.substr(equals + 1)) + "\n";
  }
  glslang::TShader shader(EShLangCompute);
  const char* strings[] = {text.data()};
  const int lengths[] = {static_cast<int>(text.size())};
  shader.setStringsWithLengths(strings, lengths, 1);
  shader.setPreamble(preamble.c_str());
  shader.setEnvInput(glslang::EShSourceGlsl, EShLangCompute, glslang::EShClientVulkan, 100);
  shader.setEnvClient(glslang::EShClientVulkan, glslang::EShTargetVulkan_1_2);
  shader.setEnvTarget(glslang::EShTargetSpv, glslang::EShTargetSpv_1_5);
  const auto messages = static_cast<EShMessages>(EShMsgSpvRules | EShMsgVulkanRules);
  Includer includer(fused);
  const auto fail = [&](const std::string& log) {
    throw Error(std::string(name), "the kernel that was put together does not compile: " + log,
                "this is a defect of Stithy; STITHY_DEBUG=unfused runs without such kernels");
  };
  if (!shader.parse(GetDefaultResources(), 460, ECoreProfile, false, false, messages, includer))
    fail(shader.getInfoLog());
  glslang::TProgram program;
  program.addShader(&shader);
  if (!program.link(messages)) fail(program.getInfoLog());
  std::vector<uint32_t> spirv;
  glslang::SpvOptions options;
  options.disableOptimizer = true;
  glslang::GlslangToSpv(*program.getIntermediate(EShLangCompute), spirv, &options);
  return without_contraction(spirv);
}

}  // namespace

std::string_view shader_text(std::string_view file) {
  for (const ShaderText& shader : shader_texts())
    if (shader.file == file) return shader.text;
  return {};
}

std::span<const uint32_t> compile_glsl(std::string_view name, std::string_view text, std::string_view defines,
                                       std::string_view fused) {
  static std::mutex mutex;
  static std::map<std::string, std::vector<uint32_t>> compiled;
  const std::lock_guard lock(mutex);
  const std::string source = cat(defines, '\n', fused, '\n', text);
  std::vector<uint32_t>& spirv = compiled[source];
  if (!spirv.empty()) return spirv;

  static const uint64_t includes = [] {
    uint64_t hash = hash_bytes("");
    for (const ShaderText& shader : shader_texts()) hash = hash_bytes(shader.text, hash);
    return hash;
  }();
  const CacheFile file("spirv", cat(GLSLANG_VERSION_MAJOR, '.', GLSLANG_VERSION_MINOR, '.',
                                    GLSLANG_VERSION_PATCH, "\nno contraction\n", includes, '\n', source));
  if (const auto words = file.read(); words && !words->empty() && words->size() % 4 == 0) {
    spirv.resize(words->size() / 4);
    std::memcpy(spirv.data(), words->data(), words->size());
    return spirv;
  }
  [[maybe_unused]] static const bool initialized = glslang::InitializeProcess();
  spirv = compile(name, text, defines, fused);
  file.update([&](const std::optional<std::string>&) {
    return std::string(reinterpret_cast<const char*>(spirv.data()), spirv.size() * 4);
  });
  return spirv;
}

}  // namespace stithy

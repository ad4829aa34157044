// shadergen: what it reads from SPIR-V, and that it refuses what the engine cannot bind.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "engine/core/error.h"
#include "tests/hostile.h"
#include "tests/temporary_folder.h"
#include "tools/shadergen/generate.h"
#include "tools/shadergen/spirv.h"

using namespace stithy;
using namespace stithy::shadergen;

namespace {

namespace fs = std::filesystem;

std::string read(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

struct Outcome {
  int status;
  std::string output;
};

Outcome run(const std::string& command) {
  FILE* pipe = popen((command + " 2>&1").c_str(), "r");
  REQUIRE(pipe);
  Outcome outcome{};
  std::array<char, 4096> buffer;
  while (size_t n = fread(buffer.data(), 1, buffer.size(), pipe)) outcome.output.append(buffer.data(), n);
  outcome.status = pclose(pipe);
  return outcome;
}

std::vector<uint32_t> compile(const std::string& body) {
  TemporaryFolder dir;
  dir.write("t.comp", "#version 460\n" + body);
  const Outcome outcome =
      run(cat(STITHY_GLSLANG " -V --target-env vulkan1.2 ", dir / "t.comp", " -o ", dir / "t.spv"));
  REQUIRE_MESSAGE(outcome.status == 0, outcome.output);
  const std::string bytes = read(dir / "t.spv");
  std::vector<uint32_t> words(bytes.size() / 4);
  std::copy_n(bytes.data(), bytes.size(), reinterpret_cast<char*>(words.data()));
  return words;
}

Facts facts(const std::string& body) { return reflect("t.comp", compile(body)); }

// The message of the error that reflecting `body` raises; each names the shader.
std::string refusal(const std::string& body) {
  const std::vector<uint32_t> words = compile(body);
  try {
    reflect("t.comp", words);
  } catch (const Error& error) {
    CHECK(error.where() == "t.comp");
    return error.message();
  }
  return "(no error)";
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

const std::string kMain = "void main() {}\n";
const std::string kSize = "layout(local_size_x = 64) in;\n";

}  // namespace

TEST_SUITE("shadergen") {
  TEST_CASE("bindings: access, aliases and names") {
    const Facts f = facts(kSize + R"(
      layout(binding = 1) writeonly buffer Y { float y[]; };
      layout(binding = 0) readonly buffer X4 { vec4 x4[]; };
      layout(binding = 0) readonly buffer X { float x[]; };
      layout(binding = 2) buffer G { float grad[]; };
      layout(binding = 3) readonly buffer A { float a[]; };
      layout(binding = 3) writeonly buffer A4 { vec4 a4[]; };
      layout(binding = 4) buffer M { readonly uint count; float data[]; };
      void main() { y[0] = x[0] + x4[0].x + grad[0] + a[0]; a4[1] = vec4(count); data[0] = 1; })");
    REQUIRE(f.bindings.size() == 5);
    CHECK(f.bindings[0] == Binding{"x", Access::read});
    CHECK(f.bindings[1] == Binding{"y", Access::write});
    CHECK(f.bindings[2] == Binding{"grad", Access::read_write});
    CHECK(f.bindings[3] == Binding{"a", Access::read_write});
    CHECK(f.bindings[4] == Binding{"count", Access::read_write});
    CHECK(f.local_size == std::array<uint32_t, 3>{64, 1, 1});
    CHECK(f.push.empty());
    CHECK(f.spec.empty());
  }

  TEST_CASE("texel buffers of floats are bindings; other images are not") {
    const std::string head = "#extension GL_EXT_samplerless_texture_functions : require\n" + kSize;
    const std::string y = "layout(binding = 1) buffer Y { vec4 y[]; };\n";
    const Facts f = facts(head + "layout(binding = 0) uniform textureBuffer x;\n" + y +
                          "void main() { y[0] = texelFetch(x, 0); }");
    REQUIRE(f.bindings.size() == 2);
    CHECK(f.bindings[0] == Binding{"x", Access::read, BindingKind::texel});
    CHECK(f.bindings[1] == Binding{"y", Access::read_write});
    CHECK(contains(refusal(head + "layout(binding = 0) uniform utextureBuffer x;\n" + y +
                           "void main() { y[0] = vec4(texelFetch(x, 0)); }"),
                   "x is no storage buffer"));
    CHECK(contains(
        refusal(head + "layout(binding = 0) uniform textureBuffer x;\n" +
                "layout(binding = 0) buffer Y { vec4 y[]; };\nvoid main() { y[0] = texelFetch(x, 0); }"),
        "binding 0 is both a storage and a texel buffer"));
  }

  TEST_CASE("push constants: scalars and arrays") {
    const Facts f = facts(kSize + R"(
      layout(push_constant) uniform P { uint rows; int axis; float eps; uint shape[6]; float tail; } p;
      layout(binding = 0) buffer Y { float y[]; };
      void main() { y[p.rows] = p.eps + p.tail + p.shape[p.axis]; })");
    REQUIRE(f.push.size() == 5);
    CHECK(f.push[0] == PushMember{"rows", Scalar::uint32, 0});
    CHECK(f.push[1] == PushMember{"axis", Scalar::int32, 0});
    CHECK(f.push[2] == PushMember{"eps", Scalar::float32, 0});
    CHECK(f.push[3] == PushMember{"shape", Scalar::uint32, 6});
    CHECK(f.push[4] == PushMember{"tail", Scalar::float32, 0});
    CHECK(f.push_bytes == 40);
  }

  TEST_CASE("specialization constants: order, types, defaults, workgroup size") {
    const Facts f = facts(R"(
      layout(local_size_x = 64, local_size_x_id = 3, local_size_y = 2) in;
      layout(constant_id = 5) const bool CAUSAL = true;
      layout(constant_id = 0) const uint LANES = 32;
      layout(constant_id = 1) const float SCALE = 0.125;
      layout(constant_id = 2) const int BIAS = -7;
      layout(constant_id = 6) const bool OFF = false;
      void main() {})");
    REQUIRE(f.spec.size() == 6);
    CHECK(f.spec[0] == SpecConstant{0, "LANES", Scalar::uint32, 32});
    CHECK(f.spec[1] == SpecConstant{1, "SCALE", Scalar::float32, std::bit_cast<uint32_t>(0.125f)});
    CHECK(f.spec[2] == SpecConstant{2, "BIAS", Scalar::int32, static_cast<uint32_t>(-7)});
    CHECK(f.spec[3] == SpecConstant{3, "local_size_x", Scalar::uint32, 64});
    CHECK(f.spec[4] == SpecConstant{5, "CAUSAL", Scalar::boolean, 1});
    CHECK(f.spec[5] == SpecConstant{6, "OFF", Scalar::boolean, 0});
    CHECK(f.local_size == std::array<uint32_t, 3>{0, 2, 1});
  }

  TEST_CASE("a constant that is also the workgroup size keeps its own name") {
    const Facts f = facts(
        "layout(local_size_x = 32, local_size_x_id = 0) in;\n"
        "layout(constant_id = 0) const uint LANES = 32;\n" +
        kMain);
    REQUIRE(f.spec.size() == 1);
    CHECK(f.spec[0] == SpecConstant{0, "LANES", Scalar::uint32, 32});
    CHECK(f.local_size == std::array<uint32_t, 3>{0, 1, 1});
    CHECK(contains(
        refusal("layout(local_size_x_id = 0) in;\nlayout(constant_id = 0) const uint LANES = 32;\n" + kMain),
        "constant_id 0 LANES has two defaults"));
  }

  TEST_CASE("capabilities by name") {
    const Facts f = facts(R"(
      #extension GL_KHR_shader_subgroup_arithmetic : require
      #extension GL_EXT_shader_16bit_storage : require
      layout(local_size_x = 64) in;
      layout(binding = 0) buffer Y { float16_t y[]; };
      void main() { y[0] = float16_t(subgroupAdd(float(y[1]))); })");
    CHECK(f.capabilities == std::vector<std::string>{"GroupNonUniform", "GroupNonUniformArithmetic", "Shader",
                                                     "StorageBuffer16BitAccess"});
  }

  TEST_CASE("refused interfaces name the culprit") {
    const auto push = [](const std::string& members) {
      return refusal(kSize + "layout(push_constant) uniform P { " + members + " } p;\n" + kMain);
    };
    CHECK(contains(push("uint a; vec2 where;"), "push constant where must be a uint, int or float"));
    CHECK(contains(push("uint a; layout(offset = 8) uint late;"), "push constant late is at offset 8"));
    CHECK(contains(push("uint a[40];"), "push constant a ends at byte 160"));
    CHECK(contains(push("uint a[2][2];"), "push constant a"));
    CHECK(contains(push("float a; double d;"), "push constant d must be"));
    CHECK(contains(refusal(kSize + "layout(binding = 1) buffer Y { float y[]; };\n" + kMain),
                   "binding 0 is missing, though there is a binding 1 (y)"));
    CHECK(contains(refusal(kSize + "layout(set = 1, binding = 0) buffer Y { float y[]; };\n" + kMain),
                   "buffer Y is in descriptor set 1"));
    CHECK(contains(refusal(kSize + "layout(binding = 0) uniform U { float u; };\n" + kMain),
                   "U is no storage buffer"));
    CHECK(contains(refusal(kSize + "layout(binding = 0, r32f) uniform image2D picture;\n" + kMain),
                   "picture is no storage buffer"));
    CHECK(contains(refusal(kSize + "layout(binding = 0) buffer Y { float y[]; } many[2];\n" + kMain),
                   "buffer many is an array of blocks"));
    CHECK(contains(refusal(kSize + R"(layout(binding = 0) buffer X { float x[]; };
                                      layout(binding = 1) buffer Y { float x[]; } y;)" +
                           kMain),
                   "two bindings are named x"));
    CHECK(contains(refusal(kSize + "layout(constant_id = 0) const double D = 1;\n" + kMain),
                   "specialization constant 0 D must be"));
  }

  TEST_CASE("a specialization constant without a name is refused") {
    std::vector<uint32_t> words = compile(kSize + "layout(constant_id = 4) const uint LANES = 32;\n" + kMain);
    // Turn every OpName into an OpNop, word by word.
    for (size_t at = 5; at < words.size();) {
      const uint32_t count = words[at] >> 16;
      if ((words[at] & 0xffff) == 5) std::fill_n(words.begin() + at, count, 1u << 16);
      at += count;
    }
    CHECK_THROWS_WITH_AS(reflect("t.comp", words), "t.comp: specialization constant 4 has no name", Error);
  }

  TEST_CASE("malformed modules raise an error") {
    const std::vector<uint32_t> words = compile(R"(
      layout(local_size_x_id = 1) in;
      layout(constant_id = 0) const uint LANES = 32;
      layout(push_constant) uniform P { uint rows; uint shape[6]; } p;
      layout(binding = 0) buffer Y { float y[]; };
      void main() { y[p.rows] = p.shape[LANES]; })");
    REQUIRE_NOTHROW(reflect("t.comp", words));
    std::vector<uint32_t> wrong = words;
    wrong[0] ^= 1;
    CHECK_THROWS_AS(reflect("t.comp", wrong), Error);
    wrong = words;
    wrong[5] &= 0xffff;  // an instruction of no words
    CHECK_THROWS_AS(reflect("t.comp", wrong), Error);

    const std::string_view bytes(reinterpret_cast<const char*>(words.data()), words.size() * 4);
    const HostileResult damaged = feed_damaged(bytes, [](std::string_view text) {
      // A buffer of the module's own size, so that a sanitizer sees a read behind its end.
      std::vector<uint32_t> module(text.size() / 4);
      std::copy_n(text.data(), module.size() * 4, reinterpret_cast<char*>(module.data()));
      reflect("t.comp", module);
    });
    CHECK(damaged.unexpected == "");
    CHECK(damaged.refused > 1000);
  }

  TEST_CASE("directives") {
    Directives d = read_directives("s.comp", "s", "#version 460\nvoid main() {}\n");
    CHECK(d.kernels == std::vector<std::string>{"s"});
    CHECK(d.variants.empty());
    d = read_directives("s.comp", "s",
                        "#pragma stithy kernels a a_backward // forward and backward\n"
                        "# pragma stithy variants OP: exp log\n#pragma once\n#pragma stithy aids a\n");
    CHECK(d.aids == std::vector<std::string>{"a"});
    CHECK(d.kernels == std::vector<std::string>{"a", "a_backward"});
    CHECK(d.variant_macro == "OP");
    CHECK(d.variants == std::vector<std::string>{"exp", "log"});
    for (const char* wrong :
         {"#pragma stithy kernel a", "#pragma stithy kernels", "#pragma stithy kernels a a",
          "#pragma stithy kernels a-b", "#pragma stithy aids",
          "#pragma stithy kernels a\n#pragma stithy aids b", "#pragma stithy variants exp log",
          "#pragma stithy variants OP:", "#pragma stithy kernels a\n#pragma stithy kernels b",
          "#pragma stithy variants A: x\n#pragma stithy variants B: y"}) {
      CAPTURE(wrong);
      CHECK_THROWS_AS(read_directives("s.comp", "s", wrong), Error);
    }
    CHECK_THROWS_AS(read_directives("s-1.comp", "s-1", ""), Error);
  }

  TEST_CASE("the program: a call per kernel and variant, that compiles and carries its values") {
    TemporaryFolder dir;
    dir.write("ops.glsl", "#define TWICE(x) (2 * (x))\n");
    dir.write("pair.comp", R"(#version 460
      #extension GL_GOOGLE_include_directive : require
      #include "ops.glsl"
      #pragma stithy kernels pair pair_backward
      #pragma stithy variants OP: exp not
      layout(local_size_x = 64, local_size_x_id = 1) in;
      layout(constant_id = 0) const float SCALE = 3;
      layout(push_constant) uniform P { uint rows; uint shape[2]; } p;
      layout(binding = 0) readonly buffer X { float x[]; };
      #ifdef KERNEL_pair
      layout(binding = 1) writeonly buffer Y { float y[]; };
      void main() {
      #ifdef OP_not
        y[p.rows] = float(x[0] == 0);
      #else
        y[p.rows] = TWICE(OP(x[0] * SCALE));
      #endif
      }
      #else
      layout(binding = 1) buffer D { float dx[]; };
      void main() { dx[p.shape[1]] += x[0]; }
      #endif
    )");
    const std::string shadergen =
        cat(STITHY_SHADERGEN " ", dir / "pair.comp", " ", dir / "out", " --glslang " STITHY_GLSLANG);
    Outcome made = run(shadergen);
    REQUIRE_MESSAGE(made.status == 0, made.output);
    CHECK(made.output == "");
    for (const char* name : {"pair_exp", "pair_not", "pair_backward_exp", "pair_backward_not"}) {
      CHECK(fs::exists(dir / "out/" + name + ".spv"));
    }
    CHECK(contains(read(dir / "out/pair.d"), dir / "ops.glsl"));
    CHECK(contains(read(dir / "out/pair.d"), dir / "pair.comp"));

    // The same again leaves the sources alone; a new stamp says that it ran.
    const auto before = fs::last_write_time(dir / "out/pair.cpp");
    fs::remove(dir / "out/pair.stamp");
    REQUIRE(run(shadergen).status == 0);
    CHECK(fs::last_write_time(dir / "out/pair.cpp") == before);
    CHECK(fs::exists(dir / "out/pair.stamp"));

    dir.write("user.cpp", R"(
      #include "out/pair.cpp"
      #include "engine/core/error.cpp"
      #include "engine/core/hash.cpp"
      #include "engine/graph/kernel.cpp"
      using namespace stithy;
      int main() {
        shaders::pair_backward call{.x = {nullptr, 2}, .dx = {nullptr, 0, 1}, .push = {.rows = 5, .shape = {6, 7}}};
        call.variant = *shaders::pair::variant_named("not") == shaders::pair::Variant::not_
                           ? shaders::pair_backward::Variant::not_ : shaders::pair_backward::Variant::exp;
        call.spec.local_size_x = 128;
        const KernelCall k = call.call();
        uint32_t push[3];
        if (k.push.size() != 12) return 1;
        std::memcpy(push, k.push.data(), 12);
        if (push[0] != 5 || push[1] != 6 || push[2] != 7) return 2;
        if (k.kernel->name != "pair_backward_not" || k.kernel->shader != "pair") return 3;
        if (k.refs.size() != 2 || k.refs[0].output != 2 || k.refs[1].scratch != 1) return 4;
        if (k.spec.size() != 2 || k.spec[0] != 0x40400000 || k.spec[1] != 128) return 5;
        if (k.kernel->bindings[1].access != Access::read_write || k.kernel->bindings[1].name != "dx") return 6;
        if (shaders::pair::info(shaders::pair::Variant::exp).bindings[1].access != Access::write) return 7;
        if (k.kernel->spirv[0] != 0x07230203 || k.kernel->local_size[0] != 0 || k.kernel->local_size[1] != 1) return 8;
        if (all_kernels().size() != 4 || all_kernels()[0]->name != "pair_backward_exp") return 9;
        if (shaders::pair::variant_named("log")) return 10;
        return 0;
      })");
    const Outcome built = run(cat("c++ -std=c++20 -Wall -Wextra -Werror -I" STITHY_SOURCE_DIR " -I",
                                  dir.path(), " ", dir / "user.cpp", " -o ", dir / "user"));
    REQUIRE_MESSAGE(built.status == 0, built.output);
    CHECK(WEXITSTATUS(run(dir / "user").status) == 0);
  }

  TEST_CASE("the program: errors") {
    TemporaryFolder dir;
    const auto refuse = [&](const std::string& text) {
      dir.write("bad.comp", "#version 460\n" + text);
      const Outcome outcome =
          run(cat(STITHY_SHADERGEN " ", dir / "bad.comp", " ", dir / "out", " --glslang " STITHY_GLSLANG));
      CHECK(outcome.status != 0);
      CHECK(!fs::exists(dir / "out/bad.h"));
      CHECK(contains(outcome.output, dir / "bad.comp"));
      return outcome.output;
    };
    CHECK(contains(refuse("\nvoid main() { z = 1; }\n"), dir / "bad.comp" + ":3: error: 'z'"));
    CHECK(contains(
        refuse("#pragma stithy variants T: uint float\nlayout(push_constant) uniform P { T a; } p;\n" +
               kMain),
        "kernel bad_float: its push constants differ as in bad_uint"));
    CHECK(contains(refuse("layout(binding = 0) buffer B { float push[]; };\n" + kMain),
                   "a buffer cannot be named push"));
    const Outcome missing = run(STITHY_SHADERGEN " /nonexistent.comp " + dir.path());
    CHECK(missing.status != 0);
    CHECK(contains(missing.output, "/nonexistent.comp: cannot be read"));
  }
}

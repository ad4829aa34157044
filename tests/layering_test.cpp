// Who may include whom: samples, tools, tests -> nn -> the engine's public headers -> ops -> graph -> vk ->
// core.
#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "engine/core/error.h"

using namespace stithy;

namespace {

namespace fs = std::filesystem;

// The room a path of the repository belongs to. "public" are the engine's headers outside of its folders
// (engine/stithy.h, engine/ops.h ...) and their sources; "shaders" is what shadergen writes; "" is none.
std::string room_of(std::string_view path) {
  for (const char* room : {"core", "vk", "graph", "ops", "dist"}) {
    if (path.starts_with(cat("engine/", room, "/"))) return room;
  }
  if (path.starts_with("engine/")) return "public";
  for (const char* room : {"nn", "tools", "samples", "tests", "shaders"}) {
    if (path.starts_with(cat(room, "/"))) return room;
  }
  return "";
}

const std::map<std::string, std::set<std::string>> kMayInclude = {
    {"core", {"core"}},
    {"vk", {"core", "vk"}},
    {"graph", {"core", "vk", "graph"}},
    {"ops", {"core", "vk", "graph", "ops", "public", "shaders"}},
    {"dist", {"core", "vk", "graph", "public", "dist"}},
    {"public", {"core", "vk", "graph", "ops", "dist", "public"}},
    {"nn", {"core", "graph", "public", "nn"}},
    {"samples", {"core", "graph", "public", "nn", "samples"}},
    {"tools", {"core", "vk", "graph", "public", "nn", "tools", "tests"}},
    {"tests", {"core", "vk", "graph", "ops", "dist", "public", "nn", "tools", "tests", "shaders"}},
};

// The NaN finder looks at every op's outputs, so its kernel is the graph's own.
bool is_exception(const std::string& file, const std::string& included) {
  return room_of(file) == "graph" && included == "shaders/find_nan.h";
}
// Libraries' headers that one room alone may see.
bool may_see_library(const std::string& file, const std::string& included) {
  if (included.starts_with("vulkan/") || included.starts_with("vk_"))
    return room_of(file) == "vk" || file == "tests/counters_layer.cpp";
  if (included == "mpi.h") return room_of(file) == "dist";
  if (included.starts_with("doctest/"))
    return file.ends_with("_test.cpp") || file == "tests/main.cpp" || file == "tests/check_error.h";
  return true;
}

struct Include {
  std::string name;
  bool quoted = false;
  int line = 0;
};

std::vector<Include> includes_of(std::istream& text) {
  std::vector<Include> includes;
  std::string line;
  bool in_raw_string = false;  // a program within a test's text has includes of its own
  for (int number = 1; std::getline(text, line); ++number) {
    const size_t end = line.rfind(")\""), begin = line.rfind("R\"(");
    if (in_raw_string || begin != std::string::npos) {
      in_raw_string = end == std::string::npos || (begin != std::string::npos && begin > end);
      continue;
    }
    size_t at = line.find_first_not_of(" \t");
    if (at == std::string::npos || line[at] != '#') continue;
    at = line.find_first_not_of(" \t", at + 1);
    if (at == std::string::npos || line.compare(at, 7, "include") != 0) continue;
    const size_t open = line.find_first_of("\"<", at + 7);
    if (open == std::string::npos) continue;
    const size_t close = line.find(line[open] == '<' ? '>' : '"', open + 1);
    if (close == std::string::npos) continue;
    includes.push_back({line.substr(open + 1, close - open - 1), line[open] == '"', number});
  }
  return includes;
}

// What is wrong with an include; empty if nothing is.
std::string violation(const std::string& file, const Include& include) {
  const std::string from = room_of(file), to = room_of(include.name);
  if (!include.quoted) {
    if (!to.empty()) return "our own headers are included with quotes";
    return may_see_library(file, include.name) ? "" : "this room must not see that library";
  }
  if (!may_see_library(file, include.name)) return "this room must not see that library";
  if (to.empty()) return "include paths start at the repository's root";
  if (kMayInclude.at(from).contains(to) || is_exception(file, include.name)) {
    // A program's own sources: one tool or sample does not reach into another. What several samples share
    // stands beside them.
    const auto folder = [](const std::string& path) {
      return path.substr(0, path.find('/', path.find('/') + 1));
    };
    const bool own = (from == "tools" || from == "samples") && to == from;
    const bool shared = include.name.find('/') == include.name.rfind('/') && from == "samples";
    if (own && !shared && folder(file) != folder(include.name))
      return cat("it belongs to ", folder(include.name));
    return "";
  }
  return cat("'", from, "' must not include '", to, "'");
}

std::vector<std::string> violations(const std::string& file, std::istream& text) {
  std::vector<std::string> all;
  for (const Include& include : includes_of(text)) {
    const std::string wrong = violation(file, include);
    if (!wrong.empty()) all.push_back(cat(file, ":", include.line, ": ", include.name, ": ", wrong));
  }
  return all;
}

std::vector<std::string> violations(const std::string& file, const std::string& text) {
  std::istringstream stream(text);
  return violations(file, stream);
}

}  // namespace

TEST_SUITE("layering") {
  TEST_CASE("the tree obeys") {
    int files = 0;
    for (const char* top : {"engine", "nn", "tools", "samples", "tests"}) {
      const fs::path folder = fs::path(STITHY_SOURCE_DIR) / top;
      if (!fs::exists(folder)) continue;
      for (const auto& entry : fs::recursive_directory_iterator(folder)) {
        const std::string extension = entry.path().extension();
        if (extension != ".h" && extension != ".cpp") continue;
        ++files;
        std::ifstream text(entry.path());
        for (const std::string& wrong : violations(fs::relative(entry.path(), STITHY_SOURCE_DIR), text)) {
          FAIL_CHECK(wrong);
        }
      }
    }
    CHECK(files > 20);
  }

  TEST_CASE("right includes pass") {
    const std::pair<const char*, const char*> right[] = {
        {"engine/core/error.cpp", "#include \"engine/core/error.h\"\n#include <string>"},
        {"engine/vk/device.cpp", "#include <vulkan/vulkan.h>\n#include \"engine/core/error.h\""},
        {"engine/graph/plan.cpp", "#include \"engine/vk/memory.h\"\n#include \"engine/graph/node.h\""},
        {"engine/graph/plan.cpp", "#include \"shaders/find_nan.h\""},
        {"engine/ops/norm.cpp", "#include \"shaders/softmax.h\"\n#include \"engine/ops.h\""},
        {"engine/stithy.h", "#include \"engine/ops.h\"\n#include \"engine/graph/tensor.h\""},
        {"engine/dist/mpi.cpp", "#include <mpi.h>"},
        {"nn/linear.cpp", "#include \"engine/stithy.h\"\n#include \"nn/module.h\"\n#include <zlib.h>"},
        {"samples/digits_mlp/main.cpp", "#include \"nn/nn.h\""},
        {"samples/digits_mlp/main.cpp", "#include \"samples/shared.h\""},
        {"tools/stithy/ops.cpp", "#include \"tests/harness.h\"\n#include \"tools/stithy/command.h\""},
        {"tests/plan_test.cpp", "#include <doctest/doctest.h>\n#include \"engine/vk/device.h\""},
        {"tests/plan_test.cpp", "const char* text = R\"(\n#include \"wrong.h\"\n)\";"},
    };
    for (const auto& [file, text] : right) {
      const std::vector<std::string> wrong = violations(file, std::string(text));
      CHECK_MESSAGE(wrong.empty(), file);
    }
  }

  TEST_CASE("wrong includes are found") {
    const std::pair<const char*, const char*> wrong[] = {
        {"engine/core/error.cpp", "#include \"engine/vk/device.h\""},
        {"engine/vk/device.cpp", "#include \"engine/graph/node.h\""},
        {"engine/graph/plan.cpp", "#include \"engine/ops/norm.h\""},
        {"engine/graph/plan.cpp", "#include \"engine/ops.h\""},
        {"engine/graph/plan.cpp", "#include \"shaders/softmax.h\""},
        {"engine/graph/plan.cpp", "#include <vulkan/vulkan.h>"},
        {"engine/graph/plan.cpp", "  #  include \"vulkan/vulkan_core.h\""},
        {"engine/ops/norm.cpp", "#include \"nn/module.h\""},
        {"engine/stithy.h", "#include \"nn/nn.h\""},
        {"nn/linear.cpp", "#include \"engine/vk/device_info.h\""},
        {"nn/linear.cpp", "#include \"shaders/matmul.h\""},
        {"nn/linear.cpp", "#include \"engine/ops/matmul.h\""},
        {"nn/linear.cpp", "#include \"tests/harness.h\""},
        {"nn/linear.cpp", "#include \"module.h\""},
        {"nn/linear.cpp", "#include <nn/module.h>"},
        {"nn/train.cpp", "#include <mpi.h>"},
        {"samples/digits_mlp/main.cpp", "#include \"engine/vk/device.h\""},
        {"samples/digits_mlp/main.cpp", "#include \"samples/gpt/model.h\""},
        {"tools/stithy/bench.cpp", "#include <vulkan/vulkan.h>"},
        {"tests/ops/norm.cpp", "#include <doctest/doctest.h>"},
        {"tests/harness.cpp", "#include \"shaders/softmax.h\"\n#include <doctest/doctest.h>"},
        {"tests/plan_test.cpp", "auto a = R\"(\n)\" + b + R\"(\n)\";\n#include \"wrong.h\""},
    };
    for (const auto& [file, text] : wrong) {
      CAPTURE(file);
      CAPTURE(text);
      CHECK(violations(file, std::string(text)).size() == 1);
    }
  }
}

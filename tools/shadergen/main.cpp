// shadergen SHADER.comp OUT_DIR [-I DIR]... [--glslang PROGRAM] [--spirv-opt PROGRAM]
// shadergen --embed OUT.cpp FILE...      C++ that holds the texts of the files, written only where it changed
//
// Compiles every kernel and variant of one shader to SPIR-V and writes, in OUT_DIR, with NAME the file's
// stem:
//   NAME.h, NAME.cpp   a typed call per kernel; written only where they changed
//   KERNEL.spv         one module per kernel and variant, as embedded
//   NAME.d             the files that NAME.stamp depends on, for make and ninja
//   NAME.stamp         written last: the names of the modules
// The shader says which kernels and variants it holds; glslang ignores both lines:
//   #pragma stithy kernels softmax softmax_backward   each compiled with KERNEL_<name> defined
//   #pragma stithy variants OP: exp log sqrt          each kernel compiled per value, with OP=<value> and
//   OP_<value>
//   #pragma stithy fuse softmax x y                   pointwise ops may be built into what it reads as x and
//   writes as y
//   #pragma stithy aids sum_slices                    a kernel that prepares or finishes the work of others
// Without --spirv-opt the modules are embedded as glslang wrote them.
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <set>
#include <span>

#include "engine/core/contraction.h"
#include "engine/core/error.h"
#include "tools/shadergen/generate.h"

extern char** environ;

namespace stithy::shadergen {
namespace {

namespace fs = std::filesystem;

struct Options {
  fs::path shader, out_dir;
  std::vector<fs::path> include_dirs;
  std::string glslang = "glslangValidator", spirv_opt;
};

Options parse(int argc, char** argv) {
  Options options;
  std::vector<std::string> places;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    const bool takes_value = word == "-I" || word == "--glslang" || word == "--spirv-opt";
    if (takes_value && i + 1 == argc) throw Error("shadergen", word + " needs a value");
    if (word == "-I") {
      options.include_dirs.emplace_back(argv[++i]);
    } else if (word == "--glslang") {
      options.glslang = argv[++i];
    } else if (word == "--spirv-opt") {
      options.spirv_opt = argv[++i];
    } else if (word.starts_with("-")) {
      throw Error("shadergen", "unknown option " + word);
    } else {
      places.push_back(word);
    }
  }
  if (places.size() != 2) {
    throw Error("shadergen",
                "usage: shadergen SHADER.comp OUT_DIR [-I DIR]... [--glslang PROGRAM] [--spirv-opt PROGRAM]");
  }
  options.shader = places[0];
  options.out_dir = places[1];
  return options;
}

std::string read_file(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  if (!in || !(text << in.rdbuf())) throw Error(path.string(), "cannot be read");
  return text.str();
}

void write_if_changed(const fs::path& path, const std::string& text) {
  if (fs::exists(path) && read_file(path) == text) return;
  std::ofstream out(path, std::ios::binary);
  if (!(out << text) || !out.flush()) throw Error(path.string(), "cannot be written");
}

std::vector<uint32_t> read_words(const fs::path& path) {
  const std::string bytes = read_file(path);
  if (bytes.empty() || bytes.size() % 4) throw Error(path.string(), "is no SPIR-V module");
  std::vector<uint32_t> words(bytes.size() / 4);
  std::memcpy(words.data(), bytes.data(), bytes.size());
  return words;
}

void write_words(const fs::path& path, std::span<const uint32_t> words) {
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char*>(words.data()), static_cast<std::streamsize>(words.size_bytes()));
  if (!file.flush()) throw Error(path.string(), "cannot be written");
}

struct Outcome {
  bool ok = false;
  std::string output;
};

Outcome run(const std::vector<std::string>& command) {
  int pipe_ends[2];
  if (pipe2(pipe_ends, O_CLOEXEC)) throw Error("shadergen", cat("pipe: ", std::strerror(errno)));
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, pipe_ends[1], STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, pipe_ends[1], STDERR_FILENO);
  std::vector<char*> arguments;
  for (const std::string& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  pid_t child = 0;
  const int failure = posix_spawnp(&child, arguments[0], &actions, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  close(pipe_ends[1]);
  Outcome outcome;
  char buffer[4096];
  for (;;) {
    const ssize_t n = read(pipe_ends[0], buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    outcome.output.append(buffer, static_cast<size_t>(n));
  }
  close(pipe_ends[0]);
  if (failure) throw Error("shadergen", cat("cannot run ", command[0], ": ", std::strerror(failure)));
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  outcome.ok = WIFEXITED(status) && WEXITSTATUS(status) == 0;
  return outcome;
}

// glslang writes "ERROR: file:line: text"; editors and people look for "file:line: error: text". Its
// summaries have no place in a file, and are printed only where nothing else is.
void print_messages(const std::string& output) {
  std::istringstream lines(output);
  std::string line, located, others;
  while (std::getline(lines, line)) {
    for (const auto& [prefix, kind] :
         {std::pair{"ERROR: ", "error: "}, std::pair{"WARNING: ", "warning: "}}) {
      if (!line.starts_with(prefix)) continue;
      const std::string rest = line.substr(std::strlen(prefix));
      const size_t file = rest.find(':');
      const size_t text = file == std::string::npos ? file : rest.find(": ", file + 1);
      if (text != std::string::npos && text > file + 1 &&
          rest.find_first_not_of("0123456789", file + 1) == text) {
        located += rest.substr(0, text + 2) + kind + rest.substr(text + 2) + "\n";
      } else {
        others += kind + rest + "\n";
      }
    }
  }
  std::cerr << (located.empty() ? others : located);
}

// The files that the shader includes, directly or not, looked up as glslang does.
void find_includes(const fs::path& file, const Options& options, std::set<fs::path>& found) {
  std::istringstream lines(read_file(file));
  std::string line;
  while (std::getline(lines, line)) {
    size_t at = line.find_first_not_of(" \t");
    if (at == std::string::npos || line[at] != '#') continue;
    at = line.find_first_not_of(" \t", at + 1);
    if (at == std::string::npos || line.compare(at, 7, "include")) continue;
    const size_t open = line.find('"', at), close = line.find('"', open + 1);
    if (open == std::string::npos || close == std::string::npos) continue;
    const std::string name = line.substr(open + 1, close - open - 1);
    std::vector<fs::path> places = {file.parent_path()};
    places.insert(places.end(), options.include_dirs.begin(), options.include_dirs.end());
    for (const fs::path& place : places) {
      if (!fs::exists(place / name)) continue;
      const fs::path path = fs::absolute(place / name).lexically_normal();
      if (found.insert(path).second) find_includes(path, options, found);
      break;
    }
  }
}

std::string depfile(const fs::path& stamp, const std::set<fs::path>& inputs) {
  const auto escaped = [](const fs::path& path) {
    std::string out;
    for (char c : path.string()) {
      if (c == ' ' || c == '#') out += '\\';
      if (c == '$') out += '$';
      out += c;
    }
    return out;
  };
  std::string text = escaped(stamp) + ":";
  for (const fs::path& input : inputs) text += " \\\n  " + escaped(input);
  return text + "\n";
}

Module compile(const Options& options, const Directives& directives, const std::string& kernel,
               const std::string& variant) {
  Module module;
  module.name = variant.empty() ? kernel : kernel + "_" + variant;
  const std::string label = cat(options.shader.string(), ": kernel ", module.name);
  const fs::path plain = options.out_dir / (module.name + ".plain.spv");
  const fs::path final = options.out_dir / (module.name + ".spv");

  std::vector<std::string> command = {options.glslang, "-V", "--target-env", "vulkan1.2", "-S", "comp"};
  for (const fs::path& dir : options.include_dirs) command.push_back("-I" + dir.string());
  std::vector<std::string> defines{"KERNEL_" + kernel};
  if (!variant.empty()) {
    defines.push_back(directives.variant_macro + "=" + variant);
    defines.push_back(directives.variant_macro + "_" + variant);
  }
  for (const std::string& define : defines) {
    command.push_back("-D" + define);
    module.defines += (module.defines.empty() ? "" : " ") + define;
  }
  command.insert(command.end(), {options.shader.string(), "-o", plain.string()});
  const Outcome compiled = run(command);
  print_messages(compiled.output);
  if (!compiled.ok) {
    const bool said = compiled.output.find("ERROR: ") != std::string::npos;
    throw Error(label, "glslang rejects it" + (said ? "" : ": " + compiled.output));
  }

  const std::vector<uint32_t> words = read_words(plain);
  module.facts = reflect(label, words);
  write_words(plain, without_contraction(words));
  if (options.spirv_opt.empty()) {
    fs::rename(plain, final);
  } else {
    const Outcome optimised = run({options.spirv_opt, "--target-env=vulkan1.2", "-O", "--strip-debug",
                                   plain.string(), "-o", final.string()});
    if (!optimised.ok) throw Error(label, "spirv-opt fails: " + optimised.output);
    fs::remove(plain);
  }
  module.spirv = read_words(final);
  return module;
}

void generate_shader(const Options& options) {
  const std::string stem = options.shader.stem().string();
  const Directives directives = read_directives(options.shader.string(), stem, read_file(options.shader));
  fs::create_directories(options.out_dir);

  std::vector<Kernel> kernels;
  for (const std::string& name : directives.kernels) {
    Kernel kernel{name, {}};
    if (directives.variants.empty()) kernel.modules.push_back(compile(options, directives, name, ""));
    for (const std::string& variant : directives.variants) {
      kernel.modules.push_back(compile(options, directives, name, variant));
      const std::string change = difference(kernel.modules.front().facts, kernel.modules.back().facts);
      if (!change.empty()) {
        throw Error(cat(options.shader.string(), ": kernel ", kernel.modules.back().name),
                    cat(change, " as in ", kernel.modules.front().name),
                    "the variants of a kernel must have one interface");
      }
    }
    kernels.push_back(std::move(kernel));
  }

  const Sources sources = generate(options.shader.string(), stem, directives, kernels);
  write_if_changed(options.out_dir / (stem + ".h"), sources.header);
  write_if_changed(options.out_dir / (stem + ".cpp"), sources.source);

  const fs::path stamp = fs::absolute(options.out_dir / (stem + ".stamp")).lexically_normal();
  std::set<fs::path> inputs = {fs::absolute(options.shader).lexically_normal()};
  find_includes(options.shader, options, inputs);
  write_if_changed(options.out_dir / (stem + ".d"), depfile(stamp, inputs));
  std::ofstream list(stamp);
  for (const Kernel& kernel : kernels) {
    for (const Module& module : kernel.modules) list << module.name << "\n";
  }
  if (!list.flush()) throw Error(stamp.string(), "cannot be written");
}

void embed_texts(const fs::path& out, std::span<char*> files) {
  std::map<std::string, std::string> texts;
  for (const fs::path file : files) texts[file.filename().string()] = read_file(file);
  write_if_changed(out, embed(texts));
}

}  // namespace
}  // namespace stithy::shadergen

int main(int argc, char** argv) {
  try {
    if (argc > 3 && std::string(argv[1]) == "--embed") {
      stithy::shadergen::embed_texts(argv[2], {argv + 3, argv + argc});
      return 0;
    }
    stithy::shadergen::generate_shader(stithy::shadergen::parse(argc, argv));
    return 0;
  } catch (const std::exception& error) {
    std::cerr << error.what() << "\n";
    return 1;
  }
}

#include "tools/stithy/static_targets.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <filesystem>
#include <map>
#include <memory>
#include <sstream>

#include "engine/core/error.h"

namespace stithy::figures {
namespace {

namespace fs = std::filesystem;

// AMD: families of Mesa's src/amd/common/amd_family.c. Intel: platforms of src/intel/dev/intel_device_info.c.
// NVIDIA: chipsets of https://nouveau.freedesktop.org/CodeNames.html.
constexpr Target kTargets[] = {
    {"polaris10", "AMD", "GCN 4", "polaris10"},
    {"vega10", "AMD", "GCN 5", "vega10"},
    {"vega20", "AMD", "GCN 5.1", "vega20"},
    {"raven", "AMD", "GCN 5", "raven"},
    {"renoir", "AMD", "GCN 5", "renoir"},
    {"navi10", "AMD", "RDNA", "navi10"},
    {"navi14", "AMD", "RDNA", "navi14"},
    {"navi21", "AMD", "RDNA 2", "navi21"},
    {"navi23", "AMD", "RDNA 2", "navi23"},
    {"rembrandt", "AMD", "RDNA 2", "rembrandt"},
    {"navi31", "AMD", "RDNA 3", "navi31"},
    {"navi33", "AMD", "RDNA 3", "navi33"},
    {"phoenix", "AMD", "RDNA 3", "phoenix"},
    {"gfx1150", "AMD", "RDNA 3.5", "gfx1150"},
    {"gfx1151", "AMD", "RDNA 3.5", "gfx1151"},
    {"gfx1200", "AMD", "RDNA 4", "gfx1200"},
    {"gfx1201", "AMD", "RDNA 4", "gfx1201"},
    {"skl", "Intel", "Gen 9", "skl"},
    {"icl", "Intel", "Gen 11", "icl"},
    {"tgl", "Intel", "Xe-LP", "tgl"},
    {"adl", "Intel", "Xe-LP", "adl"},
    {"dg2", "Intel", "Xe-HPG", "dg2"},
    {"mtl", "Intel", "Xe-LPG", "mtl"},
    {"lnl", "Intel", "Xe2", "lnl"},
    {"bmg", "Intel", "Xe2", "bmg"},
    {"turing", "NVIDIA", "Turing", "164"},
    {"turing_gtx", "NVIDIA", "Turing", "168"},
    {"ampere_a100", "NVIDIA", "Ampere", "170"},
    {"ampere", "NVIDIA", "Ampere", "172"},
    {"ada", "NVIDIA", "Ada", "192"},
};

using Environment = std::vector<std::pair<std::string, std::string>>;

std::string_view value_of(const char* variable) {
  const char* value = std::getenv(variable);
  return value ? value : "";
}

std::vector<std::string> split(std::string_view text, char at) {
  std::vector<std::string> parts;
  std::istringstream stream{std::string(text)};
  for (std::string part; std::getline(stream, part, at);)
    if (!part.empty()) parts.push_back(part);
  return parts;
}

std::string machine() {
  utsname name;
  return uname(&name) == 0 ? name.machine : "";
}

// The driver's manifest: one that the user names, else one of this machine's folders.
std::string manifest(const std::string& driver) {
  for (const char* variable : {"VK_DRIVER_FILES", "VK_ICD_FILENAMES"})
    for (const std::string& file : split(value_of(variable), ':'))
      if (fs::path(file).filename().string().starts_with(driver + "_icd")) return file;
  for (const char* folder : {"/usr/local/etc/vulkan/icd.d", "/usr/local/share/vulkan/icd.d",
                             "/etc/vulkan/icd.d", "/usr/share/vulkan/icd.d"})
    for (const std::string& name : {driver + "_icd.json", driver + "_icd." + machine() + ".json"})
      if (const fs::path file = fs::path(folder) / name; fs::exists(file)) return file.string();
  return {};
}

std::string shared_library(const std::string& name) {
  std::vector<std::string> folders = split(value_of("LD_LIBRARY_PATH"), ':');
  for (const std::string& folder :
       {std::string("/usr/local/lib"), "/usr/local/lib/" + machine() + "-linux-gnu",
        "/usr/lib/" + machine() + "-linux-gnu", std::string("/usr/lib64"), std::string("/usr/lib")})
    folders.push_back(folder);
  for (const std::string& folder : folders)
    if (const fs::path file = fs::path(folder) / name; fs::exists(file)) return file.string();
  return {};
}

// What makes the driver of this machine compile for the target.
Environment environment_for(const Target& target) {
  const std::string vendor = target.vendor;
  const std::string driver = vendor == "AMD" ? "radeon" : vendor == "Intel" ? "intel" : "nouveau";
  const std::string elsewhere = "or name a machine or container that can with --runner \"COMMAND {} --\"";
  const std::string file = manifest(driver);
  if (file.empty())
    throw Error(target.name, cat("there is no Vulkan driver file ", driver, "_icd.json on this machine"),
                cat("install Mesa's driver (Debian: mesa-vulkan-drivers), ", elsewhere));
  Environment result{{"VK_DRIVER_FILES", file}, {"VK_ICD_FILENAMES", file}};
  if (vendor == "AMD") {
    result.emplace_back("RADV_FORCE_FAMILY", target.choice);
    return result;
  }
  const std::string name = "lib" + driver + "_noop_drm_shim.so", shim = shared_library(name);
  if (shim.empty())
    throw Error(
        target.name, cat("there is no ", name, ", which stands for the GPU"),
        cat(vendor == "Intel" ? "build it from Mesa's source with -Dtools=drm-shim,intel and name its "
                                "folder in LD_LIBRARY_PATH, "
                              : "install it (Debian: mesa-drm-shim), ",
            elsewhere));
  result.emplace_back("LD_PRELOAD", shim);
  if (vendor == "Intel") {
    result.emplace_back("INTEL_STUB_GPU_PLATFORM", target.choice);
  } else {
    result.emplace_back("NOUVEAU_CHIPSET", target.choice);
    // Releases before 24.1 ask for it.
    result.emplace_back("NVK_I_WANT_A_BROKEN_VULKAN_DRIVER", "1");
  }
  return result;
}

std::vector<std::string> words_for(const std::string& command, const std::string& target) {
  std::vector<std::string> words = split(command, ' ');
  for (std::string& word : words)
    for (size_t at; (at = word.find("{}")) != std::string::npos;) word.replace(at, 2, target);
  return words;
}

constexpr size_t kLongestLine = size_t{1} << 30, kLongestMessage = 2000;

// Closes itself.
struct Descriptor {
  int value = -1;
  ~Descriptor() {
    if (value >= 0) close(value);
  }
};

// Lines as they come. Throws Error for one that does not end.
void read_lines(int from, const std::string& where, const std::function<void(const std::string&)>& take) {
  std::string line;
  std::vector<char> chunk(1 << 16);
  for (;;) {
    const ssize_t count = read(from, chunk.data(), chunk.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) break;
    for (ssize_t i = 0; i < count; ++i) {
      if (chunk[static_cast<size_t>(i)] != '\n') {
        line += chunk[static_cast<size_t>(i)];
        continue;
      }
      take(line);
      line.clear();
    }
    if (line.size() > kLongestLine) throw Error(where, "wrote a line that does not end");
  }
  if (!line.empty()) take(line);
}

std::string last_words(std::FILE* file) {
  std::fseek(file, 0, SEEK_END);
  const long size = std::ftell(file), begin = std::max(0L, size - static_cast<long>(kLongestMessage));
  std::fseek(file, begin, SEEK_SET);
  std::string text(static_cast<size_t>(size - begin), ' ');
  text.resize(std::fread(text.data(), 1, text.size(), file));
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back()))) text.pop_back();
  return text;
}

const Target& target_of(const std::string& name) {
  const auto known = std::ranges::find_if(kTargets, [&](const Target& t) { return name == t.name; });
  if (known != std::end(kTargets)) return *known;
  std::string names;
  for (const Target& t : kTargets) names += cat(names.empty() ? "" : " ", t.name);
  throw Error("--target", cat("does not know \"", name, "\""), cat("known are ", names));
}

}  // namespace

std::span<const Target> targets() { return kTargets; }

std::vector<std::string> split_targets(const std::string& list) { return split(list, ','); }

std::string architecture_of(const std::string& target) {
  const Target& known = target_of(target);
  return cat(known.vendor, " ", known.architecture);
}

Ended ask(const std::string& target, const Runner& runner, const std::vector<std::string>& arguments,
          const std::function<void(const std::string&)>& take) {
  std::vector<std::string> command = words_for(runner.stithy, target);
  if (command.empty()) command.push_back(fs::read_symlink("/proc/self/exe").string());
  command.insert(command.end(), arguments.begin(), arguments.end());
  return run_there(target, runner, command, {}, take);
}

Ended run_there(const std::string& target, const Runner& runner, const std::vector<std::string>& command,
                const std::vector<std::pair<std::string, std::string>>& variables,
                const std::function<void(const std::string&)>& take) {
  const Target& known = target_of(target);
  std::map<std::string, std::string> environment;
  for (char** pair = environ; *pair; ++pair)
    if (const char* equals = std::strchr(*pair, '='))
      environment[std::string(*pair, static_cast<size_t>(equals - *pair))] = equals + 1;
  if (runner.command.empty()) {
    for (const auto& [name, value] : environment_for(known)) environment[name] = value;
    environment.erase("STITHY_DEVICE");
  }
  for (const auto& [name, value] : variables) environment[name] = value;
  std::vector<std::string> words = words_for(runner.command, target);
  words.insert(words.end(), command.begin(), command.end());

  std::vector<std::string> pairs;
  for (const auto& [name, value] : environment) pairs.push_back(name + "=" + value);
  const auto pointers = [](std::vector<std::string>& strings) {
    std::vector<char*> result;
    for (std::string& string : strings) result.push_back(string.data());
    result.push_back(nullptr);
    return result;
  };
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> errors(std::tmpfile(), std::fclose);
  int ends[2];
  if (!errors || pipe2(ends, O_CLOEXEC) != 0)
    throw Error(target, cat("cannot start a process: ", std::strerror(errno)));
  const Descriptor output{ends[0]};
  pid_t child = 0;
  int failure = 0;
  {
    const Descriptor input{ends[1]};
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, fileno(errors.get()), STDERR_FILENO);
    failure = posix_spawnp(&child, words[0].c_str(), &actions, nullptr, pointers(words).data(),
                           pointers(pairs).data());
    posix_spawn_file_actions_destroy(&actions);
  }
  if (failure != 0) throw Error(target, cat("cannot run ", words[0], ": ", std::strerror(failure)));
  std::exception_ptr error;
  try {
    read_lines(output.value, target, take);
  } catch (...) {
    error = std::current_exception();
    // It waits for a reader that is gone.
    kill(child, SIGTERM);
  }
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (error) std::rethrow_exception(error);
  const Ended ended{WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), words[0],
                    last_words(errors.get())};
  if (!WIFEXITED(status)) refuse(target, ended);
  return ended;
}

void refuse(const std::string& target, const Ended& ended) {
  throw Error(target,
              cat("its compiler cannot be asked (", ended.command,
                  ended.status < 128 ? cat(" ended with ", ended.status)
                                     : cat(" was ended by signal ", ended.status - 128),
                  ")", ended.said.empty() ? "" : ": " + ended.said),
              "a newer Mesa knows more GPUs; --runner \"COMMAND {} --\" asks elsewhere");
}

}  // namespace stithy::figures

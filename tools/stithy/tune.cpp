// `stithy tune`: measures the ways in which ops can run, here or in a program of the user's, and explains
// what was chosen.
#include "engine/tune.h"

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <functional>
#include <limits>
#include <optional>

#include "engine/core/cache.h"
#include "engine/core/error.h"
#include "engine/graph/device.h"
#include "engine/graph/program.h"
#include "engine/ops.h"
#include "tools/stithy/bench_cases.h"
#include "tools/stithy/commands.h"

namespace stithy {
namespace {

// A candidate that ends its process costs a start; more than this is another trouble.
constexpr int kStarts = 100;

std::string ms_text(double ms) {
  char text[32];
  std::snprintf(text, sizeof text, ms < 0.1 ? "%.4f ms" : ms < 10 ? "%.3f ms" : "%.1f ms", ms);
  return text;
}

void show_entry(const TuneTable& table, const Choice& choice) {
  const size_t best = table.best(choice);
  const Trial* first = table.find(choice.key, choice.labels[0]);
  std::printf("\n%s\n", choice.key.c_str());
  size_t measured = 0;
  for (size_t i = 0; i < choice.labels.size(); ++i) {
    const Trial* trial = table.find(choice.key, choice.labels[i]);
    std::printf("  %c %-28s ", i == best ? '*' : ' ', choice.labels[i].c_str());
    if (!trial) {
      std::printf("not tried with these shaders");
    } else if (trial->outcome != Trial::Outcome::good) {
      std::printf("%s: %s", trial->outcome == Trial::Outcome::wrong ? "WRONG" : "FAILED",
                  trial->note.c_str());
    } else {
      ++measured;
      const auto [low, high] = std::ranges::minmax(trial->ms);
      std::printf("%10s  (%s to %s, %zu timings)  error %.2g of the bound",
                  ms_text(trial->quartile_ms()).c_str(), ms_text(low).c_str(), ms_text(high).c_str(),
                  trial->ms.size(), trial->error);
    }
    std::printf("%s%s\n", i == 0 ? "  [default]" : "", i == choice.plain ? "  [plain]" : "");
  }
  const Trial* winner = table.find(choice.key, choice.labels[best]);
  if (!winner || winner->outcome != Trial::Outcome::good)
    std::printf("  taken: %s, of which nothing good or bad is known\n", choice.labels[best].c_str());
  else if (best != 0 && first && first->outcome == Trial::Outcome::good)
    std::printf("  taken: the fastest of %zu, %.2f times as fast as the default\n", measured,
                first->quartile_ms() / winner->quartile_ms());
  else if (best != 0)
    std::printf("  taken: the fastest of %zu; the default is no choice\n", measured);
  else
    std::printf("  taken: the default; none of %zu is 3 percent faster\n", measured);
}

int show(const std::string& part) {
  TuneFile file(default_device_info());
  const TuneTable table = file.load();
  std::printf("device   %s (%s)\nresults  %s\n", default_device_info().name.c_str(),
              default_device_info().driver_info.c_str(),
              file.path().empty() ? "none: there is no cache folder" : file.path().c_str());
  size_t shown = 0;
  for (const auto& [key, entry] : table.entries())
    if (key.find(part) != std::string::npos) show_entry(table, entry.choice), ++shown;
  std::printf("\n%zu of %zu keys\n", shown, table.entries().size());
  return 0;
}

// Plans the training step of a workload, or an op in the shapes that `stithy bench` has for it: that tunes
// them.
bool plan_named(const std::string& name) {
  bool found = false;
  for (const measure::Workload& workload : measure::workloads()) {
    if (workload.name != name) continue;
    const measure::Training training = workload.make();
    training.trainer->plan(training.batch);
    found = true;
  }
  for (const measure::OpCase& test : measure::op_cases()) {
    if (test.op != name) continue;
    const measure::Graph graph = test.build();
    Program(graph.fetches, graph.updates);
    found = true;
  }
  return found;
}

// "512x1024x256": a product of [512, 1024] and [1024, 256] and the two of its gradient.
void plan_product(const std::string& text) {
  int64_t sizes[3] = {};
  const char* at = text.data();
  const char* end = at + text.size();
  for (int i = 0; i < 3; ++i) {
    const auto [next, code] = std::from_chars(at, end, sizes[i]);
    if (code != std::errc() || sizes[i] < 1 || (i < 2 ? next == end || *next != 'x' : next != end))
      throw Error(
          "stithy tune", cat("does not know \"", text, "\""),
          "name a workload or an op of stithy bench (mlp_wide, softmax), or the m x k x n of a matrix "
          "product (512x1024x256)");
    at = next + 1;
  }
  const auto [m, k, n] = sizes;
  const Tensor a = input("a", {m, k}), b = input("b", {k, n}), dc = input("dc", {m, n});
  Program({matmul(a, b), matmul(dc, transpose(b)), matmul(transpose(a), dc)});
}

volatile std::sig_atomic_t interrupted_by = 0;

// True when a process that is dead left a note of what it was trying.
bool died_trying() {
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(cache_folder(), ignored))
    if (entry.path().extension() == ".trying" && entry.file_size(ignored) > 0) return true;
  return false;
}

// Runs `child` in a process of its own, again while candidates end it. Ctrl-C reaches both: the child ends,
// and what it measured is on disk.
int watch(const std::function<int()>& child) {
  std::signal(SIGINT, [](int signal) { interrupted_by = signal; });
  std::signal(SIGTERM, [](int signal) { interrupted_by = signal; });
  for (int start = 0; start < kStarts; ++start) {
    std::fflush(nullptr);
    const pid_t process = fork();
    if (process < 0) throw Error("stithy tune", cat("cannot start a process: ", std::strerror(errno)));
    if (process == 0) {
      std::signal(SIGINT, SIG_DFL);
      std::signal(SIGTERM, SIG_DFL);
      _exit(child());
    }
    int status = 0;
    while (waitpid(process, &status, 0) < 0 && errno == EINTR)
      if (interrupted_by == SIGTERM) kill(process, SIGTERM);
    if (interrupted_by) {
      std::fprintf(stderr, "\nstopped; what was measured is kept, and the same command goes on from there\n");
      return 128 + interrupted_by;
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return 0;
    if (!died_trying()) return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    std::fprintf(stderr, "\nthe candidate being tried ended its process; it is noted, and tuning goes on\n");
  }
  throw Error("stithy tune", cat("gives up after ", kStarts, " starts"), "look at stithy tune --show");
}

int exec(std::span<const std::string> command) {
  setenv("STITHY_TUNE", "now", 1);
  std::vector<char*> arguments;
  for (const std::string& argument : command) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  execvp(arguments[0], arguments.data());
  std::fprintf(stderr, "stithy tune: cannot run %s: %s\n", arguments[0], std::strerror(errno));
  return 127;
}

int tune_workloads(const std::vector<std::string>& names, const TuneOptions& options) {
  try {
    set_tune_mode(TuneMode::now, options);
    std::fprintf(stderr, "device: %s\n", default_device_info().name.c_str());
    for (const std::string& name : names)
      if (!plan_named(name)) plan_product(name);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}

}  // namespace

int tune(std::span<const std::string> arguments) {
  std::vector<std::string> names;
  std::optional<std::string> part;
  TuneOptions options;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    const bool has_value = i + 1 < arguments.size();
    if (argument == "--") {
      if (!has_value) throw Error("stithy tune", "no program after --");
      if (!names.empty() || part) throw Error("stithy tune", "takes workloads or a program, not both");
      return watch([&] { return exec(arguments.subspan(i + 1)); });
    }
    if (argument == "--show") {
      part = has_value ? arguments[++i] : "";
    } else if (argument == "--again") {
      options.again = true;
    } else if (argument == "--device" && has_value) {
      setenv("STITHY_DEVICE", arguments[++i].c_str(), 1);
    } else if (argument == "--seconds" && has_value) {
      const std::string& text = arguments[++i];
      const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), options.limit_seconds);
      if (code != std::errc() || end != text.data() + text.size() || !(options.limit_seconds > 0))
        throw Error("stithy tune", cat("--seconds takes a number above 0, not \"", text, "\""));
    } else if (argument.starts_with("-")) {
      throw Error("stithy tune", cat("does not know ", argument),
                  "stithy tune [WORKLOAD | OP | MxKxN ...] [--seconds S] [--again] [--device D], "
                  "stithy tune --show [PART OF A KEY], or stithy tune -- PROGRAM ARGUMENTS");
    } else {
      names.push_back(argument);
    }
  }
  if (part) return show(*part);
  if (cache_folder().empty())
    throw Error("stithy tune", "there is no cache folder to keep results in", "set STITHY_CACHE to a folder");
  if (names.empty())
    for (const measure::Workload& workload : measure::workloads()) names.push_back(workload.name);
  return watch([&] { return tune_workloads(names, options); });
}

}  // namespace stithy

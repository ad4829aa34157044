#include "tools/stithy/profile_targets.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <tuple>

#include "engine/core/error.h"
#include "engine/core/file.h"
#include "tools/stithy/static_figures.h"
#include "tools/stithy/temporary_folder.h"

namespace stithy::profiling {
ProfiledTarget ask_target(const std::string& target, const figures::Runner& runner,
                          std::span<const std::string> command) {
  // Behind a runner, the folder for temporary files may be another one.
  const TemporaryFolder folder(runner.command.empty() ? std::filesystem::temp_directory_path()
                                                      : std::filesystem::current_path());
  const std::string file = folder.file("profile.json");
  const ProfileOptions options{.texts = true, .only_static = true};
  const figures::Ended ended = figures::run_there(
      target, runner, {command.begin(), command.end()},
      {{"STITHY_PROFILE", file}, {"STITHY_PROFILE_OPTIONS", options.to_text()}, {"STITHY_TUNE", "off"}},
      [](const std::string& line) { std::fprintf(stderr, "%s\n", line.c_str()); });
  if (!std::filesystem::exists(file)) figures::refuse(target, ended);
  Profile profile = parse_profile(read_file(file), file);
  if (profile.kernels.empty()) throw Error(target, cat(command[0], " made no program for it"));
  return {target, profile.device, profile.driver, profile.driver_info, std::move(profile.kernels)};
}

void print_targets(const std::vector<ProfiledTarget>& targets, size_t top) {
  for (const ProfiledTarget& target : targets) {
    std::vector<const ProfiledKernel*> kernels;
    for (const ProfiledKernel& kernel : target.kernels)
      if (kernel.statistics) kernels.push_back(&kernel);
    std::ranges::stable_sort(kernels, std::ranges::greater{}, [](const ProfiledKernel* kernel) {
      const vk::KernelStatistics& s = *kernel->statistics;
      return std::tuple(s.spills.value_or(0), s.cycles.value_or(s.instructions.value_or(0)));
    });
    std::printf(
        "\nshaders  of the same program by the compiler of %s (%s, %s)\n%-36s %5s %6s %7s %9s %7s %11s\n",
        target.target.c_str(), target.driver.c_str(), target.driver_info.c_str(), "kernel", "regs", "spills",
        "shared", "occupancy", "instr", "est. cycles");
    const size_t shown = top ? std::min(top, kernels.size()) : kernels.size();
    for (size_t i = 0; i < shown; ++i) {
      const vk::KernelStatistics& s = *kernels[i]->statistics;
      std::printf("%-36.36s %5s %6s %7s %9s %7s %11s\n", kernels[i]->name.c_str(),
                  figures::text_of(s.registers).c_str(), figures::text_of(s.spills).c_str(),
                  figures::text_of(s.shared_bytes).c_str(), figures::text_of(s.occupancy).c_str(),
                  figures::text_of(s.instructions).c_str(), figures::text_of(s.cycles).c_str());
    }
    if (shown < kernels.size()) std::printf("and %zu more (--top 0 shows all)\n", kernels.size() - shown);
    if (kernels.size() < target.kernels.size())
      std::printf("of %zu kernels the driver tells nothing\n", target.kernels.size() - kernels.size());
  }
}

}  // namespace stithy::profiling

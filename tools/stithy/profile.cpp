// stithy profile: where the time of a step goes, for any program that uses the library.
#include "engine/profile.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <optional>
#include <thread>

#include "engine/core/error.h"
#include "engine/core/file.h"
#include "engine/graph/device.h"
#include "engine/peaks.h"
#include "tools/stithy/commands.h"
#include "tools/stithy/profile_report.h"
#include "tools/stithy/profile_static.h"
#include "tools/stithy/profile_targets.h"
#include "tools/stithy/temporary_folder.h"

namespace stithy {
namespace {

using namespace profiling;

constexpr const char* kUsage =
    "stithy profile [OPTIONS] -- PROGRAM ARGUMENTS   runs the program and tells where its steps spend their "
    "time\n"
    "stithy profile --show FILE [OPTIONS]            the same of a profile that --save wrote\n"
    "stithy profile --static [--help] ...            what compilers make of the kernels, also those of other "
    "GPUs\n"
    "\n"
    "  --rounds N         measure N rounds (20): a step as it is, its kernels together, its kernels alone\n"
    "  --seconds S        begin no round later than that (60)\n"
    "  --warmup N         steps before (5)\n"
    "  --whole            let the program run to its end, instead of stopping it when enough is measured\n"
    "  --program NAME     of the programs that it makes, the one called so, or its number (the longest)\n"
    "  --by op|layer|kernel|call   what a line of the table is (op)\n"
    "  --op, --layer, --kernel, --phase PATTERN   only these; * stands for any text\n"
    "  --counters PATTERN hardware counters in the table (the driver's first three), where it has any\n"
    "  --top N            lines (20; 0: all)\n"
    "  --baseline FILE    compare with a profile; exit code 3 where something is slower by more than\n"
    "  --threshold P      percent (5), beyond what the runs differ by among themselves\n"
    "  --save FILE, --jsonl FILE, --perfetto FILE, --html FILE   what was measured, for later, for programs, "
    "for\n"
    "                     ui.perfetto.dev, for a browser\n"
    "  --target T,T,...   also what the compilers of other GPUs make of the program (stithy profile --static "
    "--targets),\n"
    "  --runner COMMAND   ... asked through it: \"COMMAND {} --\" with {} for the target\n"
    "  --device D         as in stithy doctor";

struct Options {
  ProfileOptions measuring;
  ReportOptions report;
  std::optional<std::string> show, save;
  bool whole = false, help = false;
  std::vector<std::string> targets;
  figures::Runner runner;
  std::span<const std::string> command;
};

int number_of(const std::string& option, const std::string& text, int least) {
  int value = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (code != std::errc() || end != text.data() + text.size() || value < least)
    throw Error("stithy profile",
                cat(option, " takes a whole number from ", least, " on, not \"", text, "\""));
  return value;
}

View view_of(const std::string& text) {
  constexpr std::pair<const char*, View> kViews[] = {
      {"op", View::op}, {"layer", View::layer}, {"kernel", View::kernel}, {"call", View::call}};
  for (const auto& [name, view] : kViews)
    if (text == name) return view;
  throw Error("stithy profile", cat("--by takes op, layer, kernel or call, not \"", text, "\""));
}

Options parse(std::span<const std::string> arguments) {
  Options options;
  ReportOptions& report = options.report;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string& a = arguments[i];
    const auto value = [&]() -> const std::string& {
      if (i + 1 == arguments.size() || arguments[i + 1] == "--")
        throw Error("stithy profile", a + " needs a value", "stithy profile --help");
      return arguments[++i];
    };
    if (a == "--") {
      options.command = arguments.subspan(i + 1);
      if (options.command.empty()) throw Error("stithy profile", "no program after --");
      break;
    }
    if (a == "--help" || a == "-h")
      options.help = true;
    else if (a == "--rounds")
      options.measuring.rounds = number_of(a, value(), 1);
    else if (a == "--seconds")
      options.measuring.seconds = number_of(a, value(), 0);
    else if (a == "--warmup")
      options.measuring.warmup = number_of(a, value(), 0);
    else if (a == "--whole")
      options.whole = true;
    else if (a == "--program")
      report.program = value();
    else if (a == "--by")
      report.view = view_of(value());
    else if (a == "--op")
      report.filter.op = value();
    else if (a == "--layer")
      report.filter.layer = value();
    else if (a == "--kernel")
      report.filter.kernel = value();
    else if (a == "--phase")
      report.filter.phase = value();
    else if (a == "--counters")
      report.counters = value();
    else if (a == "--top")
      report.top = static_cast<size_t>(number_of(a, value(), 0));
    else if (a == "--baseline")
      report.baseline = value();
    else if (a == "--threshold")
      report.threshold = number_of(a, value(), 0) / 100.0;
    else if (a == "--show")
      options.show = value();
    else if (a == "--save")
      options.save = value();
    else if (a == "--jsonl")
      report.jsonl = value();
    else if (a == "--perfetto")
      report.perfetto = value();
    else if (a == "--html")
      report.html = value(), options.measuring.texts = true;  // the page shows them
    else if (a == "--target")
      options.targets = figures::split_targets(value());
    else if (a == "--runner")
      options.runner.command = value();
    else if (a == "--device")
      setenv("STITHY_DEVICE", value().c_str(), 1);
    else
      throw Error("stithy profile", "does not know " + a,
                  "a program stands after --: stithy profile -- PROGRAM; stithy profile --help");
  }
  if (options.help) return options;
  if (options.show.has_value() == !options.command.empty())
    throw Error("stithy profile",
                options.show ? "takes a program or --show, not both" : "what shall be profiled?",
                "stithy profile -- PROGRAM ARGUMENTS; stithy profile --help");
  if (options.show && !options.targets.empty())
    throw Error("stithy profile", "--target needs the program itself, not --show");
  for (const std::string& target : options.targets)
    figures::architecture_of(target);  // throws where it is unknown
  return options;
}

pid_t start(const Options& options, const std::string& file) {
  std::fflush(nullptr);
  const pid_t process = fork();
  if (process < 0) throw Error("stithy profile", cat("cannot start a process: ", std::strerror(errno)));
  if (process > 0) return process;
  std::signal(SIGINT, SIG_DFL);
  setenv("STITHY_PROFILE", file.c_str(), 1);
  setenv("STITHY_PROFILE_OPTIONS", options.measuring.to_text().c_str(), 1);
  // What the program prints does not mix with the table.
  dup2(STDERR_FILENO, STDOUT_FILENO);
  std::vector<char*> arguments;
  for (const std::string& argument : options.command)
    arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  execvp(arguments[0], arguments.data());
  std::fprintf(stderr, "stithy profile: cannot run %s: %s\n", arguments[0], std::strerror(errno));
  _exit(127);
}

// Runs the program until its profile is there, or to its end.
Profile measure(const Options& options) {
  const TemporaryFolder folder(std::filesystem::temp_directory_path());
  const std::string file = folder.file("profile.json");
  const Peaks before = measure_peaks();
  // Ctrl-C reaches the program, too, which writes what it has.
  std::signal(SIGINT, SIG_IGN);
  const pid_t process = start(options, file);
  using Clock = std::chrono::steady_clock;
  std::optional<Clock::time_point> written;
  constexpr std::pair<int, int> kStops[] = {{SIGINT, 0}, {SIGTERM, 15}, {SIGKILL, 20}};  // after seconds
  size_t stop = 0;
  int status = 0;
  for (pid_t ended = 0; ended == 0;) {
    ended = waitpid(process, &status, WNOHANG);
    if (ended < 0 && errno == EINTR) ended = 0;
    if (ended != 0) break;
    if (!options.whole && !written && std::filesystem::exists(file)) written = Clock::now();
    while (written && stop < std::size(kStops) &&
           Clock::now() - *written >= std::chrono::seconds(kStops[stop].second))
      kill(process, kStops[stop++].first);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  std::signal(SIGINT, SIG_DFL);
  const bool failed = stop == 0 && !(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  const std::string end =
      WIFEXITED(status) ? cat("with exit code ", WEXITSTATUS(status)) : cat("by signal ", WTERMSIG(status));
  if (!std::filesystem::exists(file))
    throw Error("stithy profile", cat(options.command[0], " ended ", end, " and left no profile"),
                failed ? "" : "does it use the library, and train or predict?");
  if (failed)
    std::fprintf(stderr, "%s ended %s; what was measured until then follows\n", options.command[0].c_str(),
                 end.c_str());
  Profile profile = parse_profile(read_file(file), file);
  profile.command.assign(options.command.begin(), options.command.end());
  // The machine may do other work now or have done then: the better of the two.
  const Peaks after = measure_peaks();
  profile.peaks = {.flops = std::max(before.flops, after.flops),
                   .bytes_per_second = std::max(before.bytes_per_second, after.bytes_per_second)};
  return profile;
}

}  // namespace

int profile(std::span<const std::string> arguments) {
  const auto program = std::ranges::find(arguments, "--");
  if (std::find(arguments.begin(), program, "--static") != program) return profile_static(arguments);
  const Options options = parse(arguments);
  if (options.help) {
    std::printf("%s\n", kUsage);
    return 0;
  }
  // A file that cannot be read must not cost a measurement.
  std::optional<Profile> baseline;
  if (options.report.baseline)
    baseline = parse_profile(read_file(*options.report.baseline), *options.report.baseline);
  Profile profile = options.show ? parse_profile(read_file(*options.show), *options.show) : measure(options);
  bool silent = false;  // a target
  for (const std::string& target : options.targets) try {
      profile.targets.push_back(ask_target(target, options.runner, options.command));
    } catch (const Error& error) {
      std::fprintf(stderr, "%s\n", error.what());
      silent = true;
    }
  if (options.save) write_file_atomically(*options.save, to_json(profile));
  const int result = report(profile, baseline ? &*baseline : nullptr, options.report);
  return silent && result == 0 ? 1 : result;
}

}  // namespace stithy

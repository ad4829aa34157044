#include "tools/stithy/profile_static.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <set>

#include "engine/core/error.h"
#include "engine/core/file.h"
#include "engine/graph/device.h"
#include "nn/module.h"
#include "tools/stithy/static_figures.h"
#include "tools/stithy/static_targets.h"

namespace stithy {
namespace {

using figures::Change;
using figures::KernelFigures;
using figures::text_of;

constexpr const char* kUsage =
    "stithy profile --static [OPTIONS]   what compilers make of the kernels: registers, spills, occupancy, "
    "cycles\n"
    "\n"
    "  --target T,T,...   the compilers of these GPUs instead of the device here; --targets lists them\n"
    "  --runner COMMAND   ... asked through it: \"COMMAND {} --\" with {} for the target\n"
    "  --stithy COMMAND   ... what to start there (this program)\n"
    "  --device D         as in stithy doctor\n"
    "  --kernels PATTERN  only these; * stands for any text\n"
    "  --variants         also what only tuning may choose, and kernels of other devices\n"
    "  --mix              the instructions by their kind\n"
    "  --isa FOLDER       the compilers' texts, a file a kernel\n"
    "  --json FILE|-      a line a kernel, for --baseline and for programs; --texts puts the texts in\n"
    "  --baseline FILE    compare with such lines; exit code 3 where a figure is worse\n"
    "  --keep FOLDER      a table a target, as in tests/compilers";
constexpr const char* kHint = "stithy profile --static --help";

struct Options {
  std::vector<std::string> targets;
  figures::Runner runner;
  figures::Collect collect;
  bool mix = false, texts = false, list = false, help = false;
  std::string isa, json, baseline, keep;
  std::optional<std::string> device;

  bool captures() const { return mix || texts || !isa.empty(); }
};

Options parse(std::span<const std::string> arguments) {
  Options options;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string& a = arguments[i];
    const auto value = [&] {
      if (i + 1 == arguments.size()) throw Error("stithy profile --static", a + " needs a value", kHint);
      return arguments[++i];
    };
    if (a == "--static") continue;
    if (a == "--help" || a == "-h") {
      options.help = true;
    } else if (a == "--targets") {
      options.list = true;
    } else if (a == "--target") {
      options.targets = figures::split_targets(value());
    } else if (a == "--runner") {
      options.runner.command = value();
    } else if (a == "--stithy") {
      options.runner.stithy = value();
    } else if (a == "--kernels") {
      options.collect.pattern = value();
    } else if (a == "--variants") {
      options.collect.variants = true;
    } else if (a == "--mix") {
      options.mix = true;
    } else if (a == "--texts") {
      options.texts = true;
    } else if (a == "--isa") {
      options.isa = value();
    } else if (a == "--json") {
      options.json = value();
    } else if (a == "--keep") {
      options.keep = value();
    } else if (a == "--baseline") {
      options.baseline = value();
    } else if (a == "--device") {
      options.device = value();
    } else {
      throw Error("stithy profile --static", "does not know " + a, kHint);
    }
  }
  const bool elsewhere = !options.runner.command.empty() || !options.runner.stithy.empty();
  if (options.targets.empty() && elsewhere)
    throw Error("stithy profile --static", "--runner and --stithy need a --target", kHint);
  if (!options.targets.empty() && options.device)
    throw Error("stithy profile --static", "--device and --target exclude each other", kHint);
  if (!options.keep.empty() && (options.targets.empty() || options.collect.pattern != "*"))
    throw Error("stithy profile --static", "--keep takes all kernels of a --target", kHint);
  options.collect.texts = options.captures();
  return options;
}

std::string text_of(const std::optional<vk::InstructionMix>& mix) {
  if (!mix) return "-";
  std::string text;
  for (size_t i = 0; i < vk::kInstructionClasses; ++i)
    if (mix->counts[i])
      text +=
          cat(text.empty() ? "" : " ", name_of(static_cast<vk::InstructionClass>(i)), " ", mix->counts[i]);
  return text;
}

std::string text_of(const Change& change) {
  const bool more = change.now > change.before;
  return cat(more ? "+" : "-", more ? change.now - change.before : change.before - change.now, " ",
             change.figure);
}

// The one that says most: what got worse before what got better, by the order of the figures.
std::string summary_of(const std::vector<Change>& changes) {
  if (changes.empty()) return "+0";
  const Change* worst = &changes.front();
  const auto rank = [](const Change& change) {
    static constexpr std::string_view kOrder[] = {"failures",      "spills", "occupancy",   "registers",
                                                  "scratch_bytes", "cycles", "instructions"};
    const auto place = std::ranges::find(kOrder, change.figure) - std::begin(kOrder);
    return std::tuple(!change.worse, place,
                      change.now > change.before ? change.before - change.now : change.now - change.before);
  };
  for (const Change& change : changes)
    if (rank(change) < rank(*worst)) worst = &change;
  return text_of(*worst) + (worst->worse ? " !" : "");
}

class Report {
 public:
  explicit Report(const Options& options) : options_(options), quiet_(options.json == "-") {
    if (options.baseline.empty()) return;
    for (KernelFigures& kernel : figures::read_figures(options.baseline)) {
      std::pair key{kernel.target, kernel.kernel};
      baseline_.insert_or_assign(std::move(key), std::move(kernel));
    }
  }

  void add(KernelFigures kernel) {
    if (!options_.isa.empty()) figures::write_texts(options_.isa, kernel);
    if (quiet_)
      std::printf("%s\n", to_json(kernel, options_.texts).c_str());
    else if (!options_.json.empty())
      lines_ += to_json(kernel, options_.texts) + "\n";
    Total& total = totals_[kernel.target];
    if (total.kernels++ == 0) {
      total.device = cat(kernel.device, ", ", kernel.driver, ", ", kernel.driver_info);
      order_.push_back(kernel.target);
      print_head(kernel.target, total.device);
    }
    const vk::KernelStatistics s = kernel.largest();
    total.pipelines += kernel.pipelines.size();
    total.spilling += kernel.spilling(figures::Use::standard) > 0;
    total.tuned_spilling += kernel.spilling(figures::Use::tuned);
    total.silent += !s.spills && kernel.failures() < kernel.pipelines.size();
    total.failures += kernel.failures();
    for (const figures::PipelineFigures& pipeline : kernel.pipelines) {
      if (!pipeline.error.empty())
        notes_.push_back(cat(kernel.target, ": ", kernel.kernel, " does not compile: ", pipeline.error, " (",
                             pipeline.spec, ")"));
      else if (pipeline.statistics.spills.value_or(0) > 0 && pipeline.use != figures::Use::elsewhere)
        notes_.push_back(cat(kernel.target, ": ", kernel.kernel, " spills ", *pipeline.statistics.spills,
                             pipeline.use == figures::Use::tuned ? ", where tuning may choose it: " : ": ",
                             pipeline.spec));
    }
    std::string against;
    if (!options_.baseline.empty()) {
      const auto found = baseline_.find({kernel.target, kernel.kernel});
      against = found == baseline_.end() ? "new" : compare(found->second, kernel);
      if (found != baseline_.end()) baseline_.erase(found);
    }
    if (!quiet_)
      std::printf("%-30s %-11s %5s %6s %7s %9s %7s %11s%s%s%s%s\n", kernel.kernel.c_str(),
                  kernel.target.c_str(), text_of(s.registers).c_str(), text_of(s.spills).c_str(),
                  text_of(s.shared_bytes).c_str(), text_of(s.occupancy).c_str(),
                  text_of(s.instructions).c_str(), text_of(s.cycles).c_str(), against.empty() ? "" : "  ",
                  against.c_str(), options_.mix ? "  " : "", options_.mix ? text_of(s.mix).c_str() : "");
    if (options_.keep.empty()) return;
    for (figures::PipelineFigures& pipeline : kernel.pipelines) pipeline.statistics.executables.clear();
    kept_[kernel.target].push_back(std::move(kernel));
  }

  bool failed(const std::string& target) const {
    return totals_.contains(target) && totals_.at(target).failures > 0;
  }
  void fail(const std::string& target, const std::string& error) {
    errors_.push_back(error);
    kept_.erase(target);
  }

  int finish() {
    if (!options_.json.empty() && !quiet_) write_file_atomically(options_.json, lines_);
    for (const auto& [target, kernels] : kept_)
      write_file_atomically(options_.keep + "/" + target + ".txt",
                            kept_table(figures::architecture_of(target), kernels));
    std::FILE* out = quiet_ ? stderr : stdout;
    std::fprintf(out, "\n");
    for (const std::string& note : notes_) std::fprintf(out, "%s\n", note.c_str());
    for (const std::string& target : order_) {
      const Total& t = totals_.at(target);
      std::fprintf(out, "%s (%s): %zu kernels in %zu pipelines, %zu kernels spill", target.c_str(),
                   t.device.c_str(), t.kernels, t.pipelines, t.spilling);
      if (t.tuned_spilling)
        std::fprintf(out, ", %zu pipelines spill that only tuning may choose", t.tuned_spilling);
      if (t.silent) std::fprintf(out, ", of %zu the driver does not tell", t.silent);
      std::fprintf(out, ", %zu pipelines do not compile\n", t.failures);
    }
    size_t regressions = 0, failures = 0;
    for (const auto& [target, total] : totals_) failures += total.failures;
    if (!options_.baseline.empty()) {
      for (const std::string& line : better_) std::fprintf(out, "better: %s\n", line.c_str());
      for (const std::string& line : worse_) std::fprintf(out, "worse: %s\n", line.c_str());
      for (const auto& [key, kernel] : baseline_)
        if (totals_.contains(key.first) && nn::name_matches(options_.collect.pattern, key.second))
          std::fprintf(out, "gone: %s %s\n", key.first.c_str(), key.second.c_str());
      regressions = worse_.size();
      std::fprintf(out, "%zu figures worse, %zu better than in %s\n", worse_.size(), better_.size(),
                   options_.baseline.c_str());
    }
    for (const std::string& error : errors_) std::fprintf(stderr, "%s\n", error.c_str());
    return !errors_.empty() || failures ? 1 : regressions ? 3 : 0;
  }

 private:
  struct Total {
    std::string device;
    size_t kernels = 0, pipelines = 0, spilling = 0, tuned_spilling = 0, silent = 0, failures = 0;
  };

  void print_head(const std::string& target, const std::string& device) const {
    if (quiet_) return;
    std::printf("%s%s: %s\n%-30s %-11s %5s %6s %7s %9s %7s %11s%s%s\n", order_.size() > 1 ? "\n" : "",
                target.c_str(), device.c_str(), "kernel", "target", "regs", "spills", "shared", "occupancy",
                "instr", "est. cycles", options_.baseline.empty() ? "" : "  vs base",
                options_.mix ? "  mix" : "");
  }

  std::string compare(const KernelFigures& before, const KernelFigures& now) {
    const std::vector<Change> changes = figures::changes_between(before, now);
    for (const Change& change : changes)
      (change.worse ? worse_ : better_)
          .push_back(cat(now.target, " ", now.kernel, " ", change.figure, " ", change.before, " -> ",
                         change.now, ": ", change.spec));
    return summary_of(changes);
  }

  const Options& options_;
  bool quiet_;
  std::map<std::pair<std::string, std::string>, KernelFigures> baseline_;
  std::map<std::string, Total> totals_;
  std::map<std::string, std::vector<KernelFigures>> kept_;
  std::vector<std::string> order_, notes_, worse_, better_, errors_;
  std::string lines_;
};

}  // namespace

int profile_static(std::span<const std::string> arguments) {
  const Options options = parse(arguments);
  if (options.help) {
    std::printf("%s\n", kUsage);
    return 0;
  }
  if (options.list) {
    for (const figures::Target& target : figures::targets())
      std::printf("%-12s %s %s\n", target.name, target.vendor, target.architecture);
    return 0;
  }
  Report report(options);
  if (options.targets.empty()) {
    // What was measured on this machine is not what others get.
    setenv("STITHY_TUNE", "off", 1);
    if (options.device) set_default_device(*options.device);
    figures::collect(options.collect, "here", [&](KernelFigures kernel) { report.add(std::move(kernel)); });
    return report.finish();
  }
  std::vector<std::string> words{"profile", "--static", "--json", "-", "--kernels", options.collect.pattern};
  if (options.collect.variants) words.push_back("--variants");
  if (options.mix) words.push_back("--mix");
  if (options.texts || !options.isa.empty()) words.push_back("--texts");
  for (const std::string& target : options.targets) try {
      const figures::Ended ended = figures::ask(target, options.runner, words, [&](const std::string& line) {
        KernelFigures kernel = figures::parse_kernel(line, target);
        kernel.target = target;
        report.add(std::move(kernel));
      });
      // A kernel that does not compile is a line of the report.
      if (ended.status != 0 && !report.failed(target)) figures::refuse(target, ended);
    } catch (const Error& error) {
      report.fail(target, error.what());
    }
  return report.finish();
}

}  // namespace stithy

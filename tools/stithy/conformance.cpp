// `stithy conformance`: runs every row of every op, and short training runs, on a device, and writes what
// came of it as a certificate: conformance.json and conformance.html.
#include <algorithm>
#include <cctype>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <tuple>

#include "engine/core/clock.h"
#include "engine/core/error.h"
#include "engine/core/file.h"
#include "engine/graph/device.h"
#include "nn/interrupt.h"
#include "nn/module.h"
#include "nn/run/progress.h"
#include "tools/stithy/commands.h"
#include "tools/stithy/conformance_certificate.h"
#include "tools/stithy/conformance_training.h"
#include "tools/stithy/conformance_worker.h"
#include "tools/stithy/self_test.h"

namespace stithy {
namespace {

using namespace certify;
using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

constexpr const char* kName = "stithy conformance";
constexpr uint64_t kLargestCertificate = 16u << 20;
// What they say belongs to the result: a device that pretends is not the one that is named.
constexpr const char* kVariables[] = {"STITHY_PRETEND", "STITHY_DEBUG", "STITHY_VALIDATION",
                                      "STITHY_MEMORY_LIMIT"};

struct Options {
  std::string out, only, except;
  bool quick = false, compact = false;
  double limit = 600;  // seconds for one check
};

// One thing to check.
struct Item {
  enum class Kind : uint8_t { device, test, nan_finder, training, offered } kind;
  const testing::Row* row = nullptr;
  const testing::Case* test = nullptr;
  bool quick = false;
  bool extra = false;  // only where it launches kernels that nothing before it did
  std::string run = {};
};

// What a certificate says that it is of; empty: everything.
std::string part_of(const Options& options) {
  if (options.except.empty()) return options.only;
  return cat(options.only.empty() ? "*" : options.only, " except ", options.except);
}

std::vector<Item> items_of(const Options& options) {
  using Kind = Item::Kind;
  const auto wanted = [&](const std::string& name) {
    return (options.only.empty() || nn::name_matches(options.only, name)) &&
           (options.except.empty() || !nn::name_matches(options.except, name));
  };
  std::vector<Item> items{{Kind::device}};
  for (const testing::Row& row : testing::rows())
    for (const testing::Case& test : row.cases)
      if (wanted(row.op)) items.push_back({Kind::test, &row, &test, options.quick});
  if (wanted("find_nan")) items.push_back({Kind::nan_finder});
  for (const TrainingRun& run : training_runs())
    if (wanted(run.name)) items.push_back({.kind = Kind::training, .run = run.name});
  if (items.size() == 1)
    throw Error(
        kName, cat("nothing matches \"", part_of(options), "\""),
        "name an op (stithy ops lists them), find_nan or a training run (mlp, cnn, lstm, gpt); * stands "
        "for any text");
  // Kernels that only tuning would take run in a case that can take them.
  if (options.quick)
    for (size_t i = 1, n = items.size(); i < n; ++i)
      if (items[i].kind == Kind::test) {
        Item again = items[i];
        again.quick = false, again.extra = true;
        items.push_back(again);
      }
  items.push_back({Kind::offered});
  return items;
}

std::string name_of(const Item& item) {
  switch (item.kind) {
    case Item::Kind::device: return "the device";
    case Item::Kind::test: return cat(item.row->op, " (", item.test->name, ")");
    case Item::Kind::nan_finder: return "find_nan";
    case Item::Kind::training: return "training " + item.run;
    case Item::Kind::offered: return "the list of kernels";
  }
  return "";
}

CaseResult result_of(const Item& item) {
  CaseResult result;
  result.op = item.row->op, result.name = item.test->name;
  result.tolerance = item.test->tolerance, result.gradient_tolerance = item.test->gradient_tolerance;
  return result;
}

TrainingResult result_of(const TrainingRun& run) {
  return {.name = run.name, .about = run.about, .reference = run.reference, .tolerance = run.tolerance};
}

// Runs in the child, which alone has the device.
class Worker {
 public:
  explicit Worker(const std::vector<Item>& items) : items_(items) {}

  Reply operator()(size_t index) {
    const Item& item = items_[index];
    switch (item.kind) {
      case Item::Kind::device: return {Json(facts_of(default_device_info())).dump(-1, ' ', false, kReplace)};
      case Item::Kind::test: return run(item);
      case Item::Kind::nan_finder: return reply(test_nan_finder());
      case Item::Kind::training: return reply(Json(train(item.run)).dump());
      case Item::Kind::offered: return {Json(offered()).dump()};
    }
    return {};
  }

 private:
  static constexpr auto kReplace = Json::error_handler_t::replace;

  // A lost device stays lost for the process.
  static Reply reply(std::string text) {
    const bool lost = text.find("device lost") != std::string::npos;
    return {std::move(text), lost};
  }

  Reply run(const Item& item) {
    if (item.extra) {
      const std::set<std::string> kernels =
          testing::kernels_of({item.row->op, {*item.test}}, default_device_info());
      if (std::ranges::includes(launched_, kernels)) return {};
    }
    const double start = host_seconds();
    const testing::Verdict verdict = run_case(*item.row, *item.test, item.quick);
    launched_.insert(verdict.kernels.begin(), verdict.kernels.end());
    CaseResult result = result_of(item);
    result.failures = verdict.failures;
    result.forward_error = verdict.forward_error;
    result.gradient_checks = verdict.gradient_checks;
    result.gradient_error = verdict.gradient_error;
    result.kernels.assign(verdict.kernels.begin(), verdict.kernels.end());
    result.seconds = host_seconds() - start;
    return reply(to_json(result).dump(-1, ' ', false, kReplace));
  }

  std::set<std::string> offered() const {
    std::set<std::string> kernels{"find_nan"};
    for (const testing::Row& row : testing::rows())
      kernels.merge(testing::kernels_of(row, default_device_info()));
    return kernels;
  }

  const std::vector<Item>& items_;
  std::set<std::string> launched_;
};

// Gathers what the children report.
class Results {
 public:
  explicit Results(const std::vector<Item>& items) : items_(items) {}

  // True for a check that passed, or had nothing to do.
  bool take(size_t index, const std::string& text) {
    const Item& item = items_[index];
    switch (item.kind) {
      case Item::Kind::device: certificate.device = Json::parse(text); return true;
      case Item::Kind::test: {
        if (text.empty()) return true;
        return add(case_from_json(Json::parse(text)), item.extra);
      }
      case Item::Kind::nan_finder: return add_nan_finder(text);
      case Item::Kind::training: return add(item, Json::parse(text).get<std::vector<double>>());
      case Item::Kind::offered: offered_ = Json::parse(text).get<std::set<std::string>>(); return true;
    }
    return true;
  }

  void fail(size_t index, const std::string& why) {
    const Item& item = items_[index];
    if (item.kind == Item::Kind::device) throw Error(kName, cat("cannot open the device: ", why));
    if (item.kind == Item::Kind::nan_finder) add_nan_finder(why);
    if (item.kind == Item::Kind::offered) return;
    if (item.kind == Item::Kind::test) {
      CaseResult result = result_of(item);
      result.failures.push_back(why);
      result.forward_error = std::numeric_limits<double>::infinity();
      for (const std::string& kernel : testing::kernels_of({item.row->op, {*item.test}}))
        result.kernels.push_back(kernel);
      add(std::move(result), item.extra);
    }
    if (item.kind == Item::Kind::training) {
      TrainingResult& result = certificate.training.emplace_back(result_of(run_of(item)));
      result.deviation = std::numeric_limits<double>::infinity();
      result.failure = why;
    }
  }

  void finish() {
    for (const KernelInfo* kernel : all_kernels()) {
      KernelResult result{std::string(kernel->name), spirv_hash(*kernel), 0, 0, ""};
      const auto found = kernels_.find(result.name);
      if (found != kernels_.end())
        std::tie(result.passed, result.failed) = found->second;
      else if (!certificate.only.empty())
        result.not_launched = "not asked for";
      else
        result.not_launched =
            offered_.contains(result.name) ? "its cases ended before they launched it" : "for other devices";
      certificate.kernels.push_back(std::move(result));
    }
  }

  int checks() const { return checks_; }
  int failed() const { return failed_; }
  Certificate certificate;

 private:
  bool book(bool passed) {
    ++checks_, failed_ += !passed;
    return passed;
  }

  bool add(CaseResult result, bool again) {
    for (const std::string& kernel : result.kernels)
      ++(result.passed() ? kernels_[kernel].first : kernels_[kernel].second);
    const bool passed = result.passed();
    if (!again) {
      certificate.cases.push_back(std::move(result));
      return book(passed);
    }
    // The same case, now with all of its checks: one verdict.
    for (CaseResult& first : certificate.cases)
      if (first.op == result.op && first.name == result.name) first = std::move(result);
    return book(passed);
  }

  bool add_nan_finder(const std::string& failure) {
    CaseResult result{"find_nan", "a planted NaN", {}, 0, 0, 0, 0, 0, {"find_nan"}, 0};
    if (!failure.empty()) result.failures.push_back(failure);
    return add(std::move(result), false);
  }

  bool add(const Item& item, std::vector<double> losses) {
    TrainingResult result = result_of(run_of(item));
    result.losses = std::move(losses);
    result.deviation = deviation(result.losses, result.reference);
    if (!(result.deviation <= result.tolerance))
      result.failure = cat("the loss is off by ", result.deviation, ", more than ", result.tolerance);
    certificate.training.push_back(result);
    return book(result.failure.empty());
  }

  static const TrainingRun& run_of(const Item& item) {
    return *std::ranges::find(training_runs(), item.run, &TrainingRun::name);
  }

  const std::vector<Item>& items_;
  std::map<std::string, std::pair<int, int>> kernels_;  // cases passed, failed
  std::set<std::string> offered_;
  int checks_ = 0, failed_ = 0;
};

// "llvmpipe (LLVM 15.0.6)" -> "conformance-llvmpipe-llvm-15-0-6".
std::string folder_for(const std::string& device) {
  std::string name = "conformance-";
  for (const char c : device.substr(0, 80)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 128 && std::isalnum(byte))
      name += static_cast<char>(std::tolower(byte));
    else if (name.back() != '-')
      name += '-';
  }
  while (name.back() == '-') name.pop_back();
  return name;
}

std::string date_now() {
  const std::time_t time = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&time, &parts);
  char text[40];
  std::strftime(text, sizeof text, "%Y-%m-%d %H:%M UTC", &parts);
  return text;
}

// The folder of the certificate, made before the checks: a run of minutes should not end with nowhere to
// write. One that is made and stays empty is removed.
class Folder {
 public:
  explicit Folder(const std::string& path) : path_(path) {
    std::error_code error;
    made_ = fs::create_directories(path, error);
    if (error || !fs::is_directory(path))
      throw Error(path, cat("cannot be made: ", error ? error.message() : "something else has this name"),
                  "choose another folder with --out");
    try {
      write_file_atomically(path + "/conformance.try", "");
    } catch (const Error& failure) {
      if (made_) fs::remove(path, error);
      throw Error(path, cat("cannot be written: ", failure.message()), "choose another folder with --out");
    }
    fs::remove(path + "/conformance.try", error);
  }
  ~Folder() {
    std::error_code ignored;
    if (made_) fs::remove(path_, ignored);
  }
  Folder(const Folder&) = delete;

 private:
  std::string path_;
  bool made_ = false;
};

void print_certificate(const Certificate& certificate) {
  const Totals t = totals_of(certificate);
  if (t.cases)
    std::printf("ops: %d of %d rows passed, %d of %d cases, gradients in %d of %d\n", t.rows_passed, t.rows,
                t.cases_passed, t.cases, t.gradients_passed, t.gradients);
  for (const TrainingResult& run : certificate.training)
    std::printf("training %s: %s, the loss is off by at most %s (tolerance %s)\n", run.name.c_str(),
                run.failure.empty() ? "passed" : "FAILED", format_number(run.deviation, 2).c_str(),
                format_number(run.tolerance, 2).c_str());
  std::printf("kernels: %d passed, %d failed, %d not launched\n", t.kernels_passed, t.kernels_failed,
              t.kernels_not_launched);
}

int check_all(const Options& options) {
  // What was tuned on this machine is no fact about the device.
  setenv("STITHY_TUNE", "off", 1);
  const nn::InterruptGuard guard;
  const std::vector<Item> items = items_of(options);
  Results results(items);
  Certificate& certificate = results.certificate;
  certificate.quick = options.quick, certificate.only = part_of(options);
  for (const char* name : kVariables)
    if (const char* value = std::getenv(name); value && *value)
      certificate.environment.push_back(cat(name, "=", value));

  const double start = host_seconds();
  std::optional<Folder> folder;
  std::string out = options.out;
  if (!out.empty()) folder.emplace(out);
  Worker worker(items);
  Progress progress(
      {.steps_per_epoch = static_cast<int64_t>(items.size()), .items_per_step = 1, .item = "checks"});
  const auto step = [&](size_t index) {
    progress.step(0, static_cast<int64_t>(index) + 1,
                  {{"passed", static_cast<double>(results.checks() - results.failed()), 0},
                   {"failed", static_cast<double>(results.failed()), 0}});
  };
  const bool ended =
      supervise(items.size(), {.work = std::ref(worker),
                               .take =
                                   [&](size_t index, const std::string& text) {
                                     if (!results.take(index, text))
                                       progress.print("FAILED: " + name_of(items[index]));
                                     if (items[index].kind == Item::Kind::device) {
                                       if (out.empty()) out = folder_for(certificate.device.at(0).second);
                                       if (!folder) folder.emplace(out);
                                       progress.print("device: " + certificate.device.at(0).second);
                                     }
                                     step(index);
                                   },
                               .failed =
                                   [&](size_t index, const std::string& why) {
                                     results.fail(index, why);
                                     progress.print(cat("FAILED: ", name_of(items[index]), ": ", why));
                                     step(index);
                                   },
                               .limit = options.limit});
  if (!ended) {
    progress.print(cat("stopped after ", results.checks(), " checks, ", results.failed(),
                       " of which failed; no certificate is written"));
    return 128 + (nn::interrupt_signal() ? nn::interrupt_signal() : SIGINT);
  }
  results.finish();
  certificate.seconds = host_seconds() - start;
  certificate.date = date_now();
  write_file_atomically(out + "/conformance.html", to_html(certificate));
  write_file_atomically(out + "/conformance.json", to_json(certificate, options.compact));
  print_certificate(certificate);
  const bool passed = totals_of(certificate).passed();
  std::printf("%s: %s/conformance.html\n", passed ? "passed" : "FAILED", out.c_str());
  return passed ? 0 : 1;
}

int print_markdown(std::span<const std::string> files) {
  if (files.empty()) throw Error(kName, "--markdown needs files", "name files that this command wrote");
  std::vector<std::pair<std::string, Summary>> summaries;
  for (const std::string& file : files)
    summaries.emplace_back(file, read_summary(read_file(file, kLargestCertificate), file));
  std::fputs(markdown(summaries).c_str(), stdout);
  return 0;
}

}  // namespace

int conformance(std::span<const std::string> arguments) {
  Options options;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    const bool has_value = i + 1 < arguments.size();
    if (argument == "--markdown") {
      return print_markdown(arguments.subspan(i + 1));
    } else if (argument == "--quick") {
      options.quick = true;
    } else if (argument == "--compact") {
      options.compact = true;
    } else if (argument == "--device" && has_value) {
      setenv("STITHY_DEVICE", arguments[++i].c_str(), 1);
    } else if (argument == "--out" && has_value) {
      options.out = arguments[++i];
    } else if (argument == "--only" && has_value) {
      options.only = arguments[++i];
    } else if (argument == "--except" && has_value) {
      options.except = arguments[++i];
    } else if (argument == "--timeout" && has_value) {
      const std::string& text = arguments[++i];
      const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), options.limit);
      if (code != std::errc() || end != text.data() + text.size() || !(options.limit > 0))
        throw Error(kName, cat("--timeout takes a number above 0, not \"", text, "\""));
    } else {
      throw Error(kName, cat("does not know ", argument),
                  "stithy conformance [--device D] [--out FOLDER] [--only PATTERN] [--except PATTERN] "
                  "[--quick] [--compact] "
                  "[--timeout SECONDS], "
                  "or stithy conformance --markdown CERTIFICATE...");
    }
  }
  return check_all(options);
}

}  // namespace stithy

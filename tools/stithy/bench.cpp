// stithy bench: how long ops and training steps take, and how far that is from what the device could do.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <set>
#include <thread>

#include "engine/core/clock.h"
#include "engine/core/error.h"
#include "engine/core/file.h"
#include "engine/graph/device.h"
#include "engine/graph/program.h"
#include "engine/peaks.h"
#include "tools/stithy/bench_cases.h"
#include "tools/stithy/bench_results.h"
#include "tools/stithy/commands.h"
#include "tools/stithy/numbers.h"

namespace stithy::measure {
namespace {

struct Options {
  std::vector<std::string> names;
  bool json = false, quick = false, list = false, plan = false, help = false;
  std::optional<std::string> compare, device;
  std::string blas;  // empty: look for one; "none": do without
};

constexpr const char* kUsage =
    "stithy bench [NAME ...] [--quick] [--json] [--compare FILE] [--blas FILE|none] [--device D] [--list] "
    "[--plan];\n"
    "a NAME is an op, a workload, the beginning of one, or OP/SHAPE; --plan runs nothing and tells what the\n"
    "workloads' steps will need";

Options parse(std::span<const std::string> arguments) {
  Options options;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string& a = arguments[i];
    const auto value = [&] {
      if (i + 1 == arguments.size()) throw Error("stithy bench", a + " needs a value", kUsage);
      return arguments[++i];
    };
    if (a == "--json")
      options.json = true;
    else if (a == "--quick")
      options.quick = true;
    else if (a == "--list")
      options.list = true;
    else if (a == "--plan")
      options.plan = true;
    else if (a == "--help")
      options.help = true;
    else if (a == "--compare")
      options.compare = value();
    else if (a == "--blas")
      options.blas = value();
    else if (a == "--device")
      options.device = value();
    else if (a.starts_with("-"))
      throw Error("stithy bench", "does not know " + a, kUsage);
    else
      options.names.push_back(a);
  }
  return options;
}

// Calls `measure` until the time is spent, and often enough for a median.
void repeat(bool quick, const std::function<void()>& measure) {
  const double end = host_seconds() + (quick ? 0.1 : 0.7);
  const int least = quick ? 3 : 7;
  for (int i = 0; i < least || (host_seconds() < end && i < 1000); ++i) measure();
}

class Bench {
 public:
  explicit Bench(const Options& options) : options_(options) {
    const vk::DeviceInfo& device = default_device_info();
    if (options.blas != "none" && (device.is_cpu() || !options.blas.empty()))
      blas_ = Blas::open(options.blas);
    const Peaks peaks = measure_peaks();
    machine_ = {device.name,
                cat(device.driver, " ", device.driver_info),
                peaks.flops * 1e-9,
                peaks.bytes_per_second * 1e-9,
                blas_ ? blas_->file() : "",
                blas_ ? blas_->threads() : 0};
  }
  const Machine& machine() const { return machine_; }
  bool blas_is_reference() const { return blas_ && blas_->is_reference(); }

  Result run(const OpCase& c) {
    const Graph graph = c.build();
    Program program(graph.fetches, graph.updates,
                    {.name = c.op, .timestamps = default_device_info().timestamps()});
    const bool against_blas = c.gemm && blas_ && !blas_->is_reference();
    if (against_blas) prepare_blas(*c.gemm);
    std::vector<double> ms, blas_ms;
    for (int i = 0; i < 2; ++i) timed_run(program);
    repeat(options_.quick, [&] {
      ms.push_back(timed_run(program) * 1e-6);
      if (against_blas) blas_ms.push_back(time_blas(*c.gemm));
    });
    Result result{.op = c.op, .shape = c.shape, .ms = timing_of(ms)};
    result.timer = program.plan().options.timestamps ? "device" : "host";
    rate(result, program.plan().flops(), c.bytes.value_or(program.plan().bytes()));
    if (against_blas) {
      // Of the best, since a BLAS whose threads wait for each other suffers more from a busy machine.
      const Timing blas = timing_of(blas_ms);
      result.blas_ms = blas.median;
      result.ratio_blas = blas.best / result.ms.best;
    }
    return result;
  }

  Result run(const Workload& w) {
    const Training training = w.make();
    nn::Trainer& trainer = *training.trainer;
    const auto step = [&] {
      trainer.step(training.batch);
      trainer.metrics();
    };
    for (int i = 0; i < 3; ++i) step();
    const Program::Counters& counters = trainer.counters(training.batch);
    const Program::Counters before = counters;
    std::vector<double> ms, submit_us;
    repeat(options_.quick, [&] {
      const double submitted = counters.submit_ns, start = host_seconds();
      step();
      ms.push_back(1e3 * (host_seconds() - start));
      submit_us.push_back(1e-3 * (counters.submit_ns - submitted));
    });
    const double submissions = static_cast<double>(counters.submissions - before.submissions);
    const double runs = static_cast<double>(counters.runs - before.runs);

    const int in_a_row = static_cast<int>(std::min<size_t>(ms.size(), 20));
    const double start = host_seconds();
    for (int i = 0; i < in_a_row; ++i) trainer.step(training.batch);
    trainer.metrics();
    const double back_to_back = 1e3 * (host_seconds() - start) / in_a_row;

    const Plan& plan = trainer.plan(training.batch);
    Result result{.op = w.name, .shape = w.shape, .ms = timing_of(ms), .timer = "host"};
    rate(result, plan.flops(), plan.bytes());
    result.workload = WorkloadFacts{.unit = w.unit,
                                    .items_per_second = static_cast<double>(w.items) / result.ms.median * 1e3,
                                    .back_to_back_ms = back_to_back,
                                    .submissions = submissions / runs,
                                    .dispatches = static_cast<int64_t>(plan.dispatches.size()),
                                    .barriers = plan.barriers(),
                                    .submit_us = median_of(submit_us),
                                    .peak_bytes = plan.peak_bytes()};
    return result;
  }

 private:
  void rate(Result& result, double flops, double bytes) const {
    result.gflops = flops / result.ms.median * 1e-6;
    result.gbs = bytes / result.ms.median * 1e-6;
    const double compute = result.gflops / machine_.peak_gflops, memory = result.gbs / machine_.peak_gbs;
    result.peak_share = std::max(compute, memory);
    result.bound = compute > memory ? "compute" : "memory";
  }

  void prepare_blas(const Gemm& g) {
    a_.assign(static_cast<size_t>(g.batch * g.m * g.k), 0.5f);
    b_.assign(static_cast<size_t>(g.batch * g.k * g.n), 0.25f);
    c_.assign(static_cast<size_t>(g.batch * g.m * g.n), 0);
    calls_ = 1;
    for (int i = 0; i < 2; ++i) time_blas(g);
    // Long enough for the clock.
    while (calls_ < 1024 && time_blas(g) * calls_ < 0.2) calls_ *= 2;
  }
  // Milliseconds of one call. Afterwards OpenMP's threads spin for a while; they shall not disturb what
  // follows.
  double time_blas(const Gemm& g) {
    const double start = host_seconds();
    for (int i = 0; i < calls_; ++i) blas_->gemm(g, a_.data(), b_.data(), c_.data());
    const double ms = 1e3 * (host_seconds() - start) / calls_;
    std::this_thread::sleep_for(std::chrono::milliseconds(3));
    return ms;
  }

  const Options& options_;
  std::optional<Blas> blas_;
  Machine machine_;
  std::vector<float> a_, b_, c_;
  int calls_ = 1;
};

void print_machine(const Bench& bench) {
  const Machine& m = bench.machine();
  std::printf("device  %s (%s)\npeaks measured here: fp32 %s GFLOP/s, copy %s GB/s\n", m.device.c_str(),
              m.driver.c_str(), significant(m.peak_gflops).c_str(), significant(m.peak_gbs).c_str());
  if (bench.blas_is_reference())
    std::printf("blas    none: %s is Netlib's reference, no yardstick (Debian: libblis4-openmp)\n",
                m.blas.c_str());
  else if (!m.blas.empty())
    std::printf("blas    %s, %lld threads\n", m.blas.c_str(), static_cast<long long>(m.blas_threads));
  std::printf("\n%-18s %-16s %9s %7s %8s %8s %6s %7s\n", "op", "shape", "ms", "spread", "GFLOP/s", "GB/s",
              "peak", "x blas");
}

void print(const Result& r, const Comparison* comparison) {
  std::printf("%-18s %-16s %9s %7s %8s %8s %6s %7s", r.op.c_str(), r.shape.c_str(),
              significant(r.ms.median).c_str(), percent(r.ms.spread).c_str(), significant(r.gflops).c_str(),
              significant(r.gbs).c_str(), percent(r.peak_share).c_str(),
              r.ratio_blas ? significant(*r.ratio_blas).c_str() : "-");
  if (comparison) {
    constexpr const char* kWords[] = {"", "faster", "slower", "not in the file"};
    const char* word = kWords[static_cast<size_t>(comparison->change)];
    if (comparison->change == Change::added)
      std::printf("  %s", word);
    else
      std::printf("  x%.2f %s", comparison->speedup, word);
  }
  std::printf("\n");
  if (const auto& w = r.workload)
    std::printf(
        "%18s %s %s/s; back to back %s ms/step; %s submission a step, %lld dispatches, %lld barriers; "
        "%s us of CPU in submit; %s planned\n",
        "", significant(w->items_per_second).c_str(), w->unit.c_str(),
        significant(w->back_to_back_ms).c_str(), significant(w->submissions).c_str(),
        static_cast<long long>(w->dispatches), static_cast<long long>(w->barriers),
        significant(w->submit_us).c_str(), format_bytes(w->peak_bytes).c_str());
  std::fflush(stdout);
}

void print_plans(const std::vector<Workload>& training) {
  std::printf("%-10s %-14s %9s %8s %10s %10s %10s %10s %9s %9s\n", "workload", "batch", "GFLOP", "kernels",
              "peak", "variables", "arena", "constants", "upload", "readback");
  for (const Workload& w : training) {
    const Training made = w.make();
    const Plan plan = made.trainer->forecast(made.batch);
    std::printf("%-10s %-14s %9s %8zu", w.name.c_str(), w.shape.c_str(),
                significant(plan.flops() * 1e-9).c_str(), plan.dispatches.size());
    for (const uint64_t bytes :
         {plan.peak_bytes(), plan.variable_bytes, plan.arena_bytes, plan.constant_bytes})
      std::printf(" %10s", format_bytes(bytes).c_str());
    std::printf(" %9s %9s\n", format_bytes(plan.upload_bytes).c_str(),
                format_bytes(plan.readback_bytes).c_str());
    std::fflush(stdout);
  }
}

// Whether the names choose this op: by its name, or the beginning of its name or of OP/SHAPE; without names
// all do. An op that is called exactly so hides those that only begin so.
class Filter {
 public:
  Filter(const std::vector<std::string>& names, const std::vector<std::pair<std::string, std::string>>& all)
      : names_(names) {
    for (const std::string& name : names) {
      const bool exact = std::any_of(all.begin(), all.end(), [&](const auto& c) { return c.first == name; });
      exact_.push_back(exact);
      if (std::any_of(all.begin(), all.end(),
                      [&](const auto& c) { return matches(c.first, c.second, exact_.size() - 1); }))
        continue;
      std::string known;
      std::set<std::string> seen;
      for (const auto& [op, shape] : all)
        if (seen.insert(op).second) known += " " + op;
      throw Error("stithy bench", cat("there is no op or workload \"", name, "\""), "there are" + known);
    }
  }
  bool operator()(const std::string& op, const std::string& shape) const {
    if (names_.empty()) return true;
    for (size_t i = 0; i < names_.size(); ++i)
      if (matches(op, shape, i)) return true;
    return false;
  }

 private:
  bool matches(const std::string& op, const std::string& shape, size_t i) const {
    return exact_[i] ? op == names_[i] : cat(op, "/", shape).starts_with(names_[i]);
  }
  std::vector<std::string> names_;
  std::vector<bool> exact_;
};

}  // namespace
}  // namespace stithy::measure

namespace stithy {

int bench(std::span<const std::string> arguments) {
  using namespace measure;
  const Options options = parse(arguments);
  if (options.help) {
    std::printf("%s\n", kUsage);
    return 0;
  }
  std::vector<OpCase> cases = op_cases();
  std::vector<Workload> training = workloads();
  std::vector<std::pair<std::string, std::string>> all;
  for (const OpCase& c : cases) all.emplace_back(c.op, c.shape);
  for (const Workload& w : training) all.emplace_back(w.name, w.shape);
  const Filter wanted(options.names, all);
  const bool by_name = !options.names.empty();  // which chooses slow cases, too
  std::erase_if(cases, [&](const OpCase& c) {
    return !wanted(c.op, c.shape) || (options.quick && !by_name && !c.quick);
  });
  std::erase_if(training, [&](const Workload& w) {
    const bool left_out = options.quick ? !w.quick : w.large && !options.list && !options.plan;
    return !wanted(w.name, w.shape) || (left_out && !by_name);
  });
  if (options.list) {
    for (const OpCase& c : cases) std::printf("%s/%s\n", c.op.c_str(), c.shape.c_str());
    std::printf("\n");
    for (const Workload& w : training)
      std::printf("%s/%s%s\n", w.name.c_str(), w.shape.c_str(), w.large ? " (only by name)" : "");
    return 0;
  }
  std::optional<EarlierRun> earlier;
  if (options.compare) earlier = parse_results(read_file(*options.compare, 64 << 20), *options.compare);
  if (options.device) set_default_device(*options.device);

  if (options.plan) {
    print_plans(training);
    return 0;
  }

  Bench bench(options);
  if (options.json)
    std::printf("%s\n", to_json(bench.machine()).c_str());
  else
    print_machine(bench);
  if (earlier && !earlier->device.empty() && earlier->device != bench.machine().device)
    std::fprintf(stderr, "%s was measured on another device: %s\n", options.compare->c_str(),
                 earlier->device.c_str());
  int faster = 0, slower = 0;
  const auto report = [&](const Result& result) {
    std::optional<Comparison> comparison;
    if (earlier) comparison = compare(result, *earlier);
    faster += comparison && comparison->change == Change::faster;
    slower += comparison && comparison->change == Change::slower;
    if (options.json) {
      std::printf("%s\n", to_json(result, comparison).c_str());
      std::fflush(stdout);
    } else {
      print(result, comparison ? &*comparison : nullptr);
    }
  };
  for (const OpCase& c : cases) report(bench.run(c));
  for (const Workload& w : training) report(bench.run(w));
  if (earlier && !options.json)
    std::printf("\n%d faster, %d slower than %s\n", faster, slower, options.compare->c_str());
  return 0;
}

}  // namespace stithy

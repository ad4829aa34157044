// What a process under STITHY_PROFILE keeps, and when it measures.
#include "engine/profile.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <map>
#include <mutex>
#include <set>
#include <sstream>

#include "engine/core/clock.h"
#include "engine/core/error.h"
#include "engine/core/file.h"
#include "engine/core/version.h"
#include "engine/graph/device.h"
#include "engine/graph/hazard.h"
#include "engine/graph/observe.h"
#include "engine/graph/op.h"
#include "engine/graph/plan.h"
#include "engine/tune.h"
#include "engine/vk/device.h"

namespace stithy {

std::string ProfileOptions::to_text() const {
  return cat("rounds=", rounds, ",seconds=", seconds, ",warmup=", warmup, texts ? ",texts" : "",
             only_static ? ",static" : "");
}

ProfileOptions ProfileOptions::from_text(const std::string& text) {
  ProfileOptions options;
  std::istringstream words(text);
  for (std::string word; std::getline(words, word, ',');) {
    const size_t equals = word.find('=');
    const std::string name = word.substr(0, equals),
                      value = equals < word.size() ? word.substr(equals + 1) : "";
    int number = 0;
    const bool counts = std::from_chars(value.data(), value.data() + value.size(), number).ptr ==
                            value.data() + value.size() &&
                        !value.empty() && number >= 0;
    if (name == "rounds" && counts && number > 0)
      options.rounds = number;
    else if (name == "seconds" && counts)
      options.seconds = number;
    else if (name == "warmup" && counts)
      options.warmup = number;
    else if (word == "texts")
      options.texts = true;
    else if (word == "static")
      options.only_static = true;
    else
      throw Error("STITHY_PROFILE_OPTIONS", cat("does not know \"", word, "\""),
                  "use rounds=N, seconds=N, warmup=N, texts, static, joined by commas");
  }
  return options;
}

namespace {

// Before the rounds, pairs of a run that is timed at its ends and one whose kernels are all timed: they tell
// what timestamps cost, and how kernels overlap.
constexpr size_t kTrials = 6;
constexpr uint64_t kLeastRounds = 3;
// What timestamps may add to a step, and in how many parts a round may be cut for that.
constexpr double kCost = 0.015;
constexpr uint32_t kMostParts = 64;

// By how much of a step timing all kernels makes it longer: by the best of the trials, since what else the
// machine does only adds. Not a number without timestamps.
double cost_of_timing(const std::vector<ProfiledRun>& trials) {
  double ends = std::numeric_limits<double>::infinity(), timed = ends;
  for (const ProfiledRun& run : trials) {
    double& best = run.times.measure.timing == Timing::ends ? ends : timed;
    best = std::min(best, run.times.copied_out);
  }
  return timed / ends - 1;
}

std::string shapes_of(const Node& node) {
  std::string text;
  for (const Tensor& x : node.inputs) text += cat(x.shape(), " ");
  return cat(text, "-> ", node.outputs.empty() ? Shape{} : node.out().shape);
}

class Profiler : public RunObserver {
 public:
  Profiler(std::string path, ProfileOptions options) : path_(std::move(path)), options_(options) {
    // Here, since a program may choose its device before begins().
    if (!options_.only_static) vk::enable_counters();
  }

  void begins() override {
    const std::lock_guard lock(mutex_);
    if (begun_) return;
    begun_ = true;
    const vk::DeviceInfo& device = default_device_info();
    profile_.version = version();
    profile_.device = device.name;
    profile_.driver = device.driver;
    profile_.driver_info = device.driver_info;
    profile_.kind = name_of(device.kind);
    profile_.subgroup_size = device.subgroup_size;
    profile_.timestamp_bits = device.timestamp_bits;
    profile_.timestamp_period_ns = device.timestamps() ? device.timestamp_period_ns : 0;
    profile_.heap_bytes = device.heap_bytes;
    profile_.tells_statistics = device.executable_properties;
    if (device.executable_properties) default_device()->keep_statistics(options_.texts);
    if (device.performance_query && !options_.only_static) {
      try {
        profile_.counters = default_device()->counters();
      } catch (const Error& error) {
        profile_.counters.emplace();
        profile_.counters_refused = error.message();
      }
    }
    std::atexit([] {
      if (auto* profiler = static_cast<Profiler*>(run_observer())) profiler->write();
    });
  }

  bool lets_run() const override { return !options_.only_static; }

  void made(const Plan& plan, const Making& making) override {
    const std::lock_guard lock(mutex_);
    profile_.allocated_bytes = std::max(profile_.allocated_bytes, default_device()->allocated_bytes());
    ProfiledProgram program;
    program.name = plan.options.name;
    program.trains = std::ranges::any_of(plan.nodes, [](const Node* node) {
      return node->kind == NodeKind::op && node->phase == Phase::optimizer;
    });
    program.made_at = host_ns() - began_;
    program.plan_ns = making.plan, program.compile_ns = making.compile;
    program.allocate_ns = making.allocate, program.record_ns = making.record;
    program.arena_bytes = plan.arena_bytes, program.variable_bytes = plan.variable_bytes;
    program.constant_bytes = plan.constant_bytes;
    program.transfer_bytes = plan.upload_bytes + plan.readback_bytes;
    add_calls(plan, program);
    add_values(plan, program);
    if (const auto known = programs_.find(&plan); known != programs_.end()) {
      // Planned anew, since a variable moved: the earlier runs belong to another plan.
      ProfiledProgram& before = profile_.programs[known->second.index];
      program.runs = before.runs;
      before = std::move(program);
      known->second = {known->second.index};
      return;
    }
    programs_[&plan] = {profile_.programs.size()};
    profile_.programs.push_back(std::move(program));
  }

  std::optional<Measure> before_run(const Plan& plan) override {
    const std::lock_guard lock(mutex_);
    const auto found = programs_.find(&plan);
    if (found == programs_.end()) return {};
    Watched& watched = found->second;
    ProfiledProgram& program = profile_.programs[watched.index];
    ++program.runs;
    if (watched.complete || program.runs <= static_cast<uint64_t>(options_.warmup)) return {};
    if (program.measured.size() < kTrials) {
      if (program.measured.empty()) watched.began = host_ns();
      return Measure{program.measured.size() % 2 == 0 ? Timing::ends : Timing::concurrent};
    }
    if (watched.timed) return Measure{Timing::counters, watched.pass, profile_.counters->passes};
    // In turn, so that what else the machine does falls on all of them alike.
    if (watched.turn == 0) return Measure{Timing::ends};
    if (watched.turn <= watched.parts) return Measure{Timing::concurrent, watched.turn - 1, watched.parts};
    return Measure{Timing::isolated};
  }

  void after_run(const Plan& plan, const RunTimes& times) override {
    bool complete = false;
    {
      const std::lock_guard lock(mutex_);
      const auto found = programs_.find(&plan);
      if (found == programs_.end()) return;
      Watched& watched = found->second;
      ProfiledProgram& program = profile_.programs[watched.index];
      if (options_.only_static)
        complete = true;
      else
        complete = watched.complete = times.measure.timing == Timing::counters
                                          ? add_counters(program, watched, times)
                                          : add_run(program, watched, times);
      complete = complete && program.trains;
    }
    if (!complete) return;
    write();
    // What a program would do after its step has no results to work on.
    if (options_.only_static) std::_Exit(0);
  }

  void ends(const Plan& plan) override {
    const std::lock_guard lock(mutex_);
    programs_.erase(&plan);
  }

  void write() {
    const std::lock_guard lock(mutex_);
    try {
      profile_.untuned = untuned_choices();
      write_file_atomically(path_, to_json(profile_));
    } catch (const std::exception& error) {
      std::fprintf(stderr, "%s\n", error.what());
    }
  }

 private:
  struct Watched {
    size_t index = 0;  // of Profile::programs
    bool timed = false, complete = false;
    uint32_t turn = 0, parts = 1, pass = 0;
    double began = 0;
  };

  // True when enough is known.
  bool add_run(ProfiledProgram& program, Watched& watched, const RunTimes& times) {
    RunTimes& added = program.measured.emplace_back(program.runs, times).times;
    for (double* at : {&added.host_begin, &added.host_copied, &added.host_submitted, &added.host_end})
      *at -= began_;
    if (program.measured.size() < kTrials) return false;
    if (program.measured.size() == kTrials) {
      const double cost = cost_of_timing(program.measured) / kCost;
      if (cost > 1) watched.parts = static_cast<uint32_t>(std::min(std::ceil(cost), double{kMostParts}));
      watched.parts =
          std::min(watched.parts, static_cast<uint32_t>(std::max<size_t>(program.calls.size(), 1)));
      return false;
    }
    if (++watched.turn < watched.parts + 2) return false;
    watched.turn = 0;
    ++program.rounds;
    watched.timed = program.rounds >= static_cast<uint64_t>(options_.rounds) ||
                    (program.rounds >= kLeastRounds && host_ns() - watched.began > 1e9 * options_.seconds);
    return watched.timed && (!counts() || program.calls.empty());
  }

  bool counts() const {
    return profile_.counters && !profile_.counters->counters.empty() && profile_.counters_refused.empty();
  }

  // True after the last pass.
  bool add_counters(ProfiledProgram& program, Watched& watched, const RunTimes& times) {
    profile_.counters_refused = times.refused;
    program.counters = times.counters;
    return !counts() || ++watched.pass == profile_.counters->passes;
  }

  size_t kernel_of(const KernelCall& call) {
    const auto [known, fresh] =
        kernels_.try_emplace({call.kernel->spirv.data(), call.spec}, profile_.kernels.size());
    if (!fresh) return known->second;
    const KernelInfo& info = *call.kernel;
    ProfiledKernel& kernel = profile_.kernels.emplace_back();
    kernel.name = info.name, kernel.shader = info.shader, kernel.defines = info.defines;
    for (size_t i = 0; i < call.spec.size(); ++i)
      kernel.constants.emplace_back(info.spec_names[i], call.spec[i]);
    kernel.hash = spirv_hash(info);
    kernel.fused_text = info.fused_text;
    if (profile_.tells_statistics) {
      vk::Device& device = *default_device();
      const vk::PipelineRequest request = request_of(info, call.spec);
      kernel.statistics = device.statistics(*device.pipelines({&request, 1}).front());
    }
    return known->second;
  }

  void add_calls(const Plan& plan, ProfiledProgram& program) {
    std::map<const Node*, std::string> taken;
    for (const auto& [node, choice] : plan.choices)
      taken[node] += cat(taken[node].empty() ? "" : ", ", choice.labels[choice.taken]);
    const std::vector<BarrierReason> barriers = barrier_reasons(plan);
    for (size_t i = 0; i < plan.dispatches.size(); ++i) {
      const PlannedDispatch& dispatch = plan.dispatches[i];
      const Node& node = *dispatch.node;
      ProfiledCall call;
      call.op = node.label();
      for (const Node* op : dispatch.fused) call.fused.push_back(op->label());
      call.phase = node.phase;
      call.layer = node.scope;
      call.kernel = kernel_of(dispatch.call);
      call.choice = taken[&node];
      call.dtype = node.outputs.empty() ? "" : name_of(node.out().dtype);
      call.shapes = shapes_of(node);
      call.groups = {dispatch.groups.x, dispatch.groups.y, dispatch.groups.z};
      call.flops = dispatch.flops;
      call.bytes = dispatch.bytes;
      call.barrier = barriers[i];
      program.calls.push_back(std::move(call));
    }
  }

  // Alive from the first call that touches it to the last. Others lie at the same bytes before and after: the
  // steps of the plan tell which.
  void add_values(const Plan& plan, ProfiledProgram& program) {
    std::map<const Node*, int> step_of;
    for (size_t i = 0; i < plan.nodes.size(); ++i) step_of[plan.nodes[i]] = static_cast<int>(i);
    std::set<const Node*> fetched;
    for (const Tensor& tensor : plan.fetches)
      fetched.insert(tensor.node()->out(tensor.output()).storage_node);
    const int end = static_cast<int>(plan.dispatches.size());
    for (const PlannedValue& value : plan.values) {
      ProfiledValue one{.label = cat(value.scratch ? "scratch of " : "", value.node->label()),
                        .layer = value.node->scope,
                        .buffer = value.span.buffer,
                        .offset = value.span.offset,
                        .bytes = value.span.bytes,
                        .first = end,
                        .last = -1};
      for (int i = 0; i < end; ++i) {
        const PlannedDispatch& dispatch = plan.dispatches[static_cast<size_t>(i)];
        int step = step_of[dispatch.node];
        for (const Node* op : dispatch.fused) step = std::max(step, step_of[op]);
        const bool touches =
            std::ranges::any_of(dispatch.spans, [&](const Span& span) { return span.overlaps(value.span); });
        if (touches && value.first <= step && step <= value.last) {
          one.first = std::min(one.first, i);
          one.last = i;
        }
      }
      if (value.node->kind == NodeKind::input) one.first = -1;
      if (fetched.contains(value.node) && !value.scratch) one.last = std::max(end - 1, one.first);
      if (one.first <= one.last) program.values.push_back(std::move(one));
    }
  }

  const std::string path_;
  const ProfileOptions options_;
  const double began_ = host_ns();
  std::mutex mutex_;
  bool begun_ = false;
  Profile profile_;
  std::map<const Plan*, Watched> programs_;
  std::map<std::pair<const uint32_t*, std::vector<uint32_t>>, size_t> kernels_;
};

// Never freed: programs at namespace scope may outlive any order of destruction.
const bool kProvided = [] {
  const char* path = std::getenv("STITHY_PROFILE");
  if (!path || !*path) return false;
  const char* options = std::getenv("STITHY_PROFILE_OPTIONS");
  try {
    set_run_observer(new Profiler(path, ProfileOptions::from_text(options ? options : "")));
  } catch (const std::exception& error) {
    // While a library loads nobody would catch it.
    std::fprintf(stderr, "%s\n", error.what());
    std::_Exit(2);
  }
  return true;
}();

}  // namespace
}  // namespace stithy

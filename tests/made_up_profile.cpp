#include "tests/made_up_profile.h"

#include <limits>

namespace stithy::testing {
namespace {

constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();
// Microseconds, from the begin of a run on; copies take 0 to 10 and 300 to 320.
constexpr std::pair<double, double> kKernels[] = {{10, 60},   {20, 90},   {100, 180},
                                                  {180, 250}, {255, 280}, {280, 300}};

ProfiledRun run_of(uint64_t number, Measure measure, bool timestamps) {
  ProfiledRun run{.number = number};
  RunTimes& times = run.times;
  times.measure = measure;
  times.host_begin = 1e6 * static_cast<double>(number);
  times.host_copied = times.host_begin + 20e3;
  times.host_submitted = times.host_begin + 50e3;
  times.host_end = times.host_begin + 400e3;
  times.copied_in = timestamps ? 10e3 : kUnknown;
  times.computed = timestamps ? 300e3 : kUnknown;
  times.copied_out = timestamps ? 320e3 : kUnknown;
  times.by_host = !timestamps;
  times.first_fetch = 1.0 / static_cast<double>(number);
  const bool alone = measure.timing == Timing::isolated;
  if (measure.timing == Timing::ends || (!timestamps && !alone)) return run;
  for (uint32_t i = 0; i < std::size(kKernels); ++i) {
    const bool timed = i % measure.parts == measure.part;
    auto [begin, end] = kKernels[i];
    if (alone && i == 1) begin = 60;
    times.kernels.emplace_back(timed ? 1e3 * begin : kUnknown, timed ? 1e3 * end : kUnknown);
  }
  return run;
}

}  // namespace

Profile made_up_profile(const MadeUp& made_up) {
  const auto named = [&](const std::string& plain) { return made_up.name.empty() ? plain : made_up.name; };
  Profile profile;
  profile.command = {"samples/" + named("sample"), named("--epochs"), "1"};
  profile.version = "0.1.0";
  profile.device = named("A GPU"), profile.driver = named("driver"), profile.driver_info = named("1.2.3");
  profile.kind = "discrete";
  profile.subgroup_size = 32;
  profile.timestamp_bits = made_up.timestamps ? 48 : 0;
  profile.timestamp_period_ns = made_up.timestamps ? 52.08 : 0;
  profile.heap_bytes = uint64_t{1} << 30, profile.allocated_bytes = uint64_t{1} << 20;
  profile.tells_statistics = true;
  if (made_up.peaks) profile.peaks = Peaks{.flops = 1e12, .bytes_per_second = 1e11};

  const auto kernel = [&](const std::string& name, const std::string& shader) -> ProfiledKernel& {
    ProfiledKernel& made = profile.kernels.emplace_back();
    made.name = named(name), made.shader = shader, made.defines = named("KERNEL_" + name);
    made.constants = {{named("TILE"), 64}};
    made.hash = "0123456789abcdef";
    return made;
  };
  kernel("matmul", "matmul").statistics = vk::KernelStatistics{.registers = 40, .spills = 0};
  kernel("binary_add", "binary").fused_text = "// " + named("made while planning");
  kernel("embedding", "embedding");
  kernel("sgd", named("no_such_shader"));

  ProfiledProgram& program = profile.programs.emplace_back();
  program.name = named("program");
  program.trains = true;
  program.runs = 20;
  program.made_at = 900e3;
  program.plan_ns = 100e3, program.compile_ns = 400e3, program.allocate_ns = 50e3, program.record_ns = 10e3;
  program.arena_bytes = 5000, program.variable_bytes = 4096;
  const auto call = [&](const std::string& op, Phase phase, const std::string& layer, size_t of, double flops,
                        BarrierReason barrier) {
    ProfiledCall& made = program.calls.emplace_back();
    made.op = named(op), made.phase = phase, made.layer = layer.empty() ? "" : named(layer);
    made.kernel = of, made.choice = named("tile 64x64"), made.dtype = "f32";
    made.shapes = named("[64, 64] -> [64]");
    made.groups = {8, 1, 1};
    made.flops = flops, made.bytes = 1e6, made.barrier = barrier;
  };
  call("embedding", Phase::forward, "net.table", 2, 0, BarrierReason::none);
  call("matmul", Phase::forward, "net.linear", 0, 2e7, BarrierReason::none);
  call("add", Phase::forward, "net.linear", 1, 1e5, BarrierReason::data);
  call("matmul", Phase::backward, "net.linear", 0, 2e7, BarrierReason::data);
  call("add", Phase::backward, "", 1, 1e5, BarrierReason::reuse);
  call("sgd", Phase::optimizer, "", 3, 1e4, BarrierReason::needless);
  program.values = {{named("input x"), "", 0, 0, 1000, -1, 1},
                    {named("matmul"), named("net.linear"), 0, 1000, 3000, 1, 3},
                    {named("scratch of add"), "", 0, 4000, 500, 4, 4}};

  if (made_up.counters) {
    profile.counters = vk::CounterList{.passes = 1, .offered = 7};
    profile.counters->counters = {{.name = named("waves"), .adds = true},
                                  {.name = named("busy"), .unit = "%"}};
    for (size_t i = 0; i < program.calls.size(); ++i)
      program.counters.push_back({static_cast<double>(100 * i), i == 5 ? kUnknown : 50.0});
  }

  uint64_t number = 5;
  const auto run = [&](Measure measure) {
    program.measured.push_back(run_of(++number, measure, made_up.timestamps));
  };
  for (int i = 0; i < 3; ++i) run({Timing::concurrent});
  program.rounds = 2;
  for (int i = 0; i < 2; ++i) {
    run({Timing::ends});
    run({Timing::concurrent, 0, 2});
    run({Timing::concurrent, 1, 2});
    run({Timing::isolated});
  }
  return profile;
}

}  // namespace stithy::testing

// Profiles: runs that are timed in each way, the file, and what the analysis makes of known times.
#include "engine/profile.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "engine/core/error.h"
#include "engine/graph/device.h"
#include "engine/graph/hazard.h"
#include "engine/graph/observe.h"
#include "engine/graph/program.h"
#include "engine/ops.h"
#include "tools/stithy/profile_report.h"

using namespace stithy;
using namespace stithy::profiling;

TEST_SUITE_BEGIN("profile");

namespace {

constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();

template <class Work>
std::string message_of(const Work& work) {
  try {
    work();
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing was thrown";
}
bool says(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

// Asks for what it is told to, and keeps what comes.
class Watcher : public RunObserver {
 public:
  Watcher() : before_(set_run_observer(this)) {}
  ~Watcher() override { set_run_observer(before_); }
  void begins() override { ++begun; }
  bool lets_run() const override { return runs; }
  void made(const Plan& plan, const Making& making) override {
    calls = plan.dispatches.size();
    made_ns = making.plan + making.compile + making.allocate + making.record;
  }
  std::optional<Measure> before_run(const Plan&) override { return measure; }
  void after_run(const Plan&, const RunTimes& run) override { times.push_back(run); }
  void ends(const Plan&) override { ++ended; }

  bool runs = true;
  std::optional<Measure> measure;
  int begun = 0, ended = 0;
  size_t calls = 0;
  double made_ns = 0;
  std::vector<RunTimes> times;

 private:
  RunObserver* before_;
};

// Two independent products and what needs both.
struct Example {
  Tensor a = input("a", {64, 64}), b = input("b", {64, 64});
  std::vector<Tensor> fetches{sum(matmul(matmul(a, b), matmul(b, a)))};
  Array one = Array({64, 64}, DType::f32);
  Example() {
    for (int64_t i = 0; i < one.numel(); ++i) one.set(i, 1.0 / 64);
  }
  void run(Program& program) {
    const Feed feeds[] = {{a, &one}, {b, &one}};
    program.submit(feeds);
  }
};

// A program of two calls that ran three rounds: 100 ns a step, 10 ns copying in and out, kernels of 60
// and 20.
Profile example_profile() {
  Profile profile{.version = "0.1.0",
                  .device = "Card \"1\"",
                  .driver = "radv",
                  .driver_info = "Mesa",
                  .kind = "discrete",
                  .timestamp_bits = 36,
                  .timestamp_period_ns = 52.08,
                  .peaks = Peaks{.flops = 1e12, .bytes_per_second = 1e11}};
  profile.kernels = {{.name = "matmul", .shader = "matmul", .constants = {{"TILE", 64}}, .hash = "ab"},
                     {.name = "adam_update", .shader = "optim", .hash = "cd"}};
  ProfiledProgram program{.name = "step", .trains = true, .runs = 20, .arena_bytes = 512, .rounds = 3};
  program.calls = {{.op = "matmul",
                    .phase = Phase::forward,
                    .layer = "mlp.0",
                    .kernel = 0,
                    .choice = "tile 64",
                    .dtype = "f32",
                    .shapes = "[8, 8] -> [8]",
                    .flops = 30000,
                    .bytes = 600},
                   {.op = "adam_update",
                    .phase = Phase::optimizer,
                    .layer = "optimizer",
                    .kernel = 1,
                    .dtype = "f32",
                    .flops = 10,
                    .bytes = 1000,
                    .barrier = BarrierReason::data}};
  program.values = {{"matmul", "mlp.0", 0, 0, 256, 0, 1},
                    {"a part of it", "mlp.0", 0, 64, 64, 0, 1},
                    {"input x", "", 0, 256, 128, -1, 0}};
  const auto run = [](Measure measure, std::vector<std::pair<double, double>> kernels, double end) {
    ProfiledRun run;
    run.times = {.measure = measure,
                 .host_begin = 0,
                 .host_copied = 5,
                 .host_submitted = 8,
                 .host_end = 150,
                 .copied_in = 10,
                 .computed = end - 10,
                 .copied_out = end,
                 .kernels = std::move(kernels)};
    return run;
  };
  for (int i = 0; i < 3; ++i)
    program.measured.push_back(run({Timing::concurrent}, {{12, 72}, {74, 94}}, 110));
  for (int i = 0; i < 3; ++i) {
    program.measured.push_back(run({Timing::ends}, {}, 100));
    program.measured.push_back(run({Timing::concurrent, 0, 2}, {{11, 71}, {kUnknown, kUnknown}}, 102));
    program.measured.push_back(run({Timing::concurrent, 1, 2}, {{kUnknown, kUnknown}, {72, 92}}, 102));
    program.measured.push_back(run({Timing::isolated}, {{12, 62}, {80, 98}}, 120));
  }
  profile.programs.push_back(program);
  return profile;
}

}  // namespace

TEST_CASE("a run is timed as it is asked for, and computes the same") {
  if (!default_device_info().timestamps()) return;
  Watcher watcher;
  {
    Example example;
    Program program(example.fetches, {}, ProgramOptions{});
    CHECK(watcher.begun == 1);
    CHECK(watcher.made_ns > 0);
    const size_t calls = program.plan().dispatches.size();
    CHECK(watcher.calls == calls);
    REQUIRE(calls >= 3);
    example.run(program);
    CHECK(watcher.times.empty());
    const double result = program.read(0).at(0);

    for (const Measure measure : {Measure{Timing::ends}, Measure{Timing::concurrent},
                                  Measure{Timing::isolated}, Measure{Timing::concurrent, 1, 2}}) {
      watcher.measure = measure;
      example.run(program);
      CHECK(program.read(0).at(0) == result);
      const RunTimes& times = watcher.times.back();
      CHECK(times.measure == measure);
      CHECK(times.first_fetch == result);
      CHECK_FALSE(times.by_host);
      CHECK(times.host_begin <= times.host_copied);
      CHECK(times.host_copied <= times.host_submitted);
      CHECK(times.host_submitted < times.host_end);
      CHECK(0 <= times.copied_in);
      CHECK(times.copied_in <= times.computed);
      CHECK(times.computed <= times.copied_out);
      CHECK(times.copied_out <= times.host_end - times.host_copied);
      if (measure.timing == Timing::ends) {
        CHECK(times.kernels.empty());
        continue;
      }
      REQUIRE(times.kernels.size() == calls);
      double sum = 0;
      for (size_t i = 0; i < calls; ++i) {
        const auto& [begin, end] = times.kernels[i];
        if (i % measure.parts != measure.part) {
          CHECK(std::isnan(begin));
          CHECK(std::isnan(end));
          continue;
        }
        CHECK(times.copied_in <= begin);
        CHECK(begin <= end);
        CHECK(end <= times.computed);
        if (measure.timing == Timing::isolated && i > 0) CHECK(times.kernels[i - 1].second <= begin);
        sum += end - begin;
      }
      CHECK(sum > 0);
    }
    watcher.measure = {};
    example.run(program);
    CHECK(watcher.times.size() == 4);
    CHECK(watcher.ended == 0);
  }
  CHECK(watcher.ended == 1);
}

TEST_CASE("programs that are only looked at neither allocate nor run") {
  Watcher watcher;
  watcher.runs = false;
  Example example;
  const uint64_t before = device_allocated_bytes();
  Program program(example.fetches, {}, ProgramOptions{});
  CHECK(watcher.calls == program.plan().dispatches.size());
  CHECK(device_allocated_bytes() == before);
  example.run(program);
  CHECK(watcher.times.size() == 1);
  CHECK(program.read(0).at(0) == 0);
}

TEST_CASE("why barriers stand where they do") {
  const Tensor x = input("x", {1024});
  const Variable w("w", Array({1024}, DType::f32));
  // The update waits for the product that reads the variable, and passes nothing on.
  const Tensor y = sum(x * Tensor(w)), z = sum(exp(x));
  Plan plan = make_plan({y, z}, {assign(w, x)}, {.fuse = false}, default_device_info());
  std::vector<BarrierReason> reasons = barrier_reasons(plan);
  REQUIRE(reasons.size() == plan.dispatches.size());
  size_t data = 0;
  for (size_t i = 0; i < reasons.size(); ++i) {
    CHECK((reasons[i] != BarrierReason::none) == plan.dispatches[i].barrier_before);
    CHECK(reasons[i] != BarrierReason::needless);
    data += reasons[i] == BarrierReason::data;
  }
  CHECK(data > 0);

  // Two independent kernels with a barrier between them that nothing asks for.
  Plan apart = make_plan({exp(x), sin(x)}, {}, {.fuse = false}, default_device_info());
  REQUIRE(apart.dispatches.size() == 2);
  REQUIRE_FALSE(apart.dispatches[1].barrier_before);
  apart.dispatches[1].barrier_before = true;
  CHECK(barrier_reasons(apart)[1] == BarrierReason::needless);
  // The second now writes where the first reads, in memory that both use for something else.
  apart.dispatches[1].spans.back() = apart.dispatches[0].spans.front();
  CHECK(barrier_reasons(apart)[1] == BarrierReason::reuse);
  // And now it reads what the first wrote.
  apart.dispatches[1].spans.front() = apart.dispatches[0].spans.back();
  CHECK(barrier_reasons(apart)[1] == BarrierReason::data);
}

TEST_CASE("work is counted a call, each byte once") {
  const Tensor x = input("x", {100, 64}), w = input("w", {64, 32});
  const Plan plan = make_plan({matmul(x, w)}, {}, {}, default_device_info());
  CHECK(plan.flops() == 2.0 * 100 * 64 * 32);
  CHECK(plan.bytes() >= 4.0 * (100 * 64 + 64 * 32 + 100 * 32));
  // A kernel that only finishes what another computed has none of the node's operations.
  const Tensor logits = input("logits", {32, 10}), target = input("target", {32}, DType::i32);
  const Plan loss = make_plan({cross_entropy(logits, target)}, {}, {}, default_device_info());
  double sum = 0, of_aids = 0;
  size_t aids = 0;
  for (const PlannedDispatch& dispatch : loss.dispatches) {
    sum += dispatch.flops;
    aids += dispatch.call.kernel->aids;
    if (dispatch.call.kernel->aids) of_aids += dispatch.flops;
  }
  CHECK(sum == doctest::Approx(loss.flops()));
  CHECK(aids > 0);
  CHECK(of_aids == 0);
  // Of a table, only the rows that are asked for.
  const Tensor table = input("table", {50000, 16}), index = input("index", {8}, DType::i32);
  const Plan rows = make_plan({embedding(table, index)}, {}, {}, default_device_info());
  CHECK(rows.bytes() == 4.0 * (8 + 2 * 8 * 16));
  // Of a tensor, only the part that is seen.
  const Plan part = make_plan({exp(slice(table, 0, 0, 10))}, {}, {}, default_device_info());
  CHECK(part.bytes() == 4.0 * 2 * 10 * 16);
}

TEST_CASE("a profile's file says what the profile said") {
  const Profile profile = example_profile();
  const std::string text = to_json(profile);
  const Profile read = parse_profile(text, "file");
  CHECK(to_json(read) == text);
  CHECK(read.device == "Card \"1\"");
  CHECK(read.timestamp_period_ns == doctest::Approx(52.08));
  REQUIRE(read.kernels.size() == 2);
  CHECK(read.kernels[0].constants == profile.kernels[0].constants);
  REQUIRE(read.programs.size() == 1);
  CHECK(read.programs[0].calls == profile.programs[0].calls);
  CHECK(read.programs[0].values == profile.programs[0].values);
  CHECK(std::isnan(read.programs[0].measured[4].times.kernels[1].first));
  CHECK(read.programs[0].measured[4].times.measure == Measure{Timing::concurrent, 0, 2});
}

TEST_CASE("what is no profile, or wrong in itself, is refused by name") {
  const auto refused = [](const std::string& text) {
    return message_of([&] { parse_profile(text, "file"); });
  };
  CHECK(says(refused(""), "file: is no profile"));
  CHECK(says(refused("[1, 2]"), "file: is no profile"));
  CHECK(says(refused("{\"stithy_profile\": 999}"), "version 999"));
  CHECK(says(refused("{\"stithy_profile\": 999}"), "measure it again"));
  const std::string text = to_json(example_profile());
  for (size_t length = 0; length + 2 < text.size(); length += 97)
    CHECK(says(refused(text.substr(0, length)), "file: is no profile"));
  const auto changed = [&](auto change) {
    nlohmann::json json = nlohmann::json::parse(text);
    change(json, json["programs"][0]);
    return refused(json.dump());
  };
  using Json = nlohmann::json;
  CHECK(
      says(changed([](Json&, Json& p) { p["calls"][0]["kernel"] = 2; }), "a call of kernel 2, there are 2"));
  CHECK(says(changed([](Json&, Json& p) { p["calls"][0]["phase"] = "later"; }), "no phase \"later\""));
  CHECK(says(changed([](Json&, Json& p) { p["values"][0]["last"] = 7; }), "lives from 0 to 7"));
  CHECK(says(changed([](Json&, Json& p) { p["measured"][0]["begin"].push_back(1); }),
             "3 beginnings and 2 ends"));
  CHECK(says(changed([](Json&, Json& p) { p["measured"][0]["part"] = 1; }), "part 1 of 1"));
  CHECK(says(changed([](Json&, Json& p) { p.erase("runs"); }), "is no profile"));
  CHECK(says(changed([](Json& j, Json&) { j["kernels"] = "none"; }), "is no profile"));
}

TEST_CASE("the analysis of known times") {
  const Profile profile = example_profile();
  const Analysis analysis = analyse(profile);
  const StepFigures& step = analysis.step;
  CHECK(step.device.p50 == 100);
  CHECK(step.host.p50 == 145);
  CHECK(step.copied_in.p50 == 10);
  CHECK(step.copied_out.p50 == 10);
  // Two parts, 102 ns each, with 60 and 20 ns of kernels.
  CHECK(step.kernels == doctest::Approx(80.0 / 102));
  CHECK(step.copies == doctest::Approx(20.0 / 102));
  CHECK(step.gaps == doctest::Approx(2.0 / 102));
  CHECK(step.cost == doctest::Approx(0.02));
  CHECK(step.barriers == 1);
  CHECK(step.phases[0] == doctest::Approx(0.75));
  CHECK(step.phases[2] == doctest::Approx(0.25));
  CHECK(analysis.calls[0].concurrent.p50 == 60);
  CHECK(analysis.calls[0].isolated.p50 == 50);

  const std::vector<Row> rows = rows_of(analysis, View::op);
  REQUIRE(rows.size() == 2);
  CHECK(rows[0].op == "matmul");
  CHECK(rows[0].variant == "tile 64 TILE=64");
  CHECK(rows[0].share == doctest::Approx(0.6));
  CHECK(rows[0].gflops == doctest::Approx(500));
  CHECK(rows[0].gbs == doctest::Approx(10));
  CHECK(*rows[0].intensity == 50);
  // 30 ns at the peak of 1000 GFLOP/s, 6 ns at that of 100 GB/s.
  CHECK(*rows[0].roof_share == doctest::Approx(0.5));
  CHECK(rows[0].bound == "compute");
  CHECK(rows[1].bound == "memory");
  CHECK(*rows[1].roof_share == doctest::Approx(0.5));
  CHECK(rows_of(analysis, View::layer, {.layer = "mlp*"}).size() == 1);
  CHECK(rows_of(analysis, View::call, {.phase = "optimizer"})[0].calls == std::vector<size_t>{1});
  CHECK(rows_of(analysis, View::kernel, {.kernel = "conv*"}).empty());
  CHECK(live_bytes(profile.programs[0]) == std::vector<uint64_t>{384, 256});
  CHECK(says(message_of([&] { analyse(profile, "other"); }), "there are 1 (step, 2 calls, 20 runs)"));
}

TEST_CASE("kernels that run at the same time are not counted twice") {
  Profile profile = example_profile();
  ProfiledProgram& program = profile.programs[0];
  std::erase_if(program.measured, [](const ProfiledRun& run) { return run.times.measure.parts > 1; });
  for (ProfiledRun& run : program.measured)
    if (run.times.measure.timing == Timing::concurrent) run.times.kernels = {{10, 70}, {50, 90}};
  const StepFigures step = analyse(profile).step;
  CHECK(step.overlap == doctest::Approx(100.0 / 80));
  CHECK(step.kernels == doctest::Approx(80.0 / 110));
}

TEST_CASE("a device without timestamps: what the host knows, and nothing else") {
  Profile profile = example_profile();
  profile.timestamp_period_ns = 0;
  for (ProfiledRun& run : profile.programs[0].measured) {
    RunTimes& times = run.times;
    times.copied_in = times.computed = times.copied_out = kUnknown;
    times.by_host = times.measure.timing == Timing::isolated;
    if (!times.by_host) times.kernels.clear();
  }
  const Analysis analysis = analyse(profile);
  CHECK_FALSE(analysis.step.timed());
  CHECK(analysis.by_host);
  CHECK(analysis.step.host.p50 == 145);
  CHECK(rows_of(analysis, View::op)[0].time.p50 == 50);
  CHECK(std::isnan(analysis.step.cost));
}

TEST_CASE("slower counts beyond the threshold and beyond the runs' own differences") {
  const auto around = [](double middle, double width) {
    return quantiles_of({middle - width, middle, middle, middle, middle + width, middle + width});
  };
  CHECK(compare(around(110, 1), around(100, 1), 0.05).slower);
  CHECK_FALSE(compare(around(104, 1), around(100, 1), 0.05).slower);
  CHECK_FALSE(compare(around(110, 30), around(100, 30), 0.05).slower);
  CHECK(compare(around(80, 1), around(100, 1), 0.05).faster);
  CHECK(compare(around(80, 1), {}, 0.05).before == 0);

  const Profile before = example_profile();
  Profile now = before;
  // Another kernel for the same op is compared with what was there.
  now.programs[0].calls[0].kernel = 1;
  for (ProfiledRun& run : now.programs[0].measured)
    if (!run.times.kernels.empty() && run.times.measure.timing == Timing::concurrent)
      run.times.kernels[0].second += 30;
  const Analysis old = analyse(before), fresh = analyse(now);
  const Row slow = rows_of(fresh, View::op)[0];
  const std::optional<Quantiles> found = before_of(slow, fresh, old);
  REQUIRE(found);
  CHECK(found->p50 == 60);
  CHECK(compare(slow.time, *found, 0.05).slower);
  now.programs[0].calls[0].shapes = "[9]";
  const Analysis other = analyse(now);
  CHECK_FALSE(before_of(rows_of(other, View::op)[0], other, old));
}

TEST_CASE("options of a profile") {
  const ProfileOptions options = ProfileOptions::from_text("rounds=3,warmup=0,seconds=7,texts,static");
  CHECK(options.rounds == 3);
  CHECK(options.warmup == 0);
  CHECK(options.seconds == 7);
  CHECK(options.texts);
  CHECK(options.only_static);
  CHECK(ProfileOptions::from_text(options.to_text()).to_text() == options.to_text());
  for (const char* text : {"rounds=0", "rounds=", "rounds=x", "warmup=-1", "more"})
    CHECK(says(message_of([&] { ProfileOptions::from_text(text); }), cat("does not know \"", text, "\"")));
}

TEST_SUITE_END();

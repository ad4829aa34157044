// What profiles say of hardware counters; the counting itself is tests/counters.sh's.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "engine/core/error.h"
#include "tools/stithy/profile_counters.h"

using namespace stithy;
using namespace stithy::profiling;

namespace {

Profile profile_with_counters() {
  Profile profile;
  profile.counters = vk::CounterList{
      .counters = {{"Waves", "shader", "of all kinds", "", true}, {"Busy", "shader", "", "%", false}},
      .passes = 2,
      .offered = 5,
      .disturbing = 1,
      .rendering = 1,
      .too_many = 1};
  profile.kernels.emplace_back().name = "k";
  ProfiledProgram& program = profile.programs.emplace_back();
  program.name = "p", program.runs = 2;
  program.calls.resize(2);
  program.counters = {{10, 20}, {30, 80}};
  ProfiledRun& run = program.measured.emplace_back();
  run.times = {.measure = {Timing::isolated}, .host_end = 1000, .kernels = {{0, 100}, {200, 500}}};
  return profile;
}

const Row kBoth{.calls = {0, 1}};

}  // namespace

TEST_SUITE_BEGIN("counter_figures");

TEST_CASE("counts add up, shares are averaged by the calls' times") {
  const Profile profile = profile_with_counters();
  const Analysis analysis = analyse(profile);
  CHECK(counter_of(analysis, kBoth, 0) == 40);
  CHECK(*counter_of(analysis, kBoth, 1) == doctest::Approx((100 * 20 + 300 * 80) / 400.0));
  CHECK(counter_of(analysis, {.calls = {1}}, 1) == 80);
}

TEST_CASE("a value that the device has not told makes none") {
  Profile profile = profile_with_counters();
  profile.programs[0].counters[1][0] = std::numeric_limits<double>::quiet_NaN();
  const Profile read = parse_profile(to_json(profile), "x");
  const Analysis analysis = analyse(read);
  CHECK_FALSE(counter_of(analysis, kBoth, 0).has_value());
  CHECK(counter_of(analysis, {.calls = {0}}, 0) == 10);
}

TEST_CASE("the file keeps them") {
  const Profile profile = profile_with_counters();
  const Profile read = parse_profile(to_json(profile), "x");
  CHECK(read.counters == profile.counters);
  CHECK(read.programs[0].counters == profile.programs[0].counters);
  Profile none = profile_with_counters();
  none.counters.reset(), none.programs[0].counters.clear();
  none.counters_refused = "no right";
  const Profile read_none = parse_profile(to_json(none), "x");
  CHECK_FALSE(read_none.counters.has_value());
  CHECK(read_none.counters_refused == "no right");
}

TEST_CASE("a file whose counters do not fit its calls is refused") {
  Profile calls = profile_with_counters();
  calls.programs[0].counters.pop_back();
  CHECK_THROWS_WITH_AS(parse_profile(to_json(calls), "x"),
                       doctest::Contains("counters of 1 calls, there are 2"), Error);
  Profile values = profile_with_counters();
  values.programs[0].counters[1].push_back(1);
  CHECK_THROWS_WITH_AS(parse_profile(to_json(values), "x"), doctest::Contains("3 values of 2 counters"),
                       Error);
  Profile list = profile_with_counters();
  list.counters.reset();
  CHECK_THROWS_WITH_AS(parse_profile(to_json(list), "x"), doctest::Contains("2 values of 0 counters"), Error);
}

TEST_CASE("the line says what there is and what is not") {
  Profile profile = profile_with_counters();
  const auto line = [&] { return counters_line(analyse(profile)); };
  CHECK(line().find("counters 2 of the driver's 5, counted in 2 runs") == 0);
  CHECK(line().find("left out: 1 that would slow the kernels down, 1 of render passes, 1 beyond 8 runs") !=
        std::string::npos);
  profile.programs[0].counters.clear();
  CHECK(line().find("too few runs to count them") != std::string::npos);
  CHECK(counters_shown(analyse(profile), "*").empty());
  profile.counters_refused = "no right";
  CHECK(line() == "missing  hardware counters: the driver refused, no right");
  profile.counters = vk::CounterList{};
  profile.counters_refused.clear();
  CHECK(line() == "counters 0 of the driver's 0");
  profile.counters.reset();
  CHECK(line() == "missing  hardware counters: this driver has no VK_KHR_performance_query");
}

TEST_CASE("a pattern chooses columns") {
  const Profile profile = profile_with_counters();
  const Analysis analysis = analyse(profile);
  CHECK(counters_shown(analysis, {}) == std::vector<size_t>{0, 1});
  CHECK(counters_shown(analysis, "B*") == std::vector<size_t>{1});
  CHECK_THROWS_WITH_AS(counters_shown(analysis, "nothing"), doctest::Contains("nothing"), Error);
}

TEST_SUITE_END();

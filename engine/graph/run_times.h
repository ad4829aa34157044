// How a run of a program is measured, and what was measured.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace stithy {

enum class Timing : uint8_t {
  ends,        // when a run begins and ends, and when its copies do
  concurrent,  // around every kernel as well, while they run as they always do
  isolated,    // around every kernel, each one alone: it begins when all before it has ended
  counters,    // no kernel's times, but the values of the device's counters, of each one alone
};
// By value.
inline constexpr std::string_view kTimingNames[] = {"ends", "concurrent", "isolated", "counters"};

// What is written down in a run. A timestamp may cost as much as a small kernel: then a run times a part of
// the kernels, those whose number leaves `part` when divided by `parts`. Of counters it is the pass and
// vk::CounterList::passes: run after run, from the first to the last.
struct Measure {
  Timing timing = Timing::ends;
  uint32_t part = 0, parts = 1;
  auto operator<=>(const Measure&) const = default;
};

// Times of one run that was waited for, in nanoseconds. A time that the device did not write is NaN.
struct RunTimes {
  Measure measure;
  // By the host's steady clock: when submit() began, had copied the feeds, had submitted everything, and saw
  // the end.
  double host_begin = 0, host_copied = 0, host_submitted = 0, host_end = 0;
  // By the device's clock since it began: the end of the copies in, of the last kernel, of the copies out.
  // NaN on a device without timestamps.
  double copied_in = 0, computed = 0, copied_out = 0;
  // Begin and end of each of Plan::dispatches, since the run began; empty for Timing::ends. On a device
  // without timestamps by the host's clock, with what a submission costs in them, and for isolated only.
  // NaN for kernels that the run did not time.
  std::vector<std::pair<double, double>> kernels;
  bool by_host = false;  // so are the kernels'
  // By Plan::dispatches and vk::CounterList::counters, in the last pass of Timing::counters; NaN where the
  // device has written none. Empty, and why, where the driver refused to count.
  std::vector<std::vector<double>> counters;
  std::string refused;
  std::optional<double> first_fetch;  // where that is one f32: the loss of a training step
};

}  // namespace stithy

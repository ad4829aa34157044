#include "tools/stithy/profile_counters.h"

#include <cmath>

#include "engine/core/error.h"
#include "nn/module.h"

namespace stithy::profiling {

namespace {

constexpr size_t kShown = 3;

}  // namespace

std::vector<size_t> counters_shown(const Analysis& analysis, const std::optional<std::string>& pattern) {
  if (!analysis.profile->counters || analysis.program->counters.empty()) return {};
  const std::vector<vk::Counter>& counters = analysis.profile->counters->counters;
  std::vector<size_t> shown;
  std::string names;
  for (size_t i = 0; i < counters.size(); ++i) {
    if (pattern ? nn::name_matches(*pattern, counters[i].name) : i < kShown) shown.push_back(i);
    names += cat(i ? ", " : "", counters[i].name);
  }
  if (shown.empty())
    throw Error("stithy profile", cat("no counter is called like \"", pattern.value_or(""), "\""),
                cat("there are ", names));
  return shown;
}

std::optional<double> counter_of(const Analysis& analysis, const Row& row, size_t counter) {
  const bool adds = analysis.profile->counters->counters[counter].adds;
  double sum = 0, weights = 0;
  for (size_t call : row.calls) {
    const double value = analysis.program->counters[call][counter];
    const CallFigures& figures = analysis.calls[call];
    // It was counted alone, so the time alone is its own.
    const double ns = figures.isolated.samples ? figures.isolated.p50 : figures.concurrent.p50;
    const double weight = adds || row.calls.size() == 1 ? 1 : ns;
    sum += weight * value;
    weights += weight;
  }
  const double result = adds ? sum : sum / weights;
  return std::isfinite(result) ? std::optional(result) : std::nullopt;
}

std::string title_of(const vk::Counter& counter) {
  return counter.unit.empty() ? counter.name : cat(counter.name, " [", counter.unit, "]");
}

std::string counters_line(const Analysis& analysis) {
  const Profile& profile = *analysis.profile;
  if (!profile.counters) return "missing  hardware counters: this driver has no VK_KHR_performance_query";
  const vk::CounterList& list = *profile.counters;
  if (!profile.counters_refused.empty())
    return cat("missing  hardware counters: the driver refused, ", profile.counters_refused);
  std::string line = cat("counters ", list.counters.size(), " of the driver's ", list.offered);
  if (!list.counters.empty())
    line += analysis.program->counters.empty()
                ? "; too few runs to count them"
                : cat(", counted in ", list.passes, list.passes == 1 ? " run" : " runs",
                      " of a call each alone; --counters PATTERN chooses columns");
  std::string out;
  const auto left = [&](uint32_t count, const std::string& why) {
    if (count) out += cat(out.empty() ? "" : ", ", count, " ", why);
  };
  left(list.disturbing, "that would slow the kernels down");
  left(list.rendering, "of render passes");
  left(list.too_many, cat("beyond ", vk::CounterList::kMostPasses, " runs"));
  return out.empty() ? line : cat(line, "\n         left out: ", out);
}

}  // namespace stithy::profiling

// What `stithy profile` shows of a profile: the table, the comparison with another, and its files.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "tools/stithy/profile_analysis.h"

namespace stithy::profiling {

struct ReportOptions {
  std::string program;
  View view = View::op;
  Filter filter;
  size_t top = 20;                      // 0: all
  double threshold = 0.05;              // of a regression, as a share
  std::optional<std::string> baseline;  // its name, for messages
  std::optional<std::string> counters;  // a pattern of the hardware counters in the table
  std::optional<std::string> jsonl, perfetto, html;
};

// How long a row, or the step, took in the baseline.
struct Change {
  double before = 0;    // nanoseconds; 0: not there
  double ratio = 0;     // now over before
  bool slower = false;  // beyond the threshold, and beyond what the runs differ by
  bool faster = false;
};
Change compare(const Quantiles& now, const Quantiles& before, double threshold);
// The calls of a row in the baseline: by op, phase, layer and shapes, the n-th among equals. None where one
// is not there.
std::optional<Quantiles> before_of(const Row& row, const Analysis& now, const Analysis& before);

std::string to_jsonl(const Analysis& analysis);

// Prints and writes what the options ask for. Returns 0, or 3 where something is slower than in the baseline.
int report(const Profile& profile, const Profile* baseline, const ReportOptions& options);

}  // namespace stithy::profiling

#include "engine/graph/submissions.h"

#include <algorithm>
#include <limits>

namespace stithy {
namespace {

constexpr double kBound = 0.5;  // amdgpu's newest kernels allow 2 s
constexpr double kDispatchSeconds = 5e-6;
// The first runs compile, touch their memory first, or share the device.
constexpr int kMeasuredRuns = 3;

// Far below what a device of the kind can do: the slowest of them, with a kernel that suits it badly.
struct Rate {
  double flops, bytes;  // a second
};
Rate rate_of(vk::DeviceKind kind) {
  switch (kind) {
    case vk::DeviceKind::discrete: return {3e11, 5e10};
    case vk::DeviceKind::cpu: return {2e9, 2e9};
    default: return {3e10, 5e9};
  }
}

}  // namespace

void predict_seconds(Plan& plan, const vk::DeviceInfo& device) {
  plan.submission_seconds = plan.options.submission_seconds.value_or(
      device.is_cpu() ? std::numeric_limits<double>::infinity() : kBound);
  const Rate rate = rate_of(device.kind);
  for (PlannedDispatch& dispatch : plan.dispatches) {
    double bytes = 0;
    for (const Span& span : dispatch.spans) bytes += static_cast<double>(span.bytes);
    dispatch.seconds = kDispatchSeconds + std::max(bytes / rate.bytes, dispatch.flops / rate.flops);
  }
}

std::vector<size_t> submission_cuts(const Plan& plan, double scale) {
  std::vector<size_t> cuts;
  double sum = 0;
  for (size_t i = 0; i < plan.dispatches.size(); ++i) {
    const double seconds = plan.dispatches[i].seconds * scale;
    if (i > 0 && sum + seconds > plan.submission_seconds) {
      cuts.push_back(i);
      sum = 0;
    }
    sum += seconds;
  }
  return cuts;
}

SubmissionTimer::SubmissionTimer(const Plan& plan) : bound_(plan.submission_seconds) {
  for (const PlannedDispatch& dispatch : plan.dispatches) predicted_ += dispatch.seconds;
  // The rates are low, but a device may be slower still.
  if (predicted_ > bound_ / 8) runs_left_ = kMeasuredRuns;
}

bool SubmissionTimer::add(double seconds) {
  best_ = runs_left_ == kMeasuredRuns ? seconds : std::min(best_, seconds);
  --runs_left_;
  const double measured = best_ / predicted_;
  // Too long is put right at once, too short when it has been seen often enough.
  if (measured <= scale_ && runs_left_ > 0) return false;
  const bool changed = measured != scale_;
  scale_ = measured;
  return changed;
}

}  // namespace stithy

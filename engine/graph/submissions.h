// How long kernels will run, and where a run is cut into submissions that no watchdog kills.
#pragma once

#include <cstddef>
#include <vector>

#include "engine/graph/plan.h"

namespace stithy {

// Sets PlannedDispatch::seconds, from FLOPs and bytes at a rate that every device of the kind should reach,
// and Plan::submission_seconds.
void predict_seconds(Plan& plan, const vk::DeviceInfo& device);

// The dispatches that begin a submission, the first one not among them: each submission takes at most
// plan.submission_seconds when every dispatch takes `scale` times what was predicted, or is a single
// dispatch.
std::vector<size_t> submission_cuts(const Plan& plan, double scale);

// What measured runs say of the prediction. A program runs alone while it is measured, so only those are
// whose prediction comes near the bound.
class SubmissionTimer {
 public:
  explicit SubmissionTimer(const Plan& plan);
  // True while runs should be measured.
  bool measures() const { return runs_left_ > 0; }
  // Takes the wall time of a run; true when the cuts for scale() may now be other ones.
  bool add(double seconds);
  double scale() const { return scale_; }

 private:
  double predicted_ = 0, bound_ = 0, scale_ = 1, best_ = 0;
  int runs_left_ = 0;
};

}  // namespace stithy

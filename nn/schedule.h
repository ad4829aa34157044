// Learning-rate schedules: pure functions of the step, which give the factor of the optimizer's learning
// rate. They keep no state, so that a resumed run goes on exactly. Formulas are those of
// torch.optim.lr_scheduler, relative to the base rate.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace stithy::nn {

// The factor of step 0, 1, ... (steps of the optimizer).
using Schedule = std::function<double(int64_t step)>;

namespace schedule {

Schedule constant(double factor = 1);
// gamma^(step / every), rounded down.
Schedule step(int64_t every, double gamma = 0.1);
// gamma^(number of milestones reached). Throws Error unless the milestones rise.
Schedule multi_step(std::vector<int64_t> milestones, double gamma = 0.1);
Schedule exponential(double gamma);
// (1 - step / total)^power down to `end`, where it stays.
Schedule polynomial(int64_t total, double power = 1, double end = 0);
// Half a cosine from 1 down to `end`, where it stays.
Schedule cosine(int64_t total, double end = 0);
// Cosine again and again, each period `multiplier` times as long (Loshchilov and Hutter 2017).
Schedule warm_restarts(int64_t period, int64_t multiplier = 1, double end = 0);
struct OneCycle {
  double rise = 0.3;          // the part of all steps that the rate rises
  double start_divisor = 25;  // starts at 1 / start_divisor
  double end_divisor = 1e4;   // ends at 1 / (start_divisor * end_divisor)
  bool linear = false;        // instead of cosine
};
// Up to 1 and down again (Smith and Topin 2018); stays at the end value.
Schedule one_cycle(int64_t total, const OneCycle& options = {});
// From `start` linearly to 1 over `steps` steps, then `after`, which begins at step 0 there.
Schedule linear_warmup(int64_t steps, Schedule after = constant(), double start = 0);
// One after another: each schedule with the number of steps that it lasts; the last one stays.
Schedule sequence(std::vector<std::pair<Schedule, int64_t>> parts);
// All at once: the product of the factors.
Schedule chained(std::vector<Schedule> parts);

}  // namespace schedule

struct PlateauOptions {
  double factor = 0.1;
  int64_t patience = 10;    // observations without improvement that are borne
  double threshold = 1e-4;  // an improvement is better than best * (1 - threshold), relative to best
  int64_t cooldown = 0;     // observations after a reduction that do not count
  double least = 0;         // the factor goes no lower
  bool maximize = false;
};

// Lowers the factor when a metric no longer improves. The one schedule with state, which is a line of text.
class ReduceOnPlateau {
 public:
  explicit ReduceOnPlateau(const PlateauOptions& options = {});
  // Takes a validation metric; NaN counts as no improvement.
  void observe(double metric);
  double factor() const { return factor_; }
  std::string state() const;
  // Throws Error for a text that state() did not write.
  void restore(const std::string& state);

 private:
  PlateauOptions options_;
  double factor_ = 1, best_;
  int64_t bad_ = 0, cooldown_ = 0;
};

struct EarlyStoppingOptions {
  int64_t patience = 5;  // observations without improvement that are borne
  double threshold = 0;  // how much better than the best one an improvement is
  bool maximize = false;
};

// Tells when a metric has not improved for longer than `patience` observations.
class EarlyStopping {
 public:
  explicit EarlyStopping(const EarlyStoppingOptions& options = {});
  // True when this is the best so far.
  bool observe(double metric);
  bool stop() const { return bad_ > options_.patience; }
  double best() const { return best_; }
  std::string state() const;
  void restore(const std::string& state);

 private:
  EarlyStoppingOptions options_;
  double best_;
  int64_t bad_ = 0;
};

}  // namespace stithy::nn

// Fit: epochs over a loader, with validation, early stopping, checkpoints and a clean stop on Ctrl-C.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>

#include "nn/data/loader.h"
#include "nn/schedule.h"
#include "nn/trainer.h"

namespace stithy::nn {

// Metrics over a whole loader: means weighted by the number of items, "loss" included.
using MeanMetrics = std::map<std::string, double>;

// One epoch of `loader` from its start, in evaluation mode. `see` gets every batch with the model's output,
// padded rows included.
MeanMetrics evaluate(Trainer& trainer, DataLoader& loader,
                     const std::function<void(const Batch&, const Array& output)>& see = {},
                     int64_t most_batches = 0);

struct StepReport {
  int64_t epoch = 0, batch = 0;  // this step's
  Metrics metrics;
};

struct EpochReport {
  int64_t epoch = 0, steps = 0;  // steps: updates so far
  MeanMetrics train = {};        // means over the steps of this epoch that this process took
  MeanMetrics validation = {};   // empty without validation data
  bool best = false;             // the monitored metric is the best so far
};

struct FitOptions {
  int64_t epochs = 10;
  int64_t most_steps = 0;      // updates; 0: no limit
  int64_t validate_steps = 0;  // reports and validates every so many updates instead of after each epoch
  DataLoader* validation = nullptr;  // evaluated after every epoch
  std::string monitor = "loss";      // the validation metric (without validation: the training metric) that
                                     // early stopping, keep_best and the plateau schedule look at
  bool maximize = false;             // true for accuracy
  std::optional<int64_t> patience = {};  // epochs without improvement before training stops early
  std::string folder = {};               // of the checkpoints; empty: none are written
  int64_t checkpoint_steps = 0;  // a checkpoint every so many updates, beside the one after each epoch
  int64_t keep = 0;              // of the checkpoints named by step; 0: only the latest, and the best
  bool keep_best = true;
  // Afterwards the model has the parameters and buffers of its best epoch, not those of the last. A resumed
  // run knows them where keep_best wrote them.
  bool restore_best = false;
  bool fast_dev_run = false;   // three steps and one validation batch, to see that everything works
  bool overfit_batch = false;  // the first batch again and again, without validation
  Metadata metadata = {};      // goes into every checkpoint
  std::function<void(const StepReport&)> on_step = {};
  std::function<void(const EpochReport&)> on_epoch = {};
};

struct FitResult {
  enum class Reason { finished, early_stop, interrupted } reason = Reason::finished;
  int64_t steps = 0;  // updates in all
  double best = 0;    // the monitored metric
};

// Files in FitOptions::folder.
inline constexpr const char* kLatestCheckpoint = "checkpoint.safetensors";
inline constexpr const char* kBestCheckpoint = "best.safetensors";

class Fit {
 public:
  // Throws Error for options out of range.
  Fit(Trainer& trainer, DataLoader& train, FitOptions options);
  // Goes on where the checkpoint was written: position in the data, best value and all that Trainer::load
  // restores. Throws Error when the batch size or the order of the data is not the same.
  void resume(const std::string& path);
  // Whether run() has no step to take.
  bool finished() const;
  // Throws Error when the gradient is not finite for many steps in a row.
  FitResult run();

 private:
  void save(const std::string& name) const;
  void save_numbered() const;
  void note(const StepReport& report);
  void flush();
  void note_best();
  bool end_epoch(int64_t epoch);
  bool last_step() const;

  Trainer& trainer_;
  DataLoader& loader_;
  FitOptions options_;
  EarlyStopping stopping_;
  std::optional<StepReport> unread_;  // submitted; its metrics are read after the next one is
  std::map<std::string, std::pair<double, int64_t>> sums_;
  int64_t skipped_in_a_row_ = 0;
  std::vector<std::pair<Variable, Array>> best_;  // for restore_best
};

}  // namespace stithy::nn

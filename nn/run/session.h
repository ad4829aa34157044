// Session: what every sample has around its training: options, device, run folder, progress, report.
//
//   int main(int argc, char** argv) {
//     nn::Session session("digits", "classifies digits", {.epochs = 3});
//     return session.run(argc, argv, [&] {
//       ...
//       session.fit(trainer, loader);
//       session.finish({{"test_accuracy", accuracy}});
//     });
//   }
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <span>
#include <string>

#include "nn/data/loader.h"
#include "nn/fit.h"
#include "nn/run/arguments.h"
#include "nn/run/progress.h"
#include "nn/run/report.h"
#include "nn/run/run_folder.h"
#include "nn/trainer.h"

namespace stithy::nn {

// One of several trainings of a run, which come one after another. Its checkpoints stand in a folder of its
// name, and its metrics and charts have the name before theirs.
struct Stage {
  std::string name = {};  // of letters, digits, '_' and '-'; empty where there is but one
  double share = 1;       // of the run's epochs or steps
};

class Session {
 public:
  // `defaults` are this sample's; --out is by default the first free folder runs/NAME-1, runs/NAME-2 ..., and
  // "none" writes nothing.
  Session(const std::string& name, const std::string& summary, const RunOptions& defaults);

  // For a sample's own options, before run().
  Arguments& arguments() { return arguments_; }
  const RunOptions& options() const { return options_; }

  // Reads the command line, with --resume that of the run to go on with; chooses the device, seeds the
  // generators, then calls `body`. Returns the exit status: 0; 1 after an error, which is printed; 128 and
  // the number of the signal that stopped training.
  int run(int argc, const char* const* argv, const std::function<void()>& body);

  // The updates that fit() will take, each of `accumulate` batches: what a schedule is made for.
  int64_t total_steps(const DataLoader& train, int64_t accumulate = 1, double share = 1) const;
  // Trains as the options say (epochs or steps, resume, fast dev run, overfitting one batch), shows how it
  // goes, and writes metrics and checkpoints into the run folder. After Ctrl-C or SIGTERM it does not return
  // to the body: run() ends. `train` begins with its first epoch. A resumed run passes over the stages that
  // were complete, whose trainers get what they had learnt.
  FitResult fit(Trainer& trainer, DataLoader& train, FitOptions options = {}, const Stage& stage = {});

  // What finish() writes; a sample adds its own tables, pictures and text.
  Report& report() { return report_; }
  // A large picture, or an animation of several, in the report and as NAME.png in the run folder; one of the
  // same name is replaced. Throws Error for a name of other than letters, digits, '_' and '-', and for what
  // encode_png() or encode_apng() refuse.
  void figure(const std::string& name, const Array& picture, const std::string& caption);
  void figure(const std::string& name, std::span<const Array> frames, double seconds_per_frame,
              const std::string& caption);
  // Confusion matrix, accuracy and loss of class logits over a loader of {x, class}; into the report go the
  // matrix and, where x is images (u8), pictures with what was predicted. Returns the means.
  MeanMetrics evaluate_classes(Trainer& trainer, DataLoader& test, std::vector<std::string> class_names = {});
  // A line above the progress bar.
  void print(const std::string& text);
  // Ends the run: report.html, metrics.csv, and the line "result test_accuracy=0.981 ... steps=..
  // seconds=..".
  void finish(const stithy::Metrics& result);

  // The run folder, or nothing where none is written.
  const RunFolder* folder() const { return folder_ ? &*folder_ : nullptr; }
  double seconds() const;

 private:
  bool start(int argc, const char* const* argv);
  int64_t part(int64_t whole, double share) const;
  void describe(Trainer& trainer, DataLoader& train, const std::string& stage);
  void open_folder(int64_t steps);
  std::string metric(const std::string& name) const;
  void report_step(const StepReport& report, int64_t batches, int64_t log_every);
  void add_figure(ReportFigure figure);
  void report_epoch(const EpochReport& report);

  std::string name_;
  RunOptions options_;
  bool print_summary_ = false;
  Arguments arguments_;
  std::optional<RunFolder> folder_;
  std::optional<Progress> progress_;
  Report report_;
  std::vector<std::string> stages_;  // begun so far; the last one's metrics have its name before theirs
  int64_t steps_ = 0;                // of the stages that are complete
  bool resumes_ = false;             // the next stage has a checkpoint to go on from
  double seconds_before_ = 0;        // of the run that was resumed
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace stithy::nn

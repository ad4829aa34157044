// Trainer: a model, a loss and an optimizer as programs: a training step (forward, backward, clipping,
// update and metrics) is planned and recorded once for each shape of a batch, then replayed.
#pragma once

#include <array>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/core/array.h"
#include "engine/core/error.h"
#include "engine/graph/program.h"
#include "nn/checkpoint.h"
#include "nn/loss.h"
#include "nn/module.h"
#include "nn/optim/optimizer.h"
#include "nn/schedule.h"
#include "nn/summary.h"

namespace stithy::nn {

using Loss = std::function<Tensor(const Tensor& output, const Tensor& target)>;

// What a model makes of one batch.
struct StepOutputs {
  Tensor loss = {};                                          // f32 [], of all parameters
  Tensor output = {};                                        // what evaluation hands out; may be undefined
  std::vector<std::pair<std::string, Tensor>> metrics = {};  // f32 [], means over the batch
  // Where parts of the model play against each other: a loss, f32 [], for the parameters whose names match a
  // pattern, "generator.*", and for them alone; the others are left to `loss`. All are updated at once, from
  // the same values. Where patterns overlap, the last one counts; one that matches nothing that is trained
  // throws Error.
  std::vector<std::pair<std::string, Tensor>> part_losses = {};
};
// The batch has one tensor a column of the data; those that it does not use are not uploaded.
using StepFunction = std::function<StepOutputs(std::span<const Tensor> batch)>;

// The part of the targets, other than `ignore_index`, that is the largest of the logits. logits [..., c],
// targets i32 [...].
Tensor accuracy(const Tensor& logits, const Tensor& targets, int32_t ignore_index = -100);

// The part of the sequences all of whose targets, other than `ignore_index`, are the largest of their logits:
// what greedy decoding, a token after another, makes without a mistake. logits [n, t, c], targets i32 [n, t].
Tensor exact_match(const Tensor& logits, const Tensor& targets, int32_t ignore_index = -100);

struct TrainerOptions {
  Schedule schedule = schedule::constant();
  std::optional<PlateauOptions> plateau = {};  // multiplies the schedule's factor
  int64_t accumulate = 1;                      // micro-batches an update; the gradient is their mean
  float clip_value = 0;                        // 0: not clipped
  float clip_norm = 0;
};

struct Metrics {
  int64_t step = 0;  // updates before this batch
  double loss = 0;
  double lr = 0;
  double grad_norm = 0;  // before clipping by norm; NaN where the batch made no update
  bool skipped = false;  // the gradient was not finite, so nothing was updated
  std::map<std::string, double> values = {};
};

struct Evaluation {
  Metrics metrics;
  Array output;
};

class Trainer {
 public:
  // Batches are {x, target}: the loss is loss(model(x), target). Where the targets are classes, the
  // accuracy is a metric. The model must outlive the trainer.
  Trainer(Module& model, Loss loss, Optimizer optimizer, TrainerOptions options = {});
  Trainer(Module& model, StepFunction step, Optimizer optimizer, TrainerOptions options = {});
  ~Trainer();
  Trainer(const Trainer&) = delete;

  // Submits one step and does not wait for it: the next batch is uploaded while this one is computed. A
  // batch for which the device has too little memory throws OutOfMemory with the largest batch that fits.
  void step(const std::vector<Array>& batch);
  // Of the last step, for which it waits, or of the one before it.
  Metrics metrics() const { return metrics_of(0); }
  std::optional<Metrics> previous_metrics() const;

  // Loss, metrics and output in evaluation mode.
  Evaluation evaluate(const std::vector<Array>& batch);
  // The same without waiting: at most two at a time, then read() each in turn.
  struct Pending;
  std::shared_ptr<Pending> submit_evaluation(const std::vector<Array>& batch);
  Evaluation read(const Pending& pending) const;
  // model(x) in evaluation mode.
  Array predict(const Array& x);

  // The table of layers for such a batch.
  Summary summary(const std::vector<Array>& batch);
  // Makes the training program for a batch of these shapes, and tells what it will do and need.
  const Plan& plan(const std::vector<Array>& batch);
  // What a step with such a batch would do and need, found without making it: nothing is allocated.
  Plan forecast(const std::vector<Array>& batch);
  // What its steps with such a batch have cost the host.
  const Program::Counters& counters(const std::vector<Array>& batch);

  size_t program_count() const { return programs_.size(); }
  int64_t steps() const { return step_; }  // updates so far, skipped ones included
  double lr() const;                       // of the next update
  ReduceOnPlateau* plateau() { return plateau_ ? &*plateau_ : nullptr; }
  Module& model() const { return model_; }
  const Optimizer& optimizer() const { return optimizer_; }

  // All that training needs to go on bit for bit: parameters, buffers, optimizer, accumulated gradients,
  // random generator, steps and plateau; `extra` is kept beside them and handed back by load().
  void save(const std::string& path, const Metadata& extra = {}) const;
  Metadata load(const std::string& path);

 private:
  enum class Kind : uint8_t { accumulate, update, evaluate, predict };
  struct Graph;
  struct Built;
  std::vector<Tensor> gradients_of(const StepOutputs& out) const;
  Graph build(Kind kind, std::span<const Tensor> inputs);
  Graph build_graph(Kind kind, const std::vector<Array>& batch, std::optional<int64_t> rows = {});
  Plan planned(Kind kind, const std::vector<Array>& batch, std::optional<int64_t> rows = {});
  std::shared_ptr<Built> program(Kind kind, const std::vector<Array>& batch);
  Kind training_kind() const;
  Metrics metrics_of(size_t back) const;
  Metrics read_metrics(const Pending& pending) const;
  [[noreturn]] void rethrow_with_batch_that_fits(Kind kind, const std::vector<Array>& batch,
                                                 const OutOfMemory& error);
  std::vector<NamedVariable> variables() const;

  Module& model_;
  StepFunction function_;
  Optimizer optimizer_;
  TrainerOptions options_;
  std::optional<ReduceOnPlateau> plateau_;
  std::vector<NamedVariable> accumulators_;
  std::vector<Variable> totals_;  // they, laid out as packed gradients are
  std::map<std::string, std::shared_ptr<Built>> programs_;
  std::array<std::shared_ptr<Pending>, 2> submitted_;  // the last step, and the one before
  int64_t step_ = 0, micro_ = 0;
  uint64_t clock_ = 0;
};

}  // namespace stithy::nn

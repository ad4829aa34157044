#include "nn/trainer.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/core/error.h"
#include "engine/graph/device.h"
#include "engine/graph/program.h"
#include "engine/ops.h"
#include "engine/tune.h"
#include "nn/init.h"

namespace stithy::nn {

// A training or evaluation graph that is not yet a program.
struct Trainer::Graph {
  std::vector<Tensor> inputs;
  Tensor lr;                         // an input as well; undefined where nothing is updated
  std::vector<Tensor> fetches;       // loss, metrics, then the gradient norm or the output
  std::vector<std::string> metrics;  // their names
  bool has_norm = false, has_output = false;
  std::vector<Tensor> updates;
};

struct Trainer::Built {
  Graph graph;
  Program program;
  uint64_t used = 0;  // when, for the choice of the one to drop
  Built(Kind kind, Graph g) : graph(std::move(g)), program(graph.fetches, graph.updates, options_of(kind)) {}
  static ProgramOptions options_of(Kind kind) {
    constexpr const char* kNames[] = {"gradients of a micro-batch", "training step", "evaluation",
                                      "prediction"};
    ProgramOptions options = ProgramOptions::from_environment();
    options.name = kNames[static_cast<size_t>(kind)];
    return options;
  }
  // Columns that the step does not look at stay here.
  std::vector<Feed> feeds(const std::vector<Array>& batch) const {
    std::vector<Feed> feeds;
    for (size_t i = 0; i < batch.size(); ++i)
      if (std::ranges::any_of(program.plan().inputs,
                              [&](const auto& wanted) { return wanted.tensor == graph.inputs[i]; }))
        feeds.push_back({graph.inputs[i], &batch[i]});
    return feeds;
  }
};

struct Trainer::Pending {
  std::shared_ptr<Built> built;
  uint64_t serial = 0;
  int64_t step = 0;
  double lr = 0;
};

namespace {
// Programs are kept for the shapes of batches seen last; each holds device memory.
constexpr size_t kPrograms = 16;

StepFunction step_function(Module& model, Loss loss) {
  return [&model, loss = std::move(loss)](std::span<const Tensor> batch) {
    if (batch.size() != 2)
      throw Error("trainer", cat("a batch of ", batch.size(), " columns; the loss takes {x, target}"),
                  "give the trainer a StepFunction for other batches");
    StepOutputs out{.output = model(batch[0])};
    const Tensor& target = batch[1];
    out.loss = loss(out.output, target);
    if (target.dtype() == DType::i32 && out.output.rank() == target.rank() + 1)
      out.metrics.emplace_back("accuracy", accuracy(out.output, target));
    return out;
  };
}

void check_scalar(const std::string& name, const Tensor& x) {
  if (!x.defined() || x.rank() != 0 || x.dtype() != DType::f32)
    throw Error("trainer", cat(name, " must be a scalar of f32",
                               x.defined() ? cat(", it is ", x.dtype(), " ", x.shape()) : ""));
}
}  // namespace

Tensor accuracy(const Tensor& logits, const Tensor& targets, int32_t ignore_index) {
  const Tensor right = cast(equal(argmax(logits, -1), targets), DType::f32);
  const Tensor counted =
      cast(not_equal(targets, Tensor(Array({}, std::span<const int32_t>(&ignore_index, 1)))), DType::f32);
  return sum(right * counted) / maximum(sum(counted), 1.0f);
}

Tensor exact_match(const Tensor& logits, const Tensor& targets, int32_t ignore_index) {
  const Tensor ignored = equal(targets, Tensor(Array({}, std::span<const int32_t>(&ignore_index, 1))));
  const Tensor right = logical_or(equal(argmax(logits, -1), targets), ignored);
  // A sequence without a target, such as one that fills up a batch, counts for nothing.
  const Tensor counted = max(1.0f - cast(ignored, DType::f32), {-1});
  return sum(min(cast(right, DType::f32), {-1}) * counted) / maximum(sum(counted), 1.0f);
}

Trainer::Trainer(Module& model, Loss loss, Optimizer optimizer, TrainerOptions options)
    : Trainer(model, step_function(model, std::move(loss)), std::move(optimizer), std::move(options)) {}

Trainer::Trainer(Module& model, StepFunction step, Optimizer optimizer, TrainerOptions options)
    : model_(model),
      function_(std::move(step)),
      optimizer_(std::move(optimizer)),
      options_(std::move(options)) {
  if (options_.accumulate < 1)
    throw Error("trainer", cat("accumulate must be at least 1, got ", options_.accumulate));
  if (!(options_.clip_value >= 0) || !(options_.clip_norm >= 0))
    throw Error("trainer", "clip_value and clip_norm must be at least 0");
  if (options_.plateau) plateau_.emplace(*options_.plateau);
  optimizer_.bind(model_.trainable_parameters());
  if (options_.accumulate > 1) {
    for (const auto& [name, variable] : optimizer_.trained())
      accumulators_.push_back(
          {"accumulated." + name, Variable("accumulated." + name, Array(variable.shape(), DType::f32))});
    totals_ = optimizer_.join("accumulated", accumulators_);
  }
}

Trainer::~Trainer() = default;

double Trainer::lr() const {
  return optimizer_.lr() * options_.schedule(step_) * (plateau_ ? plateau_->factor() : 1);
}

Trainer::Kind Trainer::training_kind() const {
  return micro_ + 1 == options_.accumulate ? Kind::update : Kind::accumulate;
}

std::vector<Tensor> Trainer::gradients_of(const StepOutputs& out) const {
  const std::vector<NamedVariable>& trained = optimizer_.trained();
  std::vector<std::pair<Tensor, std::vector<size_t>>> parts{{out.loss, {}}};  // and the parameters of each
  for (const auto& [pattern, loss] : out.part_losses) {
    check_scalar(cat("the loss of ", pattern), loss);
    parts.push_back({loss, {}});
  }
  for (size_t i = 0; i < trained.size(); ++i) {
    size_t part = out.part_losses.size();
    while (part > 0 && !name_matches(out.part_losses[part - 1].first, trained[i].name)) --part;
    parts[part].second.push_back(i);
  }
  std::vector<Tensor> result(trained.size());
  for (size_t part = 0; part < parts.size(); ++part) {
    const auto& [loss, members] = parts[part];
    if (members.empty() && part > 0)
      throw Error("trainer", cat("the loss of \"", out.part_losses[part - 1].first, "\" has no parameter"),
                  cat("names of parameters are such as \"", trained.front().name, "\""));
    if (members.empty()) continue;
    std::vector<Tensor> parameters;
    for (const size_t i : members) parameters.push_back(trained[i].variable);
    const std::vector<Tensor> dws = gradients(
        options_.accumulate > 1 ? loss * (1.0f / static_cast<float>(options_.accumulate)) : loss, parameters);
    for (size_t i = 0; i < members.size(); ++i) result[members[i]] = dws[i];
  }
  return result;
}

Trainer::Graph Trainer::build(Kind kind, std::span<const Tensor> inputs) {
  Graph graph;
  graph.inputs.assign(inputs.begin(), inputs.end());
  if (kind == Kind::predict) {
    graph.fetches = {model_(inputs[0])};
    graph.has_output = true;
    return graph;
  }
  StepOutputs out = function_(inputs);
  check_scalar("the loss", out.loss);
  graph.fetches = {out.loss};
  for (const auto& [name, value] : out.metrics) {
    check_scalar("the metric " + name, value);
    graph.metrics.push_back(name);
    graph.fetches.push_back(value);
  }
  if (kind == Kind::evaluate) {
    graph.has_output = out.output.defined();
    if (graph.has_output) graph.fetches.push_back(out.output);
    return graph;
  }

  graph.updates = take_updates();
  const std::vector<Tensor> of_parameters = gradients_of(out);
  {
    const PhaseGuard phase(Phase::optimizer);
    const ScopeGuard scope("optimizer", true);
    std::vector<Tensor> dws = optimizer_.pack(of_parameters);
    for (size_t i = 0; i < totals_.size(); ++i) {
      dws[i] = accumulate(totals_[i], dws[i]);
      if (kind == Kind::accumulate) graph.updates.push_back(dws[i]);
    }
    if (kind == Kind::update) {
      if (options_.clip_value > 0) dws = clip_by_value(dws, options_.clip_value);
      const Tensor norm = global_norm(dws);
      const Tensor scale = options_.clip_norm > 0 ? clip_coefficient(norm, options_.clip_norm) : Tensor(1.0f);
      graph.lr = input("lr", {}, DType::f32);
      // One NaN in a gradient would spoil parameters and state for good: such a step is skipped.
      for (Tensor& update : optimizer_.step(dws, graph.lr, where(isfinite(norm), scale, 0.0f)))
        graph.updates.push_back(std::move(update));
      for (const Variable& total : totals_) graph.updates.push_back(assign(total, zeros(total.shape())));
      graph.fetches.push_back(norm);
      graph.has_norm = true;
    }
    graph.updates.push_back(default_generator().advance());
  }
  return graph;
}

Trainer::Graph Trainer::build_graph(Kind kind, const std::vector<Array>& batch, std::optional<int64_t> rows) {
  if (batch.empty()) throw Error("trainer", "the batch has no column");
  std::vector<Tensor> inputs;
  for (const Array& column : batch) {
    Shape shape = column.shape();
    if (rows && shape.rank() > 0) shape[0] = *rows;
    inputs.push_back(input(cat("batch.", inputs.size()), shape, column.dtype()));
  }
  // Every program draws the same random streams, whichever was built first.
  default_generator().restart_streams();
  take_updates();
  // A root that is frozen says that it evaluates, whatever the parts of it that are trained do.
  const auto modules = model_.named_modules();
  const bool was_training =
      std::any_of(modules.begin(), modules.end(), [](const auto& named) { return named.module->training(); });
  model_.train(kind == Kind::accumulate || kind == Kind::update);
  try {
    Graph graph = build(kind, inputs);
    model_.train(was_training);
    return graph;
  } catch (...) {
    model_.train(was_training);
    throw;
  }
}

Plan Trainer::planned(Kind kind, const std::vector<Array>& batch, std::optional<int64_t> rows) {
  const Graph graph = build_graph(kind, batch, rows);
  return make_plan(graph.fetches, graph.updates, {}, default_device_info());
}

std::shared_ptr<Trainer::Built> Trainer::program(Kind kind, const std::vector<Array>& batch) {
  std::string key = cat(static_cast<int>(kind));
  for (const Array& column : batch) key += cat(" ", column.dtype(), column.shape());
  std::shared_ptr<Built>& slot = programs_[key];
  if (!slot) {
    try {
      slot = std::make_shared<Built>(kind, build_graph(kind, batch));
    } catch (const OutOfMemory& error) {
      programs_.erase(key);
      rethrow_with_batch_that_fits(kind, batch, error);
    } catch (...) {
      programs_.erase(key);
      throw;
    }
  }
  slot->used = ++clock_;
  const std::shared_ptr<Built> built = slot;
  if (programs_.size() > kPrograms)
    programs_.erase(std::min_element(programs_.begin(), programs_.end(), [](const auto& a, const auto& b) {
      return a.second->used < b.second->used;
    }));
  return built;
}

void Trainer::rethrow_with_batch_that_fits(Kind kind, const std::vector<Array>& batch,
                                           const OutOfMemory& error) {
  const int64_t rows = batch[0].shape().rank() > 0 ? batch[0].shape()[0] : 1;
  const auto fits = [&](int64_t n) { return planned(kind, batch, n).new_bytes() <= error.available(); };
  int64_t good = 0, bad = rows;
  while (bad - good > 1) {
    const int64_t middle = good + (bad - good) / 2;
    (fits(middle) ? good : bad) = middle;
  }
  throw OutOfMemory(error.where(), error.needed(), error.available(),
                    good > 0
                        ? cat("a batch of ", good, " fits instead of ", rows,
                              "; accumulate gradients over several of them for the same update")
                        : "not even a batch of one fits: make the model smaller, or choose another device");
}

void Trainer::step(const std::vector<Array>& batch) {
  const Kind kind = training_kind();
  auto pending = std::make_shared<Pending>();
  pending->built = program(kind, batch);
  pending->step = step_;
  pending->lr = lr();
  const Graph& graph = pending->built->graph;
  const Array rate = Array::scalar(static_cast<float>(pending->lr));
  std::vector<Feed> feeds = pending->built->feeds(batch);
  if (graph.lr.defined()) feeds.push_back({graph.lr, &rate});
  pending->serial = pending->built->program.submit(feeds);
  submitted_[1] = std::exchange(submitted_[0], std::move(pending));
  micro_ = (micro_ + 1) % options_.accumulate;
  if (micro_ == 0) ++step_;
  tune_between_steps();
}

Metrics Trainer::read_metrics(const Pending& pending) const {
  const Graph& graph = pending.built->graph;
  Program& program = pending.built->program;
  Metrics metrics{.step = pending.step, .lr = pending.lr};
  metrics.loss = program.read(0, pending.serial).item();
  for (size_t i = 0; i < graph.metrics.size(); ++i)
    metrics.values[graph.metrics[i]] = program.read(1 + i, pending.serial).item();
  metrics.grad_norm = graph.has_norm ? program.read(graph.fetches.size() - 1, pending.serial).item()
                                     : std::numeric_limits<double>::quiet_NaN();
  metrics.skipped = graph.has_norm && !std::isfinite(metrics.grad_norm);
  return metrics;
}

Metrics Trainer::metrics_of(size_t back) const {
  if (!submitted_[back]) throw Error("trainer", "no step was taken yet", "call step() first");
  return read_metrics(*submitted_[back]);
}

std::optional<Metrics> Trainer::previous_metrics() const {
  if (!submitted_[1]) return {};
  return metrics_of(1);
}

std::shared_ptr<Trainer::Pending> Trainer::submit_evaluation(const std::vector<Array>& batch) {
  auto pending = std::make_shared<Pending>();
  pending->built = program(Kind::evaluate, batch);
  pending->step = step_;
  pending->serial = pending->built->program.submit(pending->built->feeds(batch));
  return pending;
}

Evaluation Trainer::read(const Pending& pending) const {
  Evaluation evaluation{.metrics = read_metrics(pending), .output = {}};
  const Graph& graph = pending.built->graph;
  if (graph.has_output)
    evaluation.output = pending.built->program.read(graph.fetches.size() - 1, pending.serial);
  return evaluation;
}

Evaluation Trainer::evaluate(const std::vector<Array>& batch) { return read(*submit_evaluation(batch)); }

Array Trainer::predict(const Array& x) {
  const std::shared_ptr<Built> built = program(Kind::predict, {x});
  const Feed feed{built->graph.inputs[0], &x};
  const uint64_t serial = built->program.submit({&feed, 1});
  return built->program.read(0, serial);
}

Summary Trainer::summary(const std::vector<Array>& batch) {
  std::vector<Tensor> inputs;
  for (const Array& column : batch)
    inputs.push_back(input(cat("batch.", inputs.size()), column.shape(), column.dtype()));
  return summarize(model_, [&] { return function_(inputs).loss; });
}

const Plan& Trainer::plan(const std::vector<Array>& batch) {
  return program(training_kind(), batch)->program.plan();
}

Plan Trainer::forecast(const std::vector<Array>& batch) { return planned(training_kind(), batch); }

const Program::Counters& Trainer::counters(const std::vector<Array>& batch) {
  return program(training_kind(), batch)->program.counters();
}

std::vector<NamedVariable> Trainer::variables() const {
  std::vector<NamedVariable> all = model_.named_parameters();
  const auto append = [&](const std::vector<NamedVariable>& more) {
    all.insert(all.end(), more.begin(), more.end());
  };
  append(model_.named_buffers());
  append(optimizer_.state());
  append(accumulators_);
  all.push_back({"generator.state", default_generator().state()});
  return all;
}

void Trainer::save(const std::string& path, const Metadata& extra) const {
  Metadata metadata = extra;
  metadata["format"] = "stithy-checkpoint-1";
  metadata["step"] = cat(step_);
  metadata["micro"] = cat(micro_);
  metadata["optimizer"] = optimizer_.describe();
  if (plateau_) metadata["plateau"] = plateau_->state();
  save_checkpoint(path, variables(), metadata);
}

Metadata Trainer::load(const std::string& path) {
  Metadata metadata = load_checkpoint(path, variables());
  const auto number = [&](const char* key) {
    const std::string& text = metadata[key];
    if (text.empty() || text.size() > 18 || text.find_first_not_of("0123456789") != std::string::npos)
      throw Error(path, cat("is no checkpoint of a trainer: \"", key, "\" is \"", text, "\""));
    return static_cast<int64_t>(std::stoll(text));
  };
  step_ = number("step");
  micro_ = number("micro") % options_.accumulate;
  if (plateau_) plateau_->restore(metadata["plateau"]);
  submitted_ = {};
  return metadata;
}

}  // namespace stithy::nn

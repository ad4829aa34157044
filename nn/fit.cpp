#include "nn/fit.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>

#include "engine/core/error.h"
#include "nn/interrupt.h"

namespace stithy::nn {

namespace {
// A gradient that overflows once recovers; one that stays so never does.
constexpr int64_t kMostSkipped = 20;
// Metadata of the metrics summed so far in the epoch: without validation they drive the plateau schedule.
constexpr std::string_view kSum = "sum.";

std::string text(const Metadata& metadata, const std::string& key) {
  const auto found = metadata.find(key);
  return found == metadata.end() ? "" : found->second;
}

void add(std::map<std::string, std::pair<double, int64_t>>& sums, const Metrics& metrics, int64_t weight) {
  const auto one = [&](const std::string& name, double value) {
    sums[name].first += value * static_cast<double>(weight);
    sums[name].second += weight;
  };
  one("loss", metrics.loss);
  for (const auto& [name, value] : metrics.values) one(name, value);
}

MeanMetrics means(const std::map<std::string, std::pair<double, int64_t>>& sums) {
  MeanMetrics out;
  for (const auto& [name, sum] : sums) out[name] = sum.first / static_cast<double>(sum.second);
  return out;
}

int64_t number(const std::string& path, const Metadata& metadata, const std::string& key) {
  const std::string digits = text(metadata, key);
  if (digits.empty() || digits.size() > 18 || digits.find_first_not_of("0123456789") != std::string::npos)
    throw Error(path, cat("has no ", key), "it was not written by a training run that can be resumed");
  return std::stoll(digits);
}
}  // namespace

MeanMetrics evaluate(Trainer& trainer, DataLoader& loader,
                     const std::function<void(const Batch&, const Array& output)>& see,
                     int64_t most_batches) {
  struct Submitted {
    Batch batch;  // a copy: next() overwrites its own
    std::shared_ptr<Trainer::Pending> pending;
  };
  std::map<std::string, std::pair<double, int64_t>> sums;
  const auto read = [&](const Submitted& submitted) {
    const Evaluation evaluation = trainer.read(*submitted.pending);
    add(sums, evaluation.metrics, submitted.batch.count);
    if (see) see(submitted.batch, evaluation.output);
  };
  loader.seek({});
  const int64_t batches =
      most_batches > 0 ? std::min(most_batches, loader.batches_per_epoch()) : loader.batches_per_epoch();
  std::optional<Submitted> before;
  for (int64_t i = 0; i < batches; ++i) {
    Submitted now{loader.next(), {}};
    now.pending = trainer.submit_evaluation(now.batch.columns);
    if (before) read(*before);
    before = std::move(now);
  }
  if (before) read(*before);
  return means(sums);
}

Fit::Fit(Trainer& trainer, DataLoader& train, FitOptions options)
    : trainer_(trainer),
      loader_(train),
      options_(std::move(options)),
      stopping_({.patience = options_.patience.value_or(0), .maximize = options_.maximize}) {
  if (options_.epochs < 0) throw Error("fit", cat("epochs must be at least 0, got ", options_.epochs));
  if (options_.most_steps < 0 || options_.checkpoint_steps < 0 || options_.validate_steps < 0 ||
      options_.keep < 0)
    throw Error("fit", "most_steps, checkpoint_steps, validate_steps and keep must be at least 0");
  if (options_.fast_dev_run) {
    options_.epochs = 1;
    options_.most_steps = 3;
  }
  if (options_.overfit_batch) options_.validation = nullptr;
}

void Fit::save(const std::string& name) const {
  Metadata metadata = options_.metadata;
  const LoaderPosition position = loader_.position();
  metadata["epoch"] = cat(position.epoch);
  metadata["batch"] = cat(position.batch);
  metadata["batches_per_epoch"] = cat(loader_.batches_per_epoch());
  metadata["stopping"] = stopping_.state();
  for (const auto& [key, sum] : sums_)
    metadata[cat(kSum, key)] = cat(std::hexfloat, sum.first, " ", sum.second);
  trainer_.save((std::filesystem::path(options_.folder) / name).string(), metadata);
}

void Fit::save_numbered() const {
  save(kLatestCheckpoint);
  if (options_.keep == 0) return;
  constexpr int kDigits = 9;
  std::string digits = cat(trainer_.steps());
  digits.insert(0, static_cast<size_t>(std::max(0, kDigits - static_cast<int>(digits.size()))), '0');
  const std::string prefix = "step-", suffix = ".safetensors";
  save(prefix + digits + suffix);
  std::vector<std::filesystem::path> kept;
  for (const auto& entry : std::filesystem::directory_iterator(options_.folder)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with(prefix) && name.ends_with(suffix)) kept.push_back(entry.path());
  }
  std::sort(kept.begin(), kept.end());
  for (size_t i = 0; i + static_cast<size_t>(options_.keep) < kept.size(); ++i)
    std::filesystem::remove(kept[i]);
}

void Fit::note_best() {
  best_.clear();
  for (const auto& list : {trainer_.model().named_parameters(), trainer_.model().named_buffers()})
    for (const NamedVariable& named : list) best_.emplace_back(named.variable, named.variable.value());
}

void Fit::resume(const std::string& path) {
  const auto best = std::filesystem::path(path).replace_filename(kBestCheckpoint);
  if (options_.restore_best && std::filesystem::exists(best)) {
    trainer_.load(best.string());
    note_best();
  }
  const Metadata metadata = trainer_.load(path);
  const LoaderPosition position{number(path, metadata, "epoch"), number(path, metadata, "batch")};
  const int64_t batches = number(path, metadata, "batches_per_epoch");
  if (batches != loader_.batches_per_epoch() || position.batch >= batches)
    throw Error(
        path, cat("was written with ", batches, " batches an epoch, here are ", loader_.batches_per_epoch()),
        "resume with the same data and batch size");
  const std::string seed = text(options_.metadata, "seed"), written = text(metadata, "seed");
  if (seed != written)
    throw Error(path, cat("was written with seed \"", written, "\", not \"", seed, "\""),
                "resume with the same seed: it decides the order of the data");
  stopping_.restore(text(metadata, "stopping"));
  sums_.clear();
  for (const auto& [key, value] : metadata)
    if (key.starts_with(kSum)) {
      auto& [sum, count] = sums_[key.substr(kSum.size())];
      char* rest = nullptr;
      sum = std::strtod(value.c_str(), &rest);
      count = std::strtoll(rest, nullptr, 10);
      if (count < 1) throw Error(path, cat("has a damaged ", key, ": \"", value, "\""));
    }
  loader_.seek(position);
}

void Fit::note(const StepReport& report) {
  skipped_in_a_row_ = report.metrics.skipped ? skipped_in_a_row_ + 1 : 0;
  if (skipped_in_a_row_ >= kMostSkipped)
    throw Error("fit",
                cat("the gradient was not finite for ", kMostSkipped, " steps in a row, up to step ",
                    report.metrics.step),
                "set STITHY_DEBUG=nan to find the op that makes the first NaN, or lower the learning rate");
  add(sums_, report.metrics, 1);
  if (options_.on_step) options_.on_step(report);
}

void Fit::flush() {
  if (!unread_) return;
  StepReport report = *std::exchange(unread_, {});
  report.metrics = trainer_.metrics();
  note(report);
}

// After the last step of an epoch; false when training stops early.
bool Fit::end_epoch(int64_t epoch) {
  flush();
  EpochReport report{.epoch = epoch, .steps = trainer_.steps(), .train = means(sums_)};
  sums_.clear();
  if (options_.validation)
    report.validation = evaluate(trainer_, *options_.validation, {}, options_.fast_dev_run ? 1 : 0);
  const MeanMetrics& monitored = options_.validation ? report.validation : report.train;
  if (const auto found = monitored.find(options_.monitor); found != monitored.end()) {
    report.best = stopping_.observe(found->second);
    if (ReduceOnPlateau* plateau = trainer_.plateau()) plateau->observe(found->second);
  } else if (!monitored.empty()) {
    throw Error("fit", cat("there is no metric \"", options_.monitor, "\" to monitor"),
                cat("metrics are such as \"", monitored.begin()->first, "\""));
  }
  if (report.best && options_.restore_best) note_best();
  if (!options_.folder.empty()) {
    if (report.best && options_.keep_best) save(kBestCheckpoint);
    save_numbered();
  }
  if (options_.on_epoch) options_.on_epoch(report);
  return !(options_.patience && stopping_.stop());
}

bool Fit::last_step() const { return options_.most_steps > 0 && trainer_.steps() >= options_.most_steps; }

bool Fit::finished() const {
  return loader_.position().epoch >= options_.epochs || last_step() ||
         (options_.patience && stopping_.stop());
}

FitResult Fit::run() {
  const InterruptGuard guard;
  std::optional<std::vector<Array>> only;
  if (options_.overfit_batch) only = loader_.next().columns;
  const auto finish = [&](FitResult::Reason reason) {
    flush();
    if (!options_.folder.empty() && reason != FitResult::Reason::early_stop) save(kLatestCheckpoint);
    if (reason != FitResult::Reason::interrupted)
      for (auto& [variable, value] : best_) variable.set(value);
    return FitResult{reason, trainer_.steps(), stopping_.best()};
  };
  while (!finished()) {
    if (interrupted()) return finish(FitResult::Reason::interrupted);
    const LoaderPosition position = loader_.position();
    const Batch& batch = loader_.next();
    const int64_t before = trainer_.steps();
    trainer_.step(only ? *only : batch.columns);
    // The step just submitted runs while the metrics of the one before are read.
    if (unread_) {
      StepReport report = *unread_;
      report.metrics = *trainer_.previous_metrics();
      note(report);
    }
    unread_ = StepReport{position.epoch, position.batch, {}};
    const bool updated = trainer_.steps() != before;
    const bool report_due = options_.fast_dev_run ? last_step()
                            : options_.validate_steps > 0
                                ? updated && trainer_.steps() % options_.validate_steps == 0
                                : loader_.position().epoch != position.epoch;
    if (report_due) {
      if (!end_epoch(position.epoch)) return finish(FitResult::Reason::early_stop);
    } else if (updated && options_.checkpoint_steps > 0 && !options_.folder.empty() &&
               trainer_.steps() % options_.checkpoint_steps == 0) {
      flush();
      save_numbered();
    }
  }
  return finish(FitResult::Reason::finished);
}

}  // namespace stithy::nn

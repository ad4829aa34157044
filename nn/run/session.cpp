#include "nn/run/session.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <set>

#include "engine/core/error.h"
#include "engine/core/file.h"
#include "engine/core/version.h"
#include "engine/graph/device.h"
#include "engine/tune.h"
#include "nn/init.h"
#include "nn/interrupt.h"
#include "nn/run/png.h"

namespace stithy::nn {

namespace {
// Thrown through a sample's body when a signal stopped training.
struct Stopped {};

constexpr int64_t kMostLogged = 2000;  // lines of steps in metrics.jsonl
constexpr size_t kPictures = 24;

void check_file_name(const char* where, const std::string& name) {
  constexpr const char* kLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
  if (name.empty() || name.find_first_not_of(kLetters) != std::string::npos)
    throw Error(where, cat("'", name, "' is no name for a file"),
                "names are made of letters, digits, '_' and '-'");
}

// Options that say where and how a run is done, not what is trained.
bool is_of_the_invocation(const std::string& option) {
  return option == "resume" || option == "out" || option == "device" || option == "summary";
}

// The first folder runs/NAME-N that does not exist.
std::string free_folder(const std::string& name) {
  for (int n = 1;; ++n) {
    const std::string path = cat("runs/", name, "-", n);
    if (!std::filesystem::exists(path)) return path;
  }
}

// The value of an option on the command line, as --name VALUE or --name=VALUE.
std::optional<std::string> given(int argc, const char* const* argv, const std::string& flag) {
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument == flag) return i + 1 < argc ? argv[i + 1] : "";
    if (argument.starts_with(flag + "=")) return argument.substr(flag.size() + 1);
  }
  return {};
}

std::string device_line() {
  const vk::DeviceInfo& d = default_device_info();
  return cat("stithy ", version(), "  device: ", d.name, " (", d.driver, d.driver_info.empty() ? "" : ", ",
             d.driver_info, ")  ", format_bytes(device_available_bytes()), " free");
}

// The picture of item `row` of a column of images, u8 [n, h, w], [n, 1 or 3, h, w] or [n, h, w, 3].
std::optional<Array> picture(const Array& images, int64_t row) {
  const Shape& s = images.shape();
  if (images.dtype() != DType::u8 || s.rank() < 3 || s.rank() > 4) return {};
  const Array item = images.rows(row, row + 1);
  if (s.rank() == 3) return item.reshaped({s[1], s[2]});
  if (s[3] == 3) return item.reshaped({s[1], s[2], 3});
  if (s[1] == 1) return item.reshaped({s[2], s[3]});
  if (s[1] != 3) return {};
  Array pixels({s[2], s[3], 3}, DType::u8);
  const int64_t plane = s[2] * s[3];
  for (int64_t i = 0; i < plane; ++i)
    for (int64_t c = 0; c < 3; ++c) pixels.set(i * 3 + c, item.at(c * plane + i));
  return pixels;
}

double softmax_of(const Array& logits, int64_t row, int64_t column) {
  const int64_t classes = logits.shape().back();
  double largest = -INFINITY, sum = 0;
  for (int64_t j = 0; j < classes; ++j) largest = std::max(largest, logits.at(row * classes + j));
  for (int64_t j = 0; j < classes; ++j) sum += std::exp(logits.at(row * classes + j) - largest);
  return std::exp(logits.at(row * classes + column) - largest) / sum;
}

// What the rate counts: images, sequences or rows of a table.
const char* item_of(const Column& x) {
  if (x.dtype == DType::u8 || x.shape.rank() >= 3) return "img";
  return x.shape.rank() == 2 || x.dtype == DType::i32 ? "seq" : "row";
}

}  // namespace

Session::Session(const std::string& name, const std::string& summary, const RunOptions& defaults)
    : name_(name), options_(defaults), arguments_(name, summary) {
  add_run_options(arguments_, options_);
  arguments_.add("--summary", &print_summary_, "print a table of the layers");
  report_.title = name;
  report_.summary = summary;
}

double Session::seconds() const {
  return seconds_before_ + std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
}

bool Session::start(int argc, const char* const* argv) {
  std::vector<std::string> words(argv, argv + argc);
  // A resumed run has the options it was started with, except where the command line says otherwise.
  if (const auto folder = given(argc, argv, "--resume"); folder && !folder->empty())
    for (const auto& [option, value] : read_config(*folder + "/config.json")) {
      const std::string flag = "--" + option;
      const bool given_now = std::any_of(argv + 1, argv + argc, [&](const std::string& word) {
        return word == flag || word.starts_with(flag + "=");
      });
      if (given_now || is_of_the_invocation(option) || value == "false") continue;
      words.push_back(value == "true" ? flag : flag + "=" + value);
    }
  std::vector<const char*> pointers;
  for (const std::string& word : words) pointers.push_back(word.c_str());
  if (!arguments_.parse(static_cast<int>(pointers.size()), pointers.data())) return false;
  resumes_ = !options_.resume.empty();
  if (resumes_) options_.out = options_.resume;
  if (options_.device != "auto" && !options_.device.empty()) set_default_device(options_.device);
  std::printf("%s\n", device_line().c_str());
  std::fflush(stdout);
  manual_seed(options_.seed);
  return true;
}

int Session::run(int argc, const char* const* argv, const std::function<void()>& body) {
  try {
    if (start(argc, argv)) body();
    return 0;
  } catch (const Stopped&) {
    progress_.reset();
    std::printf("stopped by a signal after %lld steps%s\n", static_cast<long long>(steps_),
                folder_ ? cat("; go on with: ", argv[0], " --resume ", folder_->path()).c_str() : "");
    return 128 + interrupt_signal();
  } catch (const std::exception& error) {
    progress_.reset();
    std::fflush(stdout);
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}

void Session::describe(Trainer& trainer, DataLoader& train, const std::string& stage) {
  const LoaderPosition position = train.position();
  const std::vector<Array> batch = train.next().columns;
  train.seek(position);
  const Summary summary = trainer.summary(batch);
  if (print_summary_) std::printf("%s\n", summary.table().c_str());
  const auto start = std::chrono::steady_clock::now();
  const Plan& plan = trainer.plan(batch);
  const double ms =
      std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  const std::string label = stage.empty() ? name_ : cat(name_, "/", stage);
  const int width = static_cast<int>(std::max<size_t>(label.size(), 5));
  std::printf("%-*s  %-12s  %-16s  %-21s  program: %zu kernels, 1 submit\n", width, "model", "params",
              "activations/step", "peak memory (planned)", plan.dispatches.size());
  const size_t untuned = untuned_choices();
  std::printf("%-*s  %-12s  %-16s  %-21s  recorded in %.0f ms%s\n", width, label.c_str(),
              format_count(summary.parameters).c_str(), format_bytes(plan.arena_bytes).c_str(),
              format_bytes(plan.peak_bytes()).c_str(), ms,
              untuned ? cat("; ", untuned, " choices not tuned (stithy tune -- PROGRAM)").c_str() : "");
  std::fflush(stdout);

  ReportTable table{.title = stage.empty() ? "Layers" : cat("Layers, ", stage),
                    .header = {"name", "layer", "output", "parameters", "FLOPs", "memory"},
                    .rows = {}};
  for (const LayerSummary& layer : summary.layers)
    table.rows.push_back({layer.name, layer.layer, cat(layer.output), format_count(layer.parameters),
                          format_flops(layer.flops), format_bytes(layer.output_bytes)});
  // Stages often share their model.
  if (std::ranges::none_of(report_.tables, [&](const ReportTable& t) { return t.rows == table.rows; }))
    report_.tables.push_back(std::move(table));
}

// Where a run is resumed, what it had logged after so many steps goes.
void Session::open_folder(int64_t steps) {
  const bool first = !folder_;
  if (!first && !resumes_) return;
  if (resumes_) {
    folder_ = RunFolder::resume(options_.out, steps);
    for (const MetricsRow& row : folder_->metrics())
      for (const auto& [name, value] : row.values)
        if (name == "seconds") seconds_before_ = value;
  } else {
    Config config;
    for (auto& option : arguments_.values())
      if (!is_of_the_invocation(option.first)) config.push_back(std::move(option));
    folder_ = RunFolder::create(options_.out, config);
  }
  if (!first) return;
  for (const ReportFigure& figure : report_.figures)
    write_file_atomically(*folder_ / (figure.name + ".png"), figure.png);
  std::printf("run folder  %s\n", options_.out.c_str());
  std::fflush(stdout);
}

std::string Session::metric(const std::string& name) const {
  return stages_.back().empty() ? name : cat(stages_.back(), "/", name);
}

void Session::report_step(const StepReport& report, int64_t batches, int64_t log_every) {
  const Metrics& m = report.metrics;
  std::vector<ProgressValue> values{{"loss", m.loss, 4}};
  for (const auto& [name, value] : m.values) values.push_back({name == "accuracy" ? "acc" : name, value, 3});
  if (!std::isnan(m.grad_norm)) values.push_back({"grad", m.grad_norm, 3});
  values.push_back({"lr", m.lr, 2});
  const bool by_steps = options_.steps > 0;
  progress_->step(by_steps ? 0 : report.epoch, by_steps ? m.step + 1 : report.batch + 1, std::move(values));
  if (!folder_ || (by_steps ? m.step : report.epoch * batches + report.batch) % log_every != 0) return;
  stithy::Metrics row{{"epoch", static_cast<double>(report.epoch)}, {metric("train_loss"), m.loss}};
  for (const auto& [name, value] : m.values) row.emplace_back(metric("train_" + name), value);
  row.emplace_back(metric("grad_norm"), m.grad_norm);
  row.emplace_back(metric("lr"), m.lr);
  folder_->log(steps_ + m.step + 1, row);
}

void Session::report_epoch(const EpochReport& report) {
  std::string line;
  stithy::Metrics row{{"epoch", static_cast<double>(report.epoch)}, {"seconds", seconds()}};
  for (const auto& [name, value] : report.validation) {
    row.emplace_back(metric("validation_" + name), value);
    line += cat("  ", name, " ", format_number(value, 4));
  }
  if (folder_) folder_->log(steps_ + report.steps, row);
  if (!line.empty())
    progress_->print(cat(options_.steps > 0 ? cat("step ", report.steps) : cat("epoch ", report.epoch + 1),
                         "  validation", line, report.best ? "  best" : ""));
}

int64_t Session::part(int64_t whole, double share) const {
  return std::max<int64_t>(1, std::llround(static_cast<double>(whole) * share));
}

int64_t Session::total_steps(const DataLoader& train, int64_t accumulate, double share) const {
  return options_.steps > 0 ? part(options_.steps, share)
                            : train.batches_per_epoch() * part(options_.epochs, share) / accumulate;
}

FitResult Session::fit(Trainer& trainer, DataLoader& train, FitOptions options, const Stage& stage) {
  if (!stage.name.empty()) check_file_name("stage", stage.name);
  stages_.push_back(stage.name);
  options.metadata["seed"] = cat(options_.seed);
  options.fast_dev_run = options_.fast_dev_run;
  options.overfit_batch = options_.overfit_batch;
  const bool by_steps = options_.steps > 0;
  options.epochs = by_steps ? std::numeric_limits<int64_t>::max() : part(options_.epochs, stage.share);
  options.most_steps = by_steps ? part(options_.steps, stage.share) : 0;
  const int64_t batches = train.batches_per_epoch();
  const int64_t log_every = std::max<int64_t>(1, total_steps(train, 1, stage.share) / kMostLogged);
  options.on_step = [&, then = std::move(options.on_step)](const StepReport& report) {
    report_step(report, batches, log_every);
    if (then) then(report);
  };
  options.on_epoch = [&, then = std::move(options.on_epoch)](const EpochReport& report) {
    report_epoch(report);
    if (then) then(report);
  };
  if (options_.out.empty()) options_.out = free_folder(name_);
  if (options_.out != "none")
    options.folder = stage.name.empty() ? options_.out : cat(options_.out, "/", stage.name);
  train.seek({});  // another stage may have used it
  Fit fit(trainer, train, options);
  const std::string checkpoint = cat(options.folder, "/", kLatestCheckpoint);
  if (resumes_ && (stages_.size() == 1 || std::filesystem::exists(checkpoint))) fit.resume(checkpoint);
  const bool complete = fit.finished();
  describe(trainer, train, stage.name);
  if (!options.folder.empty()) {
    open_folder(complete ? std::numeric_limits<int64_t>::max() : steps_ + trainer.steps());
    std::filesystem::create_directories(options.folder);
  }
  // What comes after steps that are taken now begins anew.
  resumes_ = resumes_ && complete;
  progress_.emplace(Progress::Options{.epochs = by_steps ? 0 : options.epochs,
                                      .steps_per_epoch = by_steps ? options.most_steps : batches,
                                      .items_per_step = static_cast<double>(options_.batch),
                                      .item = item_of(train.dataset().columns()[0])});
  const FitResult result = fit.run();
  steps_ += result.steps;
  progress_.reset();
  if (result.reason == FitResult::Reason::interrupted) throw Stopped{};
  if (result.reason == FitResult::Reason::early_stop) print("stopped early: no improvement");
  return result;
}

void Session::print(const std::string& text) {
  if (progress_)
    progress_->print(text);
  else
    std::printf("%s\n", text.c_str());
}

MeanMetrics Session::evaluate_classes(Trainer& trainer, DataLoader& test, std::vector<std::string> names) {
  // Half of the pictures are the first ones, the other half the first mistakes.
  std::vector<ReportPicture> first, wrong;
  std::optional<ConfusionMatrix> confusion;
  const auto name_of_class = [&](int64_t i) {
    return i >= 0 && i < static_cast<int64_t>(names.size()) ? names[static_cast<size_t>(i)] : cat(i);
  };
  const MeanMetrics means = evaluate(
      trainer, test,
      [&](const Batch& batch, const Array& logits) {
        if (!confusion) confusion.emplace(static_cast<int>(logits.shape().back()));
        const Array& targets = batch.columns[1];
        confusion->add(logits, targets);
        const std::vector<int32_t> predicted = argmax_rows(logits);
        for (int64_t row = 0; row < batch.count && wrong.size() < kPictures; ++row) {
          const int32_t guess = predicted[static_cast<size_t>(row)];
          const int64_t target = static_cast<int64_t>(targets.at(row));
          std::vector<ReportPicture>& list = guess == target ? first : wrong;
          if (list.size() >= kPictures) continue;
          if (std::optional<Array> pixels = picture(batch.columns[0], row))
            list.push_back({std::move(*pixels), name_of_class(guess), name_of_class(target),
                            softmax_of(logits, row, guess)});
        }
      },
      options_.fast_dev_run ? 1 : 0);
  report_.confusion = std::move(confusion);
  report_.class_names = std::move(names);
  wrong.resize(std::min(wrong.size(), kPictures / 2));
  first.resize(std::min(first.size(), kPictures - wrong.size()));
  for (auto* list : {&first, &wrong})
    for (ReportPicture& picture : *list) report_.pictures.push_back(std::move(picture));
  return means;
}

void Session::figure(const std::string& name, const Array& picture, const std::string& caption) {
  add_figure({name, caption, encode_png(picture)});
}

void Session::figure(const std::string& name, std::span<const Array> frames, double seconds_per_frame,
                     const std::string& caption) {
  add_figure({name, caption, encode_apng(frames, seconds_per_frame)});
}

void Session::add_figure(ReportFigure figure) {
  check_file_name("figure", figure.name);
  if (folder_) write_file_atomically(*folder_ / (figure.name + ".png"), figure.png);
  std::vector<ReportFigure>& all = report_.figures;
  const auto same =
      std::find_if(all.begin(), all.end(), [&](const auto& f) { return f.name == figure.name; });
  if (same == all.end())
    all.push_back(std::move(figure));
  else
    *same = std::move(figure);
}

void Session::finish(const stithy::Metrics& result) {
  stithy::Metrics all = result;
  all.emplace_back("steps", static_cast<double>(steps_));
  all.emplace_back("seconds", seconds());
  if (folder_) {
    folder_->finish(all);
    const std::vector<MetricsRow> rows = folder_->metrics();
    std::set<std::string> names;
    for (const MetricsRow& row : rows)
      for (const auto& [name, value] : row.values) names.insert(name);
    // One chart a metric, training and validation together.
    std::vector<Chart> charts;
    for (const std::string& stage : stages_) {
      const std::string before = stage.empty() ? "" : stage + "/", after = stage.empty() ? "" : ", " + stage;
      const std::string train = before + "train_", validation = before + "validation_";
      for (const std::string& name : names) {
        if (!name.starts_with(train)) continue;
        const std::string metric = name.substr(train.size());
        std::vector<std::pair<std::string, std::string>> lines{{name, "training"}};
        if (names.contains(validation + metric)) lines.emplace_back(validation + metric, "validation");
        charts.push_back(metrics_chart(rows, metric + after, lines));
      }
      for (const char* name : {"grad_norm", "lr"})
        if (names.contains(before + name))
          charts.push_back(metrics_chart(rows, name + after, {{before + name, name}}));
    }
    report_.charts.insert(report_.charts.begin(), charts.begin(), charts.end());
    for (const auto& [name, value] : all) report_.result.emplace_back(name, format_number(value, 4));
    report_.config = arguments_.values();
    report_.config.emplace_back("device", default_device_info().name);
    write_report(*folder_ / "report.html", report_);
  }
  std::string line = "result";
  for (const auto& [name, value] : result) line += cat(" ", name, "=", format_number(value, 5));
  std::printf("%s steps=%lld seconds=%.1f\n", line.c_str(), static_cast<long long>(steps_), seconds());
}

}  // namespace stithy::nn

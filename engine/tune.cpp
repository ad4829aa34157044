#include "engine/tune.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <thread>
#include <utility>

#include "engine/core/clock.h"
#include "engine/core/error.h"
#include "engine/core/rng.h"
#include "engine/graph/device.h"
#include "engine/graph/op.h"
#include "engine/graph/program.h"
#include "engine/graph/variable.h"

namespace stithy {
namespace {

// A timing is the host's time for copies of the node that run one after another, about this long together, so
// that what a submission costs does not count. Timestamps around every kernel would not see what it costs to
// start the next one, which is what a candidate of two kernels has to make up for.
constexpr double kTimingMs = 4;
constexpr int kMaxCopies = 128, kTimings = 7, kFinalTimings = 5;
constexpr double kTimingSeconds = 0.5;  // of one candidate, but three timings at least
constexpr double kSlower = 1.5;         // than the best: not timed on
constexpr double kFinalist = 1.15;
constexpr int kHung = 75;  // exit status, EX_TEMPFAIL of sysexits.h

const OpDef kPart = {.name = "tune_input"};

// What is needed to build a node again, on storages of its own.
struct Problem {
  struct Storage {
    Shape shape;
    DType dtype;
    bool updated;
  };
  struct Input {
    size_t storage;
    Shape shape, strides;
    int64_t offset;
  };
  const OpDef* op;
  std::any attributes;
  std::vector<Storage> storages;
  std::vector<Input> inputs;
  std::vector<Output> outputs;
  bool in_place;
  double flops;
  int64_t terms;  // that are added up for an output element, at most

  explicit Problem(const Node& node)
      : op(node.op),
        attributes(node.attributes),
        in_place(node.out().storage_node != &node),
        flops(node_flops(node)) {
    std::map<std::pair<const Node*, int>, size_t> known;
    int64_t input_elements = 0;
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      const Tensor& x = node.inputs[i];
      const Value& value = x.node()->out(x.output());
      const auto [at, fresh] = known.try_emplace({value.storage_node, value.storage_output}, storages.size());
      if (fresh) {
        const Value& whole = value.storage_node->out(value.storage_output);
        storages.push_back({whole.shape, whole.dtype, false});
      }
      if (in_place && i < node.outputs.size()) storages[at->second].updated = true;
      inputs.push_back({at->second, value.shape, value.strides, value.offset});
      input_elements += value.shape.numel();
    }
    for (const Value& value : node.outputs) outputs.push_back({value.shape, value.dtype});
    const int64_t elements = std::max<int64_t>(node.out().shape.numel(), 1);
    terms = std::max({static_cast<int64_t>(flops) / (2 * elements), input_elements / elements, int64_t{16}});
  }

  uint64_t bytes() const {
    uint64_t total = 0;
    for (const Storage& s : storages) total += static_cast<uint64_t>(s.shape.numel()) * size_of(s.dtype);
    return total;
  }
};

bool is_float(DType dtype) { return dtype == DType::f32 || dtype == DType::f16 || dtype == DType::bf16; }

// Between -1 and 1 and not close to 0; integers are 0 or 1, which is in range wherever they are indices, and
// what is updated is positive, as an average of squares must be.
Array draw(const Problem::Storage& storage, uint64_t stream) {
  Philox random(0x7475, stream);
  Array array(storage.shape, storage.dtype);
  for (int64_t i = 0; i < array.numel(); ++i) {
    const uint32_t bits = random.bits();
    if (!is_float(storage.dtype)) {
      array.set(i, bits & 1);
      continue;
    }
    const double magnitude = 0.0625 + static_cast<double>(bits >> 8) * (0.9375 / (1 << 24));
    array.set(i, (bits & 1) && !storage.updated ? -magnitude : magnitude);
  }
  return array;
}

Array magnitudes_of(Array array) {
  if (is_float(array.dtype()))
    for (int64_t i = 0; i < array.numel(); ++i) array.set(i, std::abs(array.at(i)));
  return array;
}

// Ends the process when a kernel takes too long to compile and run: nothing else ends one that hangs.
class Watchdog {
 public:
  explicit Watchdog(double seconds) : seconds_(seconds), thread_([this] { run(); }) {}
  ~Watchdog() {
    set([this] { ended_ = true; });
    thread_.join();
  }
  Watchdog(const Watchdog&) = delete;

  void watch(const std::string& what) {
    set([&] { what_ = what, began_ = host_seconds(); });
  }
  // Something ended in time.
  void beat() {
    set([this] { began_ = host_seconds(); });
  }
  void rest() {
    set([this] { what_.clear(); });
  }

 private:
  void set(const std::function<void()>& change) {
    {
      const std::lock_guard lock(mutex_);
      change();
    }
    changed_.notify_one();
  }
  void run() {
    std::unique_lock lock(mutex_);
    while (!ended_) {
      if (what_.empty()) {
        changed_.wait(lock);
      } else if (host_seconds() - began_ < seconds_) {
        changed_.wait_for(lock, std::chrono::duration<double>(began_ + seconds_ - host_seconds()));
      } else {
        std::fprintf(stderr,
                     "\ntune: %s did not end within %.0f s; it will not be tried again. The process ends "
                     "here: start it once more.\n",
                     what_.c_str(), seconds_);
        std::_Exit(kHung);
      }
    }
  }

  const double seconds_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool ended_ = false;
  std::string what_;  // empty: nothing is watched
  double began_ = 0;
  std::thread thread_;
};

// A problem with its inputs on the device.
class Bench {
 public:
  Bench(const Problem& problem, Watchdog& watchdog) : problem_(problem), watchdog_(watchdog) {
    for (const Problem::Storage& storage : problem.storages) {
      arrays_.push_back(draw(storage, arrays_.size()));
      variables_.emplace_back(cat("tune.", variables_.size()), arrays_.back());
    }
  }

  // The node once more.
  Tensor build() const {
    std::vector<Tensor> xs;
    for (const Problem::Input& input : problem_.inputs) {
      const Tensor& whole = variables_[input.storage].tensor();
      const bool is_whole = input.offset == 0 && input.shape == whole.shape() &&
                            input.strides == contiguous_strides(input.shape);
      xs.push_back(is_whole ? whole : make_view(kPart, {}, whole, input.shape, input.strides, input.offset));
    }
    return problem_.in_place
               ? make_update(*problem_.op, problem_.attributes, xs, static_cast<int>(problem_.outputs.size()))
               : make_node(*problem_.op, problem_.attributes, xs, problem_.outputs);
  }

  std::vector<std::string> kernels(const Chooser& choose) const {
    const Plan plan = make_plan(all_of(build()), {}, options(choose), default_device_info());
    std::set<std::string> names;
    for (const PlannedDispatch& dispatch : plan.dispatches) names.emplace(dispatch.call.kernel->name);
    return {names.begin(), names.end()};
  }

  // All outputs; throws Error where a kernel wrote beyond them.
  std::vector<Array> outputs(const Chooser& choose, bool magnitudes = false) {
    for (size_t i = 0; i < variables_.size(); ++i)
      if (magnitudes || problem_.storages[i].updated)
        variables_[i].set(magnitudes ? magnitudes_of(arrays_[i]) : arrays_[i]);
    ProgramOptions guarded = options(choose);
    guarded.guard = true;
    const std::vector<Tensor> fetches = all_of(build());
    Program program(fetches, {}, guarded);
    program.submit();
    std::vector<Array> results;
    for (size_t i = 0; i < fetches.size(); ++i) results.push_back(program.read(i));
    program.check_guards();
    watchdog_.beat();
    if (magnitudes)
      for (size_t i = 0; i < variables_.size(); ++i) variables_[i].set(arrays_[i]);
    return results;
  }

  // Runs the node `copies` times.
  Program timed(const Chooser& choose, int copies) const {
    std::vector<Tensor> updates;
    for (int i = 0; i < copies; ++i) updates.push_back(build());
    return Program({}, updates, options(choose));
  }
  double time_ms(Program& program, int copies) const {
    const double begin = host_seconds();
    program.submit();
    program.wait();
    watchdog_.beat();
    return 1e3 * (host_seconds() - begin) / copies;
  }

 private:
  static std::vector<Tensor> all_of(const Tensor& first) {
    std::vector<Tensor> all;
    for (size_t i = 0; i < first.node()->outputs.size(); ++i)
      all.push_back(first.node()->tensor(static_cast<int>(i)));
    return all;
  }
  ProgramOptions options(const Chooser& choose) const {
    ProgramOptions options;
    options.name = cat("tuning ", problem_.op->name);
    options.choose = choose;
    options.fuse = false;  // what is built into a kernel costs every candidate the same
    return options;
  }

  const Problem& problem_;
  Watchdog& watchdog_;
  std::vector<Array> arrays_;
  std::vector<Variable> variables_;
};

// What the plain candidate computes, and how far from it another may be: two sums of n products in different
// orders differ by no more than a small multiple of sqrt(n) u sum |a b|, u being half the machine epsilon,
// with a probability that may count as one (Higham and Mary 2019, "A new approach to probabilistic rounding
// error analysis", theorem 2.4). The sums of magnitudes are what the plain candidate makes of |a| and |b|.
struct Expected {
  std::vector<Array> outputs;
  std::vector<double> bounds;

  Expected(Bench& bench, const Chooser& plain, int64_t terms) {
    const std::vector<Array> magnitudes = bench.outputs(plain, true);
    outputs = bench.outputs(plain);
    for (size_t i = 0; i < outputs.size(); ++i) {
      double scale = 0;
      for (const Array* array : {&magnitudes[i], &std::as_const(outputs)[i]})
        for (int64_t k = 0; k < array->numel(); ++k)
          if (const double value = std::abs(array->at(k)); std::isfinite(value))
            scale = std::max(scale, value);
      const DType dtype = outputs[i].dtype();
      const double rounding = dtype == DType::f16 ? 0x1p-10 : dtype == DType::bf16 ? 0x1p-7 : 0;
      bounds.push_back(
          is_float(dtype) ? scale * (4 * std::sqrt(static_cast<double>(terms)) * 0x1p-23 + rounding) : 0);
    }
  }

  // The largest difference as a share of the bound; infinite for NaN in another place.
  double error(const std::vector<Array>& results) const {
    double largest = 0;
    for (size_t i = 0; i < outputs.size(); ++i)
      for (int64_t k = 0; k < outputs[i].numel(); ++k) {
        const double want = outputs[i].at(k), got = results[i].at(k);
        if (want == got || (std::isnan(want) && std::isnan(got))) continue;
        const double share = std::abs(got - want) / bounds[i];
        largest = std::max(largest, std::isfinite(share) ? share : HUGE_VAL);
      }
    return largest;
  }
};

std::string ms_text(double ms) {
  char text[32];
  std::snprintf(text, sizeof text, ms < 0.1 ? "%.4f ms" : ms < 10 ? "%.3f ms" : "%.1f ms", ms);
  return text;
}

}  // namespace

struct Tuner::State {
  struct Task {
    Choice choice;
    Problem problem;
    double flops;                // of all nodes of the key
    std::vector<size_t> to_try;  // the plain one first
  };
  struct Finalist {
    Trial trial;
    Program program;
  };

  explicit State(TuneOptions o) : options(std::move(o)), watchdog(options.hang_seconds) {}

  TuneOptions options;
  TuneFile file{default_device_info()};
  TuneTable table;  // of the file, and what was tried since
  double began = host_seconds();
  std::deque<Task> tasks;
  std::set<std::string> seen;
  size_t done = 0, bad = 0;

  Watchdog watchdog;
  // The first of tasks, while candidates of it are tried.
  std::optional<Bench> bench;
  std::optional<Expected> expected;
  std::vector<Finalist> finalists;
  int copies = 1;

  Chooser chooser(const Task& task, size_t candidate) const {
    return [this, key = task.choice.key, candidate](const Choice& choice) {
      return choice.key == key ? candidate : table.best(choice);
    };
  }
  size_t left() const {
    size_t count = 0;
    for (const Task& task : tasks) count += task.to_try.size();
    return count;
  }
  void tell(const std::string& key, const std::string& label) const {
    if (!options.progress) return;
    TuneProgress progress{done, done + left(), bad, host_seconds() - began, 0, key, label};
    if (done)
      progress.left_seconds = progress.seconds / static_cast<double>(done) * static_cast<double>(left());
    options.progress(progress);
  }
  void record(const Choice& choice, const Trial& trial) {
    if (trial.outcome != Trial::Outcome::good) ++bad;
    table.add(choice, trial);
    TuneTable news;
    news.add(choice, trial);
    file.save(news);
  }
  void forget_task() {
    finalists.clear();
    expected.reset();
    bench.reset();
    done += tasks.front().to_try.size();
    tasks.pop_front();
  }

  // The try has ended, one way or the other.
  void over() {
    watchdog.rest();
    file.done();
  }
  void prepare(Task& task);
  void try_candidate(Task& task, size_t candidate);
  void time(Task& task, size_t candidate, Trial& trial);
  void finish(Task& task);
  // The default stays, so that the gain over it is a fair one.
  void erase_slower_than(double ms, const Task& task) {
    std::erase_if(finalists, [&](const Finalist& finalist) {
      return finalist.trial.label != task.choice.labels[0] && finalist.trial.quartile_ms() > ms;
    });
  }
  double best_ms() const {
    double best = HUGE_VAL;
    for (const Finalist& finalist : finalists) best = std::min(best, finalist.trial.quartile_ms());
    return best;
  }
};

// Puts the inputs on the device and asks the plain candidate for the outputs.
void Tuner::State::prepare(Task& task) {
  const std::string& label = task.choice.labels[task.choice.plain];
  tell(task.choice.key, label);
  bench.emplace(task.problem, watchdog);
  const Chooser plain = chooser(task, task.choice.plain);
  Trial trial{.label = label, .kernels = bench->kernels(plain)};
  trial.shaders = shader_hash(trial.kernels);
  file.trying(task.choice, trial);
  watchdog.watch(cat(task.choice.key, ", ", label));
  expected.emplace(*bench, plain, task.problem.terms);
  Program once = bench->timed(plain, 1);
  const double cold = bench->time_ms(once, 1), ms = std::min(cold, bench->time_ms(once, 1));
  copies = std::clamp(static_cast<int>(kTimingMs / std::max(ms, 1e-3)), 1, kMaxCopies);
  over();
}

void Tuner::State::try_candidate(Task& task, size_t candidate) {
  const Chooser choose = chooser(task, candidate);
  Trial trial{.label = task.choice.labels[candidate]};
  try {
    trial.kernels = bench->kernels(choose);
  } catch (const Error& error) {  // cannot be taken either, so that there is nothing to remember
    if (options.say) options.say(cat(task.choice.key, ", ", trial.label, ": ", error.what()));
    return;
  }
  trial.shaders = shader_hash(trial.kernels);
  if (trial.shaders == 0) return;  // kernels that are made at run time have no name to be remembered by
  tell(task.choice.key, trial.label);
  file.trying(task.choice, trial);
  watchdog.watch(cat(task.choice.key, ", ", trial.label));
  try {
    trial.error = expected->error(bench->outputs(choose));
    if (trial.error > 1) {
      trial.outcome = Trial::Outcome::wrong;
      trial.note = cat("differs from \"", task.choice.labels[task.choice.plain], "\" by ", trial.error,
                       " times the bound");
    } else {
      time(task, candidate, trial);
    }
  } catch (const OutOfMemory&) {
    throw;
  } catch (const std::exception& error) {
    trial.outcome = Trial::Outcome::failed;
    trial.note = error.what();
    try {
      bench->outputs(chooser(task, task.choice.plain));
    } catch (const std::exception&) {
      // The marker stays, and tells the next process.
      throw Error("tune", cat(task.choice.key, ", ", trial.label, ": ", error.what(), "; nothing runs since"),
                  "start again: this candidate will not be tried any more");
    }
  }
  record(task.choice, trial);
  over();
}

void Tuner::State::time(Task& task, size_t candidate, Trial& trial) {
  Program program = bench->timed(chooser(task, candidate), copies);
  bench->time_ms(program, copies);
  const double best = best_ms();
  const double begin = host_seconds();
  for (int i = 0; i < kTimings && (i < 3 || host_seconds() - begin < kTimingSeconds); ++i) {
    trial.ms.push_back(bench->time_ms(program, copies));
    if (*std::ranges::min_element(trial.ms) > kSlower * best && i > 0) return;
  }
  finalists.push_back({trial, std::move(program)});
  erase_slower_than(kFinalist * best_ms(), task);
}

// The fastest ones in turn, so that what disturbs a machine for a while disturbs them all.
void Tuner::State::finish(Task& task) {
  erase_slower_than(kFinalist * best_ms(), task);
  if (finalists.size() > 1) {
    for (int i = 0; i < kFinalTimings; ++i)
      for (Finalist& finalist : finalists)
        finalist.trial.ms.push_back(bench->time_ms(finalist.program, copies));
    for (const Finalist& finalist : finalists) record(task.choice, finalist.trial);
  }
  if (!options.say) return;
  const size_t best = table.best(task.choice);
  const Trial* winner = table.find(task.choice.key, task.choice.labels[best]);
  const Trial* first = table.find(task.choice.key, task.choice.labels[0]);
  if (!winner) return;
  std::string line = cat(task.choice.key, ": ", winner->label, ", ", ms_text(winner->quartile_ms()));
  if (best != 0 && first && first->outcome == Trial::Outcome::good) {
    char gain[32];
    std::snprintf(gain, sizeof gain, "%.2f", first->quartile_ms() / winner->quartile_ms());
    line += cat(", ", gain, " times as fast as the default");
  }
  options.say(line);
}

Tuner::Tuner(TuneOptions options) : state_(std::make_unique<State>(std::move(options))) {
  state_->table = state_->file.load();
}
Tuner::~Tuner() = default;

void Tuner::add(const Plan& plan) {
  State& s = *state_;
  std::map<std::string, double> flops;
  for (const PlannedChoice& planned : plan.choices) flops[planned.choice.key] += node_flops(*planned.node);
  std::vector<State::Task> fresh;
  for (const PlannedChoice& planned : plan.choices) {
    const Choice& choice = planned.choice;
    if (!s.seen.insert(choice.key).second) continue;
    std::vector<size_t> order{choice.plain};
    for (size_t i = 0; i < choice.labels.size(); ++i)
      if (i != choice.plain) order.push_back(i);
    const Trial* plain = s.table.find(choice.key, choice.labels[choice.plain]);
    if (plain && plain->outcome != Trial::Outcome::good) continue;  // nothing to check the others against
    std::erase_if(order, [&](size_t i) {
      const Trial* trial = s.table.find(choice.key, choice.labels[i]);
      return trial && (!s.options.again || trial->outcome != Trial::Outcome::good);
    });
    if (!order.empty()) fresh.push_back({choice, Problem(*planned.node), flops[choice.key], order});
  }
  std::ranges::stable_sort(fresh, std::ranges::greater(), &State::Task::flops);
  for (State::Task& task : fresh) s.tasks.push_back(std::move(task));
}

size_t Tuner::left() const { return state_->left(); }

bool Tuner::step() {
  State& s = *state_;
  if (s.tasks.empty()) return false;
  if (s.options.limit_seconds > 0 && host_seconds() - s.began > s.options.limit_seconds) return false;
  if (s.file.path().empty())
    throw Error("tune", "there is no cache folder to keep results in", "set STITHY_CACHE to a folder");
  if (!s.file.claim())
    throw Error("tune",
                cat("another process is tuning ", default_device_info().name, " (or ", s.file.path(),
                    " cannot be written)"),
                "wait for it to end");
  State::Task& task = s.tasks.front();
  try {
    if (!s.bench) s.prepare(task);
    const size_t candidate = task.to_try.front();
    task.to_try.erase(task.to_try.begin());
    s.try_candidate(task, candidate);
    ++s.done;
    if (task.to_try.empty()) {
      s.finish(task);
      s.forget_task();
    }
  } catch (const OutOfMemory& error) {
    s.over();
    if (s.options.say) s.options.say(cat(task.choice.key, ": not measured, ", error.message()));
    s.forget_task();
  }
  if (s.tasks.empty()) s.tell("", "");
  return !s.tasks.empty();
}

TuneOptions with_console(TuneOptions options) {
  const bool terminal = isatty(STDERR_FILENO) != 0;
  const auto clear = [terminal] {
    if (terminal) std::fputs("\r\033[K", stderr);
  };
  options.say = [clear](const std::string& line) {
    clear();
    std::fprintf(stderr, "tuned  %s\n", line.c_str());
  };
  if (terminal)
    options.progress = [clear](const TuneProgress& p) {
      clear();
      if (p.key.empty()) return;
      const auto left = static_cast<long>(std::lround(p.left_seconds));
      std::fprintf(stderr, "%zu/%zu", p.done, p.total);
      if (p.done)
        std::fprintf(stderr, "  %.1f/s  ETA %ld:%02ld", static_cast<double>(p.done) / p.seconds, left / 60,
                     left % 60);
      if (p.bad) std::fprintf(stderr, "  %zu bad", p.bad);
      std::fprintf(stderr, "  %.60s  %.40s", p.key.c_str(), p.label.c_str());
      std::fflush(stderr);
    };
  return options;
}

}  // namespace stithy

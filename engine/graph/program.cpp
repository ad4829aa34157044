#include "engine/graph/program.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <ctime>
#include <iostream>
#include <map>
#include <numeric>

#include "engine/core/clock.h"
#include "engine/core/error.h"
#include "engine/graph/device.h"
#include "engine/graph/observe.h"
#include "engine/graph/recording.h"
#include "engine/graph/submissions.h"
#include "engine/graph/variable_state.h"
#include "engine/vk/device.h"

namespace stithy {
namespace {

// Processor time of this thread, which other threads do not disturb.
double thread_ns() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) * 1e9 + static_cast<double>(time.tv_nsec);
}

constinit std::atomic<RunObserver*> observer_in_use = nullptr;

}  // namespace

RunObserver* set_run_observer(RunObserver* observer) { return observer_in_use.exchange(observer); }
RunObserver* run_observer() { return observer_in_use; }

struct Program::State {
  Plan plan;
  std::shared_ptr<vk::Device> device;
  ProgramMemory memory;
  std::vector<const vk::Pipeline*> pipelines;  // of plan.dispatches
  std::optional<SubmissionTimer> timer;
  std::map<std::optional<Measure>, Recording> recordings;  // those that were needed
  std::array<uint64_t, 2> serials{};
  std::array<std::vector<std::pair<double, double>>, 2> kernel_times;  // by slot
  std::vector<const Array*> values;
  Counters counters;
  uint64_t moves = variable_moves();  // that the plan knows of
  double plan_ns = 0;

  ~State();
  void make();
  // Of every run, unless an observer asks for another.
  std::optional<Measure> first_measure() const {
    return plan.options.timestamps ? std::optional(Measure{Timing::isolated}) : std::nullopt;
  }
  void allocate();
  void place_variables();
  void lay_out();
  void compile();
  Recording& recording(const std::optional<Measure>& measure);
  void follow_variables();
  RunTimes measured_run(const Measure& measure, size_t slot, double begin);
  void wait_for_all() {
    for (uint64_t serial : serials) device->wait(serial);
  }
  size_t wait_for(uint64_t run);
  void throw_first_nan(size_t slot);
};

void Program::State::allocate() {
  const uint64_t available = device->available_bytes();
  if (plan.new_bytes() > available)
    throw OutOfMemory(
        plan.options.name, plan.new_bytes(), available,
        cat("the plan: ", format_bytes(plan.arena_bytes), " intermediate results, ",
            format_bytes(plan.variable_bytes), " variables, ",
            format_bytes(plan.upload_bytes + plan.readback_bytes), " transfers; a smaller batch needs less"));
  place_variables();
  for (const PlannedBuffer& planned : plan.buffers) {
    if (planned.kind == PlannedBuffer::Kind::variable) {
      const VariableState& variable = *planned.variable;
      memory.buffers.push_back({variable.buffer, variable.offset});
    } else {
      memory.buffers.push_back({device->allocate(planned.bytes, vk::Memory::device, plan.options.name), 0});
      // A kernel that reads past the end of a constant then sees NaN.
      if (plan.options.guard && planned.kind == PlannedBuffer::Kind::constants)
        device->write(*memory.buffers.back().buffer, 0,
                      std::vector<std::byte>(planned.bytes, std::byte{0xff}));
    }
  }
  for (const Placed& constant : plan.constants) {
    const vk::Binding at = memory.bind(constant.span);
    device->write(*at.buffer, at.offset, constant.tensor.node()->constant.bytes());
  }
  const auto transfers = [&](uint64_t both_slots, vk::Memory kind, auto& slots) {
    if (both_slots == 0) return;
    for (std::shared_ptr<vk::Buffer>& slot : slots)
      if (!slot || slot->size() != both_slots / 2)
        slot = device->allocate(both_slots / 2, kind, plan.options.name);
  };
  transfers(plan.upload_bytes, vk::Memory::upload, memory.upload);
  transfers(plan.readback_bytes, vk::Memory::readback, memory.readback);
}

// Variables that are not on the device yet get one buffer together (more when it would be too large).
void Program::State::place_variables() {
  std::vector<VariableState*> fresh;
  for (const PlannedBuffer& planned : plan.buffers) {
    if (planned.kind != PlannedBuffer::Kind::variable) continue;
    VariableState& variable = *planned.variable;
    if (!variable.buffer)
      fresh.push_back(&variable);
    else if (variable.device != device)
      throw Error(variable.name, "lives on another device than the program");
  }
  const auto bytes_of = [](const VariableState& variable) {
    return aligned(variable.initial.bytes().size());
  };
  const uint64_t limit = std::min(device->info().max_allocation, device->info().max_buffer);
  for (size_t begin = 0; begin < fresh.size();) {
    size_t end = begin;
    uint64_t total = 0;
    while (end < fresh.size() && (end == begin || total + bytes_of(*fresh[end]) <= limit))
      total += std::max(bytes_of(*fresh[end++]), kAlignment);
    const std::shared_ptr<vk::Buffer> buffer = device->allocate(total, vk::Memory::device, plan.options.name);
    uint64_t offset = 0;
    for (; begin < end; ++begin) {
      VariableState& variable = *fresh[begin];
      device->write(*buffer, offset, variable.initial.bytes());
      const uint64_t bytes = std::max(bytes_of(variable), kAlignment);
      variable.device = device;
      variable.buffer = buffer;
      variable.offset = offset;
      variable.initial = Array();
      offset += bytes;
    }
  }
}

// Where inputs and fetches lie in the buffers that the host sees.
void Program::State::lay_out() {
  uint64_t offset = 0;
  for (const Placed& input : plan.inputs) {
    memory.upload_offsets.push_back(offset);
    offset += aligned(input.span.bytes);
  }
  offset = 0;
  for (const Span& span : plan.fetch_spans) {
    memory.readback_offsets.push_back(offset);
    offset += aligned(span.bytes);
  }
  memory.readback_offsets.push_back(offset);  // of the NaN report
}

void Program::State::compile() {
  std::vector<vk::PipelineRequest> requests;
  for (const PlannedDispatch& dispatch : plan.dispatches)
    requests.push_back(request_of(*dispatch.call.kernel, dispatch.call.spec));
  pipelines = device->pipelines(requests);
  timer.emplace(plan);
}

Recording& Program::State::recording(const std::optional<Measure>& measure) {
  const auto found = recordings.find(measure);
  if (found != recordings.end()) return found->second;
  Recording made(device, plan, memory, pipelines, submission_cuts(plan, timer->scale()), measure);
  counters.recordings += made.command_buffers();
  return recordings.emplace(measure, std::move(made)).first->second;
}

// Compiles, allocates and records what the plan says, and tells it to who watches.
void Program::State::make() {
  RunObserver* observer = run_observer();
  RunObserver::Making making;
  const auto timed = [](double& ns, const auto& work) {
    const double begin = host_ns();
    work();
    ns = host_ns() - begin;
  };
  timed(making.compile, [&] { compile(); });
  making.plan = plan_ns;
  const bool runs = !observer || observer->lets_run();
  if (!runs) return observer->made(plan, making);
  timed(making.allocate, [&] {
    allocate();
    lay_out();
  });
  timed(making.record, [&] { recording(first_measure()); });
  if (observer) observer->made(plan, making);
}

// Plans and records again when one of the variables has moved. What the latest runs read back stays: it
// depends on the fetches alone.
void Program::State::follow_variables() {
  const uint64_t now = variable_moves();
  const bool stay = std::all_of(plan.variables.begin(), plan.variables.end(), [&](const Placed& placed) {
    return place_of(placed.tensor.node()->variable).first ==
           plan.buffers[static_cast<size_t>(placed.span.buffer)].variable;
  });
  if (stay && !recordings.empty()) {
    moves = now;
    return;
  }
  wait_for_all();
  recordings.clear();
  memory.buffers.clear(), memory.upload_offsets.clear(), memory.readback_offsets.clear();
  plan = make_plan(std::vector(plan.fetches), std::vector(plan.updates), plan.options, device->info());
  make();
  moves = now;
}

void Program::State::throw_first_nan(size_t slot) {
  std::vector<uint32_t> report(2 * plan.nan_checks.size());
  std::memcpy(report.data(), memory.readback[slot]->mapped() + memory.readback_offsets.back(),
              report.size() * 4);
  std::string infinity;
  for (size_t i = 0; i < plan.nan_checks.size(); ++i) {
    const Node& node = *plan.nan_checks[i].node;
    const Value& value = node.out(plan.nan_checks[i].output);
    const auto where = [&](uint32_t element) {
      Shape index = value.shape;
      for (int d = index.rank() - 1; d >= 0; --d) {
        index[d] = element % value.shape[d];
        element /= static_cast<uint32_t>(value.shape[d]);
      }
      return cat(node.label(), node.scope.empty() ? "" : " in layer " + node.scope, " (", name_of(node.phase),
                 "), element ", index, " of its output ", value.shape);
    };
    if (infinity.empty() && report[2 * i + 1] != UINT32_MAX) infinity = where(report[2 * i + 1]);
    if (report[2 * i] == UINT32_MAX) continue;
    std::string inputs;
    for (const Tensor& x : node.inputs)
      inputs += cat(inputs.empty() ? "" : ", ", x.node()->label(), " ", x.shape());
    throw Error(plan.options.name,
                cat("NaN first in ", where(report[2 * i]), inputs.empty() ? "" : "; inputs: ", inputs),
                infinity.empty() ? "" : cat("an infinity came before it, in ", infinity));
  }
}

Program::Program(const std::vector<Tensor>& fetches, const std::vector<Tensor>& updates,
                 const ProgramOptions& options)
    : state_(std::make_unique<State>()) {
  if (RunObserver* observer = run_observer()) observer->begins();
  State& s = *state_;
  s.device = default_device();
  const double begin = host_ns();
  const auto plan = [&] { s.plan = make_plan(fetches, updates, options, s.device->info()); };
  plan();
  if (ChoiceTable* table = choice_table(); table && !options.choose && table->reconsider(s.plan)) plan();
  s.plan_ns = host_ns() - begin;
  if (options.show_plan)
    std::cerr << options.name << ": " << s.plan.dispatches.size() << " dispatches, " << s.plan.barriers()
              << " barriers (|)\n"
              << s.plan.describe();
  s.make();
  s.values.resize(s.plan.inputs.size());
}

Program::State::~State() {
  wait_for_all();
  if (RunObserver* observer = run_observer()) observer->ends(plan);
}

Program::~Program() = default;
Program::Program(Program&&) noexcept = default;
Program& Program::operator=(Program&& other) noexcept = default;

uint64_t Program::submit(std::span<const Feed> feeds) {
  State& s = *state_;
  if (s.moves != variable_moves()) s.follow_variables();
  double counted = -thread_ns();
  const std::string& name = s.plan.options.name;
  std::fill(s.values.begin(), s.values.end(), nullptr);
  for (const Feed& feed : feeds) {
    size_t i = 0;
    while (i < s.plan.inputs.size() && !(s.plan.inputs[i].tensor == feed.input)) ++i;
    const std::string label = feed.input.defined() ? feed.input.node()->label() : "an undefined tensor";
    if (i == s.plan.inputs.size()) throw Error(name, label + " is fed but is not an input of this program");
    if (!feed.value) throw Error(name, label + " is fed with a null pointer");
    if (!(feed.value->shape() == feed.input.shape()) || feed.value->dtype() != feed.input.dtype())
      throw Error(name,
                  cat(label, " is ", feed.input.dtype(), " ", feed.input.shape(), " but was fed ",
                      feed.value->dtype(), " ", feed.value->shape()),
                  "another shape needs another program");
    s.values[i] = feed.value;
  }
  for (size_t i = 0; i < s.values.size(); ++i)
    if (!s.values[i]) throw Error(name, s.plan.inputs[i].tensor.node()->label() + " is not fed");

  RunObserver* observer = run_observer();
  if (observer && !observer->lets_run()) {
    ++s.counters.runs;
    observer->after_run(s.plan, {});
    return s.counters.runs;
  }
  std::optional<Measure> measure = s.first_measure();
  if (!measure && observer) measure = observer->before_run(s.plan);

  const size_t slot = s.counters.runs % 2;
  counted += thread_ns();
  if (measure) s.wait_for_all();
  s.device->wait(s.serials[slot]);
  const double begin = measure ? host_ns() : 0;
  if (s.plan.options.guard && s.memory.upload[slot])
    std::memset(s.memory.upload[slot]->mapped(), 0xff, s.memory.upload[slot]->size());  // past the ends, too
  for (size_t i = 0; i < s.values.size(); ++i) {
    const std::span<const std::byte> bytes = s.values[i]->bytes();
    if (!bytes.empty())
      std::memcpy(s.memory.upload[slot]->mapped() + s.memory.upload_offsets[i], bytes.data(), bytes.size());
  }
  counted -= thread_ns();
  if (measure) {
    RunTimes times = s.measured_run(*measure, slot, begin);
    s.kernel_times[slot] = times.kernels;
    ++s.counters.runs;
    if (const auto& fetches = s.plan.fetches;
        observer && !fetches.empty() && fetches[0].dtype() == DType::f32 && fetches[0].numel() == 1)
      times.first_fetch = read(0).at(0);
    if (observer && !s.plan.options.timestamps) observer->after_run(s.plan, times);
  } else {
    const bool measured = s.timer->measures();
    if (measured) s.wait_for_all();
    Recording& recording = s.recording(std::nullopt);
    const double start = host_ns();
    s.serials[slot] = recording.submit(slot, s.counters.submissions);
    s.counters.submit_ns += counted + thread_ns();
    if (measured) {
      s.wait_for_all();
      if (s.timer->add((host_ns() - start) * 1e-9)) {
        s.recordings.clear();
        s.recording(std::nullopt);
      }
    }
    ++s.counters.runs;
  }
  if (s.plan.options.submit_each) s.device->wait_idle();
  if (s.plan.options.find_nan) {
    s.device->wait(s.serials[slot]);
    s.throw_first_nan(slot);
  }
  return s.counters.runs;
}

RunTimes Program::State::measured_run(const Measure& measure, size_t slot, double begin) {
  const bool counts = measure.timing == Timing::counters;
  Measure key = measure;
  if (counts) key.part = 0;  // all passes are the same commands
  Recording& with_times = recording(key);
  const double copied = host_ns();
  serials[slot] = with_times.submit(slot, counters.submissions, measure.part);
  const double submitted = host_ns();
  RunTimes times = with_times.times(serials[slot]);
  times.host_begin = begin, times.host_copied = copied, times.host_submitted = submitted;
  times.host_end = host_ns();
  // Others may count then.
  if (counts && (measure.part + 1 == measure.parts || !times.refused.empty())) recordings.erase(key);
  return times;
}

// Waits for one of the latest two runs, 0 being the latest, and returns its slot.
size_t Program::State::wait_for(uint64_t run) {
  if (run == 0) run = counters.runs;
  if (run == 0) throw Error(plan.options.name, "nothing to read: no run was submitted");
  if (run > counters.runs || run + 2 <= counters.runs)
    throw Error(plan.options.name, cat("run ", run, " cannot be read, the latest two are ", counters.runs - 1,
                                       " and ", counters.runs));
  const size_t slot = (run - 1) % 2;
  device->wait(serials[slot]);
  return slot;
}

Array Program::read(size_t index, uint64_t run) {
  State& s = *state_;
  const size_t slot = s.wait_for(run);
  if (index >= s.plan.fetches.size())
    throw Error(s.plan.options.name, cat("there is no fetch ", index, " of ", s.plan.fetches.size()));

  const Tensor& tensor = s.plan.fetches[index];
  const size_t size = size_of(tensor.dtype());
  Array result(tensor.shape(), tensor.dtype());
  const int64_t count = result.numel();
  if (count == 0) return result;
  if (!s.memory.readback[slot]) return result;  // a program that is only looked at
  const std::byte* bytes = s.memory.readback[slot]->mapped() + s.memory.readback_offsets[index];
  // The copied range begins at the view's lowest element, rounded down to a word.
  int64_t lowest = tensor.offset();
  for (int d = 0; d < tensor.rank(); ++d)
    lowest += std::min<int64_t>(0, (tensor.shape()[d] - 1) * tensor.strides()[d]);
  const int64_t begin = lowest * static_cast<int64_t>(size) / 4 * 4;
  if (tensor.is_contiguous()) {
    std::memcpy(result.bytes().data(), bytes + tensor.offset() * static_cast<int64_t>(size) - begin,
                result.bytes().size());
    return result;
  }
  Shape position = Shape::filled(tensor.rank(), 0);
  for (int64_t i = 0; i < count; ++i) {
    int64_t element = tensor.offset();
    for (int d = 0; d < position.rank(); ++d) element += position[d] * tensor.strides()[d];
    std::memcpy(result.bytes().data() + i * static_cast<int64_t>(size),
                bytes + element * static_cast<int64_t>(size) - begin, size);
    for (int d = position.rank() - 1; d >= 0 && ++position[d] == tensor.shape()[d]; --d) position[d] = 0;
  }
  return result;
}

std::vector<double> Program::dispatch_ns(uint64_t run) {
  State& s = *state_;
  if (!s.plan.options.timestamps)
    throw Error(s.plan.options.name, "does not measure its kernels", "set ProgramOptions::timestamps");
  std::vector<double> result;
  for (const auto& [begin, end] : s.kernel_times[s.wait_for(run)]) result.push_back(end - begin);
  return result;
}

void Program::wait() { state_->wait_for_all(); }

const Plan& Program::plan() const { return state_->plan; }
const Program::Counters& Program::counters() const { return state_->counters; }

void Program::check_guards() {
  State& s = *state_;
  if (!s.plan.options.guard)
    throw Error(s.plan.options.name, "has no guard bands", "set ProgramOptions::guard");
  wait();
  for (size_t b = 0; b < s.plan.buffers.size(); ++b) {
    if (s.plan.buffers[b].kind != PlannedBuffer::Kind::arena) continue;
    std::vector<uint32_t> words(s.plan.buffers[b].bytes / 4);
    s.device->read(*s.memory.buffers[b].buffer, 0, std::as_writable_bytes(std::span(words)));
    std::vector<const PlannedValue*> values;
    for (const PlannedValue& value : s.plan.values)
      if (value.span.buffer == static_cast<int>(b)) values.push_back(&value);
    std::sort(values.begin(), values.end(),
              [](const PlannedValue* x, const PlannedValue* y) { return x->span.offset < y->span.offset; });
    uint64_t begin = 0;
    for (size_t i = 0; i <= values.size(); ++i) {
      const uint64_t end = i < values.size() ? values[i]->span.offset : s.plan.buffers[b].bytes;
      for (uint64_t at = begin; at < end; at += 4)
        if (words[at / 4] != kPoison) {
          const PlannedValue& owner =
              *values[i == 0 || (i < values.size() && end - at < at - begin) ? i : i - 1];
          throw Error(s.plan.options.name,
                      cat("guard band written ", at < owner.span.offset ? "before" : "after", " ",
                          owner.scratch ? "scratch memory" : cat("output ", owner.output), " of ",
                          owner.node->label()));
        }
      if (i < values.size()) begin = values[i]->span.offset + values[i]->span.bytes;
    }
  }
}

double timed_run(Program& program, std::span<const Feed> feeds) {
  const double start = host_ns();
  program.submit(feeds);
  program.wait();
  const double took = host_ns() - start;
  if (!program.plan().options.timestamps) return took;
  const std::vector<double> kernels = program.dispatch_ns();
  return std::accumulate(kernels.begin(), kernels.end(), 0.0);
}

Array Tensor::eval() const {
  Program program({*this}, {}, [] {
    ProgramOptions options = ProgramOptions::from_environment();
    options.name = "eval";
    return options;
  }());
  program.submit();
  return program.read(0);
}

}  // namespace stithy

#include "engine/graph/program.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <ctime>
#include <iostream>
#include <numeric>

#include "engine/core/error.h"
#include "engine/graph/device.h"
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

constexpr uint32_t kPoison = 0xffffffffu;  // NaN as f32, f16 and bf16; -1 as i32; 255 as u8

struct Place {
  std::shared_ptr<vk::Buffer> buffer;
  uint64_t offset = 0;
};

}  // namespace

struct Program::State {
  Plan plan;
  std::shared_ptr<vk::Device> device;
  std::vector<Place> buffers;  // of plan.buffers
  std::array<std::shared_ptr<vk::Buffer>, 2> upload, readback;
  std::vector<uint64_t> upload_offsets, readback_offsets;
  std::vector<const vk::Pipeline*> pipelines;  // of plan.dispatches
  std::vector<vk::Commands> main;              // one a submission
  std::optional<SubmissionTimer> timer;
  std::vector<vk::Commands> before, after;  // by slot: copies in, copies out
  std::unique_ptr<vk::Timestamps> times;    // two a dispatch
  std::array<uint64_t, 2> serials{};
  std::vector<const Array*> values;
  Counters counters;
  uint64_t moves = variable_moves();  // that the plan knows of

  vk::Binding bind(const Span& span) const {
    const Place& place = buffers[static_cast<size_t>(span.buffer)];
    return {place.buffer.get(), place.offset + span.offset, span.bytes};
  }
  void allocate();
  void place_variables();
  void record();
  void record_main();
  void follow_variables();
  void submit_all(size_t slot);
  void wait_for_all() {
    for (uint64_t serial : serials) device->wait(serial);
  }
  size_t wait_for(uint64_t run);
  void throw_first_nan(size_t slot);
  int report_buffer() const {
    for (size_t i = 0; i < plan.buffers.size(); ++i)
      if (plan.buffers[i].kind == PlannedBuffer::Kind::report) return static_cast<int>(i);
    return -1;
  }
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
      buffers.push_back({variable.buffer, variable.offset});
    } else {
      buffers.push_back({device->allocate(planned.bytes, vk::Memory::device, plan.options.name), 0});
      // A kernel that reads past the end of a constant then sees NaN.
      if (plan.options.guard && planned.kind == PlannedBuffer::Kind::constants)
        device->write(*buffers.back().buffer, 0, std::vector<std::byte>(planned.bytes, std::byte{0xff}));
    }
  }
  for (const Placed& constant : plan.constants) {
    const vk::Binding at = bind(constant.span);
    device->write(*at.buffer, at.offset, constant.tensor.node()->constant.bytes());
  }
  const auto transfers = [&](uint64_t both_slots, vk::Memory memory, auto& slots) {
    if (both_slots == 0) return;
    for (std::shared_ptr<vk::Buffer>& slot : slots)
      if (!slot || slot->size() != both_slots / 2)
        slot = device->allocate(both_slots / 2, memory, plan.options.name);
  };
  transfers(plan.upload_bytes, vk::Memory::upload, upload);
  transfers(plan.readback_bytes, vk::Memory::readback, readback);
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

void Program::State::record() {
  const int report = report_buffer();
  uint64_t offset = 0;
  for (const Placed& input : plan.inputs) {
    upload_offsets.push_back(offset);
    offset += aligned(input.span.bytes);
  }
  offset = 0;
  for (const Span& span : plan.fetch_spans) {
    readback_offsets.push_back(offset);
    offset += aligned(span.bytes);
  }
  readback_offsets.push_back(offset);  // of the timestamps
  if (plan.options.timestamps) {
    const uint32_t count = 2 * static_cast<uint32_t>(plan.dispatches.size());
    times = std::make_unique<vk::Timestamps>(device, count);
    offset += aligned(8 * count);
  }
  readback_offsets.push_back(offset);  // of the NaN report

  for (size_t slot = 0; slot < 2; ++slot) {
    vk::Commands& in = before.emplace_back(device);
    if (times) in.reset(*times);
    in.barrier();
    if (plan.options.guard) {
      for (size_t i = 0; i < plan.buffers.size(); ++i)
        if (plan.buffers[i].kind == PlannedBuffer::Kind::arena)
          in.fill(*buffers[i].buffer, 0, plan.buffers[i].bytes, kPoison);
      in.barrier();
    }
    if (report >= 0) {
      const PlannedBuffer& planned = plan.buffers[static_cast<size_t>(report)];
      in.fill(*buffers[static_cast<size_t>(report)].buffer, 0, planned.bytes, UINT32_MAX);
    }
    for (size_t i = 0; i < plan.inputs.size(); ++i) {
      const vk::Binding to = bind(plan.inputs[i].span);
      // Where all are empty, there are no buffers.
      if (to.bytes > 0) in.copy(*upload[slot], upload_offsets[i], *to.buffer, to.offset, to.bytes);
    }
    in.barrier();
    in.finish();

    vk::Commands& out = after.emplace_back(device);
    out.barrier();
    for (size_t i = 0; i < plan.fetch_spans.size(); ++i) {
      const vk::Binding from = bind(plan.fetch_spans[i]);
      if (from.bytes > 0)
        out.copy(*from.buffer, from.offset, *readback[slot], readback_offsets[i], from.bytes);
    }
    if (times) out.copy(*times, *readback[slot], readback_offsets[plan.fetch_spans.size()]);
    if (report >= 0)
      out.copy(*buffers[static_cast<size_t>(report)].buffer, 0, *readback[slot], readback_offsets.back(),
               plan.buffers[static_cast<size_t>(report)].bytes);
    out.barrier();
    out.finish();
  }

  std::vector<vk::PipelineRequest> requests;
  for (const PlannedDispatch& dispatch : plan.dispatches)
    requests.push_back(request_of(*dispatch.call.kernel, dispatch.call.spec));
  pipelines = device->pipelines(requests);
  timer.emplace(plan);
  counters.recordings += before.size() + after.size();
  record_main();
}

void Program::State::record_main() {
  std::vector<size_t> cuts;
  if (plan.options.submit_each)
    for (size_t i = 1; i < plan.dispatches.size(); ++i) cuts.push_back(i);
  else
    cuts = submission_cuts(plan, timer->scale());
  main.clear();
  main.emplace_back(device);
  auto cut = cuts.begin();
  for (const PlannedDispatch& dispatch : plan.dispatches) {
    const auto number = static_cast<size_t>(&dispatch - plan.dispatches.data());
    // The barriers stay: they order what was submitted before, too, which a new submission alone does not.
    if (cut != cuts.end() && *cut == number) {
      ++cut;
      main.back().finish();
      main.emplace_back(device);
    }
    std::vector<vk::Binding> bindings;
    for (const Span& span : dispatch.spans) bindings.push_back(bind(span));
    if (dispatch.barrier_before || times) main.back().barrier();
    const uint32_t index = 2 * static_cast<uint32_t>(number);
    if (times) main.back().timestamp(*times, index);
    main.back().dispatch(*pipelines[number], bindings, dispatch.call.push,
                         {dispatch.groups.x, dispatch.groups.y, dispatch.groups.z});
    if (times) main.back().timestamp(*times, index + 1);
  }
  main.back().finish();
  counters.recordings += main.size();
}

// Plans and records again when one of the variables has moved. What the latest runs read back stays: it
// depends on the fetches alone.
void Program::State::follow_variables() {
  const uint64_t now = variable_moves();
  const bool stay = std::all_of(plan.variables.begin(), plan.variables.end(), [&](const Placed& placed) {
    return place_of(placed.tensor.node()->variable).first ==
           plan.buffers[static_cast<size_t>(placed.span.buffer)].variable;
  });
  if (stay && !main.empty()) {
    moves = now;
    return;
  }
  wait_for_all();
  main.clear(), before.clear(), after.clear();
  buffers.clear(), upload_offsets.clear(), readback_offsets.clear();
  plan = make_plan(std::vector(plan.fetches), std::vector(plan.updates), plan.options, device->info());
  allocate();
  record();
  moves = now;
}

void Program::State::submit_all(size_t slot) {
  std::vector<const vk::Commands*> all{&before[slot]};
  for (const vk::Commands& commands : main) all.push_back(&commands);
  all.push_back(&after[slot]);
  // The copies go with the first and the last kernels, unless every call is to stand alone.
  for (size_t i = 0; i < all.size();) {
    size_t count = 1;
    if (!plan.options.submit_each) count += (i == 0) + (i + (i == 0) + 2 == all.size());
    serials[slot] = device->submit(std::span(all).subspan(i, count));
    i += count;
    ++counters.submissions;
  }
}

void Program::State::throw_first_nan(size_t slot) {
  std::vector<uint32_t> report(2 * plan.nan_checks.size());
  std::memcpy(report.data(), readback[slot]->mapped() + readback_offsets.back(), report.size() * 4);
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
  state_->device = default_device();
  const auto plan = [&] { state_->plan = make_plan(fetches, updates, options, state_->device->info()); };
  plan();
  if (ChoiceTable* table = choice_table(); table && !options.choose && table->reconsider(state_->plan))
    plan();
  if (options.show_plan)
    std::cerr << options.name << ": " << state_->plan.dispatches.size() << " dispatches, "
              << state_->plan.barriers() << " barriers (|)\n"
              << state_->plan.describe();
  state_->allocate();
  state_->record();
  state_->values.resize(state_->plan.inputs.size());
}

Program::~Program() {
  if (state_) wait();
}
Program::Program(Program&&) noexcept = default;
Program& Program::operator=(Program&& other) noexcept {
  if (state_) wait();
  state_ = std::move(other.state_);
  return *this;
}

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

  const size_t slot = s.counters.runs % 2;
  counted += thread_ns();
  s.device->wait(s.serials[slot]);
  if (s.plan.options.guard && s.upload[slot])
    std::memset(s.upload[slot]->mapped(), 0xff, s.upload[slot]->size());  // past the ends of inputs, too
  for (size_t i = 0; i < s.values.size(); ++i) {
    const std::span<const std::byte> bytes = s.values[i]->bytes();
    if (!bytes.empty())
      std::memcpy(s.upload[slot]->mapped() + s.upload_offsets[i], bytes.data(), bytes.size());
  }
  counted -= thread_ns();
  const bool measured = s.timer->measures();
  if (measured) s.wait_for_all();
  const auto start = std::chrono::steady_clock::now();
  s.submit_all(slot);
  s.counters.submit_ns += counted + thread_ns();
  if (measured) {
    s.wait_for_all();
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
    if (s.timer->add(taken.count())) s.record_main();
  }
  ++s.counters.runs;
  if (s.plan.options.submit_each) s.device->wait_idle();
  if (s.plan.options.find_nan) {
    s.device->wait(s.serials[slot]);
    s.throw_first_nan(slot);
  }
  return s.counters.runs;
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
  const std::byte* bytes = s.readback[slot]->mapped() + s.readback_offsets[index];
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
  if (!s.times)
    throw Error(s.plan.options.name, "does not measure its kernels", "set ProgramOptions::timestamps");
  const size_t slot = s.wait_for(run);
  std::vector<uint64_t> raw(s.times->count());
  std::memcpy(raw.data(), s.readback[slot]->mapped() + s.readback_offsets[s.plan.fetches.size()],
              8 * raw.size());
  std::vector<double> result;
  for (size_t i = 0; i < raw.size(); i += 2)
    result.push_back(s.device->info().nanoseconds(raw[i], raw[i + 1]));
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
    s.device->read(*s.buffers[b].buffer, 0, std::as_writable_bytes(std::span(words)));
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
  const auto start = std::chrono::steady_clock::now();
  program.submit(feeds);
  program.wait();
  const std::chrono::duration<double, std::nano> took = std::chrono::steady_clock::now() - start;
  if (!program.plan().options.timestamps) return took.count();
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

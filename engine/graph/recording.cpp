#include "engine/graph/recording.h"

#include <algorithm>
#include <limits>

#include "engine/core/clock.h"
#include "engine/core/error.h"

namespace stithy {
namespace {

enum Mark : uint32_t { kBegin, kCopiedIn, kComputed, kCopiedOut, kMarks };
constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();

const PlannedBuffer* report_of(const Plan& plan) {
  const auto found = std::ranges::find(plan.buffers, PlannedBuffer::Kind::report, &PlannedBuffer::kind);
  return found == plan.buffers.end() ? nullptr : &*found;
}

}  // namespace

Recording::Recording(const std::shared_ptr<vk::Device>& device, const Plan& plan, const ProgramMemory& memory,
                     std::span<const vk::Pipeline* const> pipelines, std::vector<size_t> cuts,
                     const std::optional<Measure>& measure)
    : device_(device),
      measure_(measure),
      dispatches_(plan.dispatches.size()),
      submit_each_(plan.options.submit_each) {
  const bool isolated = measure_ && measure_->timing == Timing::isolated;
  if (measure_ && (device->info().timestamps() || plan.options.timestamps)) {
    uint32_t count = kMarks;
    for (size_t i = 0; i < dispatches_; ++i) count += stamp_of(i) ? 2 : 0;
    stamps_ = std::make_unique<vk::Timestamps>(device, count);
  }
  host_times_ = isolated && !stamps_;
  if (measure_ && measure_->timing == Timing::counters && dispatches_ > 0) {
    try {
      counters_ = std::make_unique<vk::Counters>(device, static_cast<uint32_t>(dispatches_));
      reset_.emplace(device).reset(*counters_);
      reset_->finish();
      between_.emplace(device).barrier();
      between_->finish();
    } catch (const Error& error) {
      refused_ = error.message();
    }
  }
  if (submit_each_ || host_times_ || counters_) {
    cuts.clear();
    for (size_t i = 1; i < plan.dispatches.size(); ++i) cuts.push_back(i);
  }
  record_copies(plan, memory);
  record_kernels(plan, memory, pipelines, cuts);
}

std::optional<uint32_t> Recording::stamp_of(size_t dispatch) const {
  const bool timed =
      measure_ && (measure_->timing == Timing::concurrent || measure_->timing == Timing::isolated);
  if (!timed || dispatch % measure_->parts != measure_->part) return {};
  return kMarks + 2 * static_cast<uint32_t>(dispatch / measure_->parts);
}

void Recording::record_copies(const Plan& plan, const ProgramMemory& memory) {
  const PlannedBuffer* report = report_of(plan);
  const auto report_buffer = [&]() -> const vk::Buffer& {
    return *memory.buffers[static_cast<size_t>(report - plan.buffers.data())].buffer;
  };
  for (size_t slot = 0; slot < 2; ++slot) {
    vk::Commands& in = before_.emplace_back(device_);
    if (stamps_) {
      in.reset(*stamps_);
      in.timestamp(*stamps_, kBegin, true);
    }
    in.barrier();
    if (plan.options.guard) {
      for (size_t i = 0; i < plan.buffers.size(); ++i)
        if (plan.buffers[i].kind == PlannedBuffer::Kind::arena)
          in.fill(*memory.buffers[i].buffer, 0, plan.buffers[i].bytes, kPoison);
      in.barrier();
    }
    if (report) in.fill(report_buffer(), 0, report->bytes, UINT32_MAX);
    for (size_t i = 0; i < plan.inputs.size(); ++i) {
      const vk::Binding to = memory.bind(plan.inputs[i].span);
      // Where all are empty, there are no buffers.
      if (to.bytes > 0)
        in.copy(*memory.upload[slot], memory.upload_offsets[i], *to.buffer, to.offset, to.bytes);
    }
    in.barrier();
    if (stamps_) in.timestamp(*stamps_, kCopiedIn);
    in.finish();

    vk::Commands& out = after_.emplace_back(device_);
    if (stamps_) out.timestamp(*stamps_, kComputed);
    out.barrier();
    for (size_t i = 0; i < plan.fetch_spans.size(); ++i) {
      const vk::Binding from = memory.bind(plan.fetch_spans[i]);
      if (from.bytes > 0)
        out.copy(*from.buffer, from.offset, *memory.readback[slot], memory.readback_offsets[i], from.bytes);
    }
    if (report)
      out.copy(report_buffer(), 0, *memory.readback[slot], memory.readback_offsets.back(), report->bytes);
    out.barrier();
    if (stamps_) out.timestamp(*stamps_, kCopiedOut);
    out.finish();
  }
}

void Recording::record_kernels(const Plan& plan, const ProgramMemory& memory,
                               std::span<const vk::Pipeline* const> pipelines,
                               const std::vector<size_t>& cuts) {
  main_.emplace_back(device_);
  auto cut = cuts.begin();
  const bool isolated = measure_ && measure_->timing == Timing::isolated;
  for (size_t number = 0; number < plan.dispatches.size(); ++number) {
    const PlannedDispatch& dispatch = plan.dispatches[number];
    // The barriers stay: they order what was submitted before, too, which a new submission alone does not.
    if (cut != cuts.end() && *cut == number) {
      ++cut;
      main_.back().finish();
      main_.emplace_back(device_);
    }
    std::vector<vk::Binding> bindings;
    for (const Span& span : dispatch.spans) bindings.push_back(memory.bind(span));
    if ((dispatch.barrier_before || isolated) && !counters_) main_.back().barrier();
    const std::optional<uint32_t> stamp = stamps_ ? stamp_of(number) : std::nullopt;
    // Behind a barrier, the end of what was before is when the kernel begins.
    const bool in_order = device_->info().runs_in_order;
    if (stamp) main_.back().timestamp(*stamps_, *stamp, !isolated || in_order);
    if (counters_) main_.back().begin(*counters_, static_cast<uint32_t>(number));
    main_.back().dispatch(*pipelines[number], bindings, dispatch.call.push,
                          {dispatch.groups.x, dispatch.groups.y, dispatch.groups.z});
    if (counters_) main_.back().end(*counters_, static_cast<uint32_t>(number));
    if (stamp) main_.back().timestamp(*stamps_, *stamp + 1, in_order);
  }
  main_.back().finish();
}

uint64_t Recording::submit_counting(size_t slot, uint64_t& submissions) {
  const auto submit = [&](std::initializer_list<const vk::Commands*> commands,
                          std::optional<uint32_t> pass = {}) {
    ++submissions;
    return device_->submit({commands.begin(), commands.size()}, pass);
  };
  if (measure_->part == 0) submit({&*reset_});
  submit({&before_[slot]});
  for (const vk::Commands& commands : main_) submit({&*between_, &commands}, measure_->part);
  return submit({&after_[slot]});
}

uint64_t Recording::submit(size_t slot, uint64_t& submissions, uint32_t pass) {
  if (counters_) {
    measure_->part = pass;
    return submit_counting(slot, submissions);
  }
  std::vector<const vk::Commands*> all{&before_[slot]};
  for (const vk::Commands& commands : main_) all.push_back(&commands);
  all.push_back(&after_[slot]);
  // The copies go with the first and the last kernels, unless every call is to stand alone.
  const bool apart = submit_each_ || host_times_;
  uint64_t serial = 0;
  host_kernels_.clear();
  double start = 0;
  for (size_t i = 0; i < all.size();) {
    size_t count = 1;
    if (!apart) count += (i == 0) + (i + (i == 0) + 2 == all.size());
    const double begin = host_times_ ? host_ns() : 0;
    if (i == 0) start = begin;
    serial = device_->submit(std::span(all).subspan(i, count));
    if (host_times_) {
      device_->wait(serial);
      if (i > 0 && i + 1 < all.size()) host_kernels_.emplace_back(begin - start, host_ns() - start);
    }
    i += count;
    ++submissions;
  }
  return serial;
}

RunTimes Recording::times(uint64_t serial) const {
  device_->wait(serial);
  RunTimes result{.measure = measure_.value_or(Measure{}),
                  .copied_in = kUnknown,
                  .computed = kUnknown,
                  .copied_out = kUnknown,
                  .kernels = host_kernels_,
                  .by_host = host_times_,
                  .refused = refused_};
  if (counters_ && measure_->part + 1 == measure_->parts) result.counters = counters_->read();
  if (!stamps_) return result;
  const std::vector<std::optional<uint64_t>> raw = stamps_->read();
  const auto since_begin = [&](size_t i) {
    return raw[kBegin] && raw[i] ? device_->info().nanoseconds(*raw[kBegin], *raw[i]) : kUnknown;
  };
  result.copied_in = since_begin(kCopiedIn);
  result.computed = since_begin(kComputed);
  result.copied_out = since_begin(kCopiedOut);
  if (result.measure.timing == Timing::ends || result.measure.timing == Timing::counters) return result;
  for (size_t i = 0; i < dispatches_; ++i) {
    const std::optional<uint32_t> stamp = stamp_of(i);
    result.kernels.emplace_back(stamp ? since_begin(*stamp) : kUnknown,
                                stamp ? since_begin(*stamp + 1) : kUnknown);
  }
  return result;
}

}  // namespace stithy

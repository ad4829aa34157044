// The messages and the numbers of their fields are those of Perfetto's protos: protos/perfetto/trace/
// trace.proto, trace_packet.proto and track_event/{track_event,track_descriptor,process_descriptor,
// thread_descriptor,counter_descriptor,debug_annotation}.proto of github.com/google/perfetto.
#include "tools/stithy/perfetto.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <string_view>

#include "engine/core/error.h"

namespace stithy::profiling {
namespace {

constexpr uint32_t kTracePacket = 1;
namespace packet {
constexpr uint32_t kTimestamp = 8, kSequence = 10, kTrackEvent = 11, kSequenceFlags = 13,
                   kTrackDescriptor = 60;
constexpr uint64_t kStateCleared = 1;
}  // namespace packet
namespace track {
constexpr uint32_t kUuid = 1, kName = 2, kProcess = 3, kThread = 4, kParent = 5, kCounter = 8, kOrdering = 11,
                   kRank = 12;
constexpr uint64_t kExplicit = 3;
constexpr uint32_t kPid = 1, kCommandLine = 2, kProcessName = 6;  // of a ProcessDescriptor
constexpr uint32_t kThreadPid = 1, kTid = 2, kThreadName = 5;     // of a ThreadDescriptor
constexpr uint32_t kUnit = 3;                                     // of a CounterDescriptor
constexpr uint64_t kBytes = 3;
}  // namespace track
namespace event {
constexpr uint32_t kAnnotation = 4, kType = 9, kTrack = 11, kCategory = 22, kName = 23, kCounter = 30,
                   kDoubleCounter = 44;
constexpr uint64_t kBegin = 1, kEnd = 2, kCounterType = 4;
}  // namespace event
namespace annotation {
constexpr uint32_t kUint = 3, kDouble = 5, kString = 6, kName = 10;
}  // namespace annotation

// A message in protobuf's wire format: protobuf.dev/programming-guides/encoding.
class Message {
 public:
  Message& integer(uint32_t field, uint64_t value) {
    varint(uint64_t{field} << 3);
    varint(value);
    return *this;
  }
  Message& real(uint32_t field, double value) {
    varint(uint64_t{field} << 3 | 1);
    const auto bits = std::bit_cast<uint64_t>(value);
    for (int shift = 0; shift < 64; shift += 8) bytes_ += static_cast<char>(bits >> shift & 0xff);
    return *this;
  }
  Message& text(uint32_t field, std::string_view value) {
    varint(uint64_t{field} << 3 | 2);
    varint(value.size());
    bytes_ += value;
    return *this;
  }
  Message& message(uint32_t field, const Message& value) { return text(field, value.bytes_); }
  const std::string& bytes() const { return bytes_; }

 private:
  void varint(uint64_t value) {
    for (; value >= 0x80; value >>= 7) bytes_ += static_cast<char>(value | 0x80);
    bytes_ += static_cast<char>(value);
  }
  std::string bytes_;
};

// Whole nanoseconds of the trace; times that no clock shows are moved to where they fit.
constexpr uint64_t kLatest = 1'000'000'000'000'000'000;
uint64_t whole(double ns) {
  return ns > 0 ? static_cast<uint64_t>(std::min(std::round(ns), static_cast<double>(kLatest))) : 0;
}
uint64_t after(uint64_t begin, double ns) { return std::min(begin + whole(ns), kLatest); }

class Annotations {
 public:
  Annotations& add(std::string_view name, std::string_view value) {
    if (value.empty()) return *this;
    return take(Message().text(annotation::kName, name).text(annotation::kString, value));
  }
  Annotations& add(std::string_view name, uint64_t value) {
    return take(Message().text(annotation::kName, name).integer(annotation::kUint, value));
  }
  Annotations& add(std::string_view name, double value) {
    if (!std::isfinite(value)) return *this;
    return take(Message().text(annotation::kName, name).real(annotation::kDouble, value));
  }
  void into(Message& event) const {
    for (const Message& one : all_) event.message(event::kAnnotation, one);
  }

 private:
  Annotations& take(const Message& one) {
    all_.push_back(one);
    return *this;
  }
  std::vector<Message> all_;
};

enum Rank : uint64_t { kMemory, kLoss, kQueue, kOverlapping };

class Trace {
 public:
  uint64_t add_process(const Profile& profile) {
    Message process;
    process.integer(track::kPid, 1);
    for (const std::string& word : profile.command) process.text(track::kCommandLine, word);
    process.text(track::kProcessName, profile.command.empty() ? "stithy" : profile.command.front());
    describe(Message().integer(track::kUuid, ++tracks_).message(track::kProcess, process));
    return tracks_;
  }
  uint64_t add_thread(std::string_view name) {
    const Message thread =
        Message().integer(track::kThreadPid, 1).integer(track::kTid, 1).text(track::kThreadName, name);
    describe(Message().integer(track::kUuid, ++tracks_).message(track::kThread, thread));
    return tracks_;
  }
  // Tracks of one parent stand by their ranks.
  uint64_t add_track(std::string_view name, uint64_t parent, uint64_t rank = 0) {
    describe(child(name, parent, rank));
    return tracks_;
  }
  uint64_t add_group(std::string_view name, uint64_t parent) {
    describe(child(name, parent, 0).integer(track::kOrdering, track::kExplicit));
    return tracks_;
  }
  uint64_t add_counter(std::string_view name, uint64_t parent, uint64_t rank, bool bytes) {
    Message counter;
    if (bytes) counter.integer(track::kUnit, track::kBytes);
    describe(child(name, parent, rank).message(track::kCounter, counter));
    return tracks_;
  }

  void begin(uint64_t track, uint64_t at, std::string_view name, std::string_view category,
             const Annotations& annotations = {}) {
    Message event = of(track, event::kBegin);
    event.text(event::kCategory, category).text(event::kName, name);
    annotations.into(event);
    add(event, at);
  }
  void end(uint64_t track, uint64_t at) { add(of(track, event::kEnd), at); }
  void slice(uint64_t track, uint64_t from, uint64_t to, std::string_view name, std::string_view category,
             const Annotations& annotations = {}) {
    begin(track, from, name, category, annotations);
    end(track, to);
  }
  void count(uint64_t track, uint64_t at, uint64_t value) {
    add(of(track, event::kCounterType).integer(event::kCounter, value), at);
  }
  void count(uint64_t track, uint64_t at, double value) {
    add(of(track, event::kCounterType).real(event::kDoubleCounter, value), at);
  }
  std::string take() { return std::move(packets_); }

 private:
  Message child(std::string_view name, uint64_t parent, uint64_t rank) {
    return Message()
        .integer(track::kUuid, ++tracks_)
        .integer(track::kParent, parent)
        .text(track::kName, name)
        .integer(track::kRank, rank);
  }
  static Message of(uint64_t track, uint64_t type) {
    return Message().integer(event::kType, type).integer(event::kTrack, track);
  }
  void describe(const Message& track) { add(Message().message(packet::kTrackDescriptor, track)); }
  void add(const Message& event, uint64_t at) {
    add(Message().integer(packet::kTimestamp, at).message(packet::kTrackEvent, event));
  }
  void add(Message packet) {
    packet.integer(packet::kSequence, 1);
    if (packets_.empty()) packet.integer(packet::kSequenceFlags, packet::kStateCleared);
    packets_ += Message().message(kTracePacket, packet).bytes();
  }
  std::string packets_;
  uint64_t tracks_ = 0;
};

// Tracks side by side for slices that overlap: those of one track must nest.
class Lanes {
 public:
  Lanes(Trace& trace, std::string name, uint64_t parent, uint64_t rank)
      : trace_(trace), name_(std::move(name)), parent_(parent), rank_(rank) {}
  uint64_t place(uint64_t from, uint64_t to) {
    for (auto& [track, reached] : lanes_)
      if (reached <= from) {
        reached = to;
        return track;
      }
    lanes_.emplace_back(trace_.add_track(cat(name_, " ", lanes_.size() + 1), parent_, rank_ + lanes_.size()),
                        to);
    return lanes_.back().first;
  }

 private:
  Trace& trace_;
  const std::string name_;
  const uint64_t parent_, rank_;
  std::vector<std::pair<uint64_t, uint64_t>> lanes_;  // a track, and when its last slice ends
};

std::string_view word(Timing timing) { return kTimingNames[static_cast<size_t>(timing)]; }

Annotations annotations_of(const ProfiledRun& run) {
  const Measure& measure = run.times.measure;
  Annotations all;
  all.add("timing", word(measure.timing));
  if (measure.parts > 1) all.add("part", cat(measure.part + 1, " of ", measure.parts));
  if (run.times.first_fetch) all.add("first_fetch", *run.times.first_fetch);
  return all;
}

Annotations annotations_of(const Profile& profile, const ProfiledCall& call, size_t number) {
  std::string fused;
  for (const std::string& op : call.fused) fused += cat(fused.empty() ? "" : " ", op);
  return Annotations()
      .add("call", static_cast<uint64_t>(number))
      .add("op", call.op)
      .add("fused", fused)
      .add("phase", name_of(call.phase))
      .add("layer", call.layer)
      .add("shapes", call.shapes)
      .add("dtype", call.dtype)
      .add("variant", variant_of(profile, call))
      .add("flops", call.flops)
      .add("bytes", call.bytes);
}

// A slice of the host with what happened in it, one after the other.
struct HostSlice {
  uint64_t begin = 0, end = 0;
  std::string name, category;
  Annotations annotations;
  std::vector<std::pair<std::string_view, uint64_t>> parts;  // each with its end
};

// When the parts of the making ended is known together: they are laid one after the other up to that.
HostSlice making_of(const ProfiledProgram& program) {
  const std::pair<std::string_view, double> parts[] = {{"plan", program.plan_ns},
                                                       {"compile", program.compile_ns},
                                                       {"allocate", program.allocate_ns},
                                                       {"record", program.record_ns}};
  uint64_t all = 0;
  for (const auto& [name, ns] : parts) all += whole(ns);
  HostSlice slice;
  slice.end = std::max(whole(program.made_at), all);
  slice.begin = slice.end - all;
  slice.name = cat("make ", program.name);
  slice.category = "make";
  slice.annotations.add("calls", static_cast<uint64_t>(program.calls.size()))
      .add("arena_bytes", program.arena_bytes)
      .add("variable_bytes", program.variable_bytes);
  uint64_t at = slice.begin;
  for (const auto& [name, ns] : parts)
    if (whole(ns) > 0) slice.parts.emplace_back(name, at += whole(ns));
  return slice;
}

HostSlice host_slice_of(const ProfiledRun& run) {
  const RunTimes& times = run.times;
  HostSlice slice{.begin = whole(times.host_begin),
                  .end = whole(times.host_end),
                  .name = cat("run ", run.number),
                  .category = "run",
                  .annotations = annotations_of(run),
                  .parts = {}};
  slice.parts = {{"copy feeds", whole(times.host_copied)},
                 // Of kernels that the host times, each is submitted and waited for.
                 {times.by_host ? "submit and wait" : "submit", whole(times.host_submitted)},
                 {"wait", slice.end}};
  return slice;
}

void add_host(Trace& trace, const Analysis& analysis, uint64_t process) {
  const uint64_t thread = trace.add_thread("host");
  std::vector<HostSlice> slices;
  for (const ProfiledProgram& program : analysis.profile->programs) slices.push_back(making_of(program));
  for (const ProfiledRun& run : analysis.program->measured)
    if (std::isfinite(run.times.host_begin) && std::isfinite(run.times.host_end))
      slices.push_back(host_slice_of(run));
  std::ranges::stable_sort(slices, {}, &HostSlice::begin);
  Lanes others(trace, "host, other threads", process, 0);
  uint64_t reached = 0;
  for (const HostSlice& slice : slices) {
    const uint64_t end = std::max(slice.begin, slice.end);
    const uint64_t track = slice.begin >= reached ? thread : others.place(slice.begin, end);
    if (track == thread) reached = end;
    trace.begin(track, slice.begin, slice.name, slice.category, slice.annotations);
    uint64_t at = slice.begin;
    for (const auto& [name, to] : slice.parts) {
      const uint64_t until = std::clamp(to, at, end);
      trace.slice(track, at, until, name, slice.category);
      at = until;
    }
    trace.end(track, end);
  }
}

struct TimedCall {
  uint64_t begin = 0, end = 0;
  size_t call = 0;
};

// The timed kernels of a run that begins at `start`, in their order in time.
std::vector<TimedCall> timed_calls(const RunTimes& times, uint64_t start) {
  std::vector<TimedCall> timed;
  for (size_t i = 0; i < times.kernels.size(); ++i) {
    const auto& [begin, end] = times.kernels[i];
    if (!std::isfinite(begin) || !std::isfinite(end)) continue;
    const uint64_t from = after(start, begin);
    timed.push_back({from, std::max(from, after(start, end)), i});
  }
  std::ranges::stable_sort(timed, {}, &TimedCall::begin);
  return timed;
}

class DeviceTracks {
 public:
  DeviceTracks(Trace& trace, const Analysis& analysis, uint64_t device)
      : trace_(trace),
        analysis_(analysis),
        queue_(trace.add_track("queue", device, kQueue)),
        overlapping_(trace, "queue, overlapping", device, kOverlapping) {}

  // Returns what the run's kernels were, where they are in the trace.
  std::vector<TimedCall> add(const ProfiledRun& run) {
    const RunTimes& times = run.times;
    const bool whole_step = std::isfinite(times.copied_out);
    // The device has a clock of its own, and when a run began by the host's is not known: not before the
    // feeds were copied, and so that it ended when the host saw its end at the latest. It is put where
    // submission ended if that leaves room. Kernels that the host timed are already on its clock.
    const uint64_t copied = whole(times.host_copied), submitted = whole(times.host_submitted),
                   saw_end = whole(times.host_end), length = whole_step ? whole(times.copied_out) : 0;
    const uint64_t latest = saw_end > length ? saw_end - length : 0;
    const uint64_t start =
        std::max(reached_, times.by_host ? copied : std::max(copied, std::min(submitted, latest)));
    std::vector<TimedCall> timed = timed_calls(times, start);
    if (!whole_step) {
      add_kernels(timed, start, UINT64_MAX);
      return timed;
    }
    reached_ = start;
    const uint64_t end = after(start, times.copied_out);
    trace_.begin(queue_, start, cat("step ", run.number), "step", annotations_of(run));
    const uint64_t copied_in =
        std::isfinite(times.copied_in) ? std::clamp(after(start, times.copied_in), start, end) : start;
    if (copied_in > start) trace_.slice(queue_, start, copied_in, "copy in", "copy");
    const uint64_t computed =
        std::isfinite(times.computed) ? std::clamp(after(start, times.computed), copied_in, end) : end;
    trace_.begin(queue_, copied_in, "kernels", "step");
    add_kernels(timed, copied_in, computed);
    trace_.end(queue_, computed);
    if (end > computed) trace_.slice(queue_, computed, end, "copy out", "copy");
    trace_.end(queue_, end);
    reached_ = end;
    return timed;
  }

 private:
  // On the queue's own track as long as they follow one another within these bounds.
  void add_kernels(const std::vector<TimedCall>& timed, uint64_t from, uint64_t to) {
    reached_ = std::max(reached_, from);
    for (const TimedCall& one : timed) {
      const bool follows = one.begin >= reached_ && one.end <= to;
      const uint64_t track = follows ? queue_ : overlapping_.place(one.begin, one.end);
      if (follows) reached_ = one.end;
      const ProfiledCall& call = analysis_.program->calls[one.call];
      trace_.slice(track, one.begin, one.end, analysis_.profile->kernels[call.kernel].name,
                   name_of(call.phase), annotations_of(*analysis_.profile, call, one.call + 1));
    }
  }

  Trace& trace_;
  const Analysis& analysis_;
  const uint64_t queue_;
  Lanes overlapping_;
  uint64_t reached_ = 0;
};

}  // namespace

std::string to_perfetto(const Analysis& analysis) {
  Trace trace;
  const uint64_t process = trace.add_process(*analysis.profile);
  add_host(trace, analysis, process);

  const uint64_t device = trace.add_group(cat("device ", analysis.profile->device), process);
  const uint64_t memory = trace.add_counter("memory alive", device, kMemory, true);
  const uint64_t loss =
      trace.add_counter(analysis.program->trains ? "loss" : "first result", device, kLoss, false);
  DeviceTracks tracks(trace, analysis, device);
  const std::vector<uint64_t> alive = live_bytes(*analysis.program);
  uint64_t remembered = 0, counted = 0;
  for (const ProfiledRun& run : analysis.program->measured) {
    const RunTimes& times = run.times;
    if (!std::isfinite(times.host_copied) || !std::isfinite(times.host_end)) continue;
    const std::vector<TimedCall> timed = tracks.add(run);
    // Between kernels that were not timed the curve would be wrong.
    if (!timed.empty() && timed.size() == analysis.program->calls.size()) {
      for (const TimedCall& one : timed) {
        remembered = std::max(remembered, one.begin);
        trace.count(memory, remembered, alive[one.call]);
      }
      for (const TimedCall& one : timed) remembered = std::max(remembered, one.end);
      trace.count(memory, remembered, uint64_t{0});
    }
    if (times.first_fetch && std::isfinite(*times.first_fetch)) {
      counted = std::max(counted, whole(times.host_end));
      trace.count(loss, counted, *times.first_fetch);
    }
  }
  return trace.take();
}

}  // namespace stithy::profiling

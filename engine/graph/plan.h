// Plan: everything that a program will do, decided before anything is allocated: which kernels run, in which
// order, on which bytes, and where barriers stand. Profiler, memory forecast and debugging read the same
// plan.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/graph/launch.h"
#include "engine/graph/variable.h"

namespace stithy {

struct VariableState;

struct ProgramOptions {
  std::string name = "program";  // for messages
  // Every tensor in memory of its own, between guard bands; all of it is filled with NaN before each run.
  bool guard = false;
  // Looks for NaN after every op. A run then waits for its end and throws Error naming the first op that made
  // one.
  bool find_nan = false;
  // Measures every kernel call by itself: it runs alone, between two of the device's timestamps, for
  // Program::dispatch_ns. Program throws Error on a device where DeviceInfo::timestamps() is false.
  bool timestamps = false;
  // Every kernel call in a submission of its own: slow, but old validation layers see all hazards only then.
  bool submit_each = false;
  // A run is submitted in parts that are predicted to take no longer: watchdogs kill what runs for seconds.
  // By default 0.5 on GPUs; CPU drivers have no watchdog, and a run is one submission.
  std::optional<double> submission_seconds;
  // Takes the place of the table of what was measured: for the tuner, and for tests that force a candidate.
  Chooser choose;
  // Pointwise ops become one kernel with each other and with the ops that they feed or follow. Off with
  // find_nan, which looks at every op.
  bool fuse = true;
  // Prints Plan::describe() to standard error.
  bool show_plan = false;

  // The defaults above, changed by the words in the environment variable STITHY_DEBUG: nan, guard, plan,
  // submit-each, unfused. Throws Error on another word.
  static ProgramOptions from_environment();
};

// A range of bytes in one of the plan's buffers.
struct Span {
  int buffer = -1;
  uint64_t offset = 0, bytes = 0;
  bool overlaps(const Span& other) const {
    return buffer == other.buffer && offset < other.offset + other.bytes && other.offset < offset + bytes;
  }
};

struct PlannedBuffer {
  enum class Kind : uint8_t { arena, constants, variable, report } kind = Kind::arena;
  uint64_t bytes = 0;
  std::shared_ptr<VariableState> variable = nullptr;  // no part of another
};

struct PlannedDispatch {
  const Node* node = nullptr;
  std::vector<const Node*> fused = {};  // all the ops that it computes, where they are several
  KernelCall call;
  Groups groups;
  std::vector<Span> spans;  // one per binding
  size_t issued = 0;        // its place in the order of the ops, before independent ones were put together
  bool barrier_before = false;
  double flops = 0;    // of all its ops: an op's, divided among its calls; see KernelInfo::aids
  double bytes = 0;    // that it must read and write, each once
  double seconds = 0;  // predicted, see submissions.h
};

// A value in the arena: an output, or scratch memory, of a node, and the steps (indices of Plan::nodes)
// during which it must not be overwritten; an input is alive from step -1, a fetched value to the end.
struct PlannedValue {
  const Node* node = nullptr;
  int output = 0;
  bool scratch = false;
  Span span;
  int first = 0, last = 0;
};

// Where a source lies.
struct Placed {
  Tensor tensor;
  Span span;
};

// What a node that can run in several ways was answered.
struct PlannedChoice {
  const Node* node = nullptr;
  Choice choice;
};

// A place where the NaN finder looks: entry i belongs to report words 2i (first NaN) and 2i + 1 (first
// infinity).
struct NanCheck {
  const Node* node = nullptr;
  int output = 0;
};

struct Plan {
  std::vector<Tensor> fetches, updates;  // keep the graph alive
  ProgramOptions options;
  std::vector<const Node*> nodes;  // in the order of running
  std::vector<PlannedBuffer> buffers;
  std::vector<PlannedDispatch> dispatches;
  std::vector<PlannedValue> values;
  std::vector<Placed> inputs, constants, variables;
  std::vector<Span> fetch_spans;  // the bytes of the storage that each fetch needs
  std::vector<NanCheck> nan_checks;
  std::vector<std::shared_ptr<const Node>> pieces;  // of nodes beyond a binding's limit; see pieces.h
  double submission_seconds = 0;                    // the bound of a submission; infinite for none
  std::vector<PlannedChoice> choices;

  // Device memory in bytes: packed intermediate results and inputs, constants, variables in all, staging.
  uint64_t arena_bytes = 0, constant_bytes = 0, variable_bytes = 0, upload_bytes = 0, readback_bytes = 0;
  // Variables that are not on the device yet; the rest of variable_bytes is allocated already.
  uint64_t new_variable_bytes = 0;
  // All that the program needs on the device, its variables included.
  uint64_t peak_bytes() const {
    return arena_bytes + constant_bytes + variable_bytes + upload_bytes + readback_bytes;
  }
  uint64_t new_bytes() const { return peak_bytes() - variable_bytes + new_variable_bytes; }
  int barriers() const;
  double flops() const;
  double bytes() const;  // of all dispatches
  // Memory traffic that fusion saves in a run.
  uint64_t fused_bytes_saved = 0;

  // A line per kernel call: op, phase, layer, kernel, workgroups, shapes, barrier, the candidate taken.
  std::string describe() const;
};

// Plans a program that computes `fetches` and carries out `updates`. Nothing is allocated. Throws Error when
// the device cannot run it, naming op and limit.
Plan make_plan(const std::vector<Tensor>& fetches, const std::vector<Tensor>& updates,
               const ProgramOptions& options, const vk::DeviceInfo& device);

// Bytes of a value's storage: whole 16-byte words, so that kernels may store vectors of four.
uint64_t storage_bytes(const Value& value);
// Places start at multiples of this (the largest alignment that Vulkan allows a driver to ask for).
inline constexpr uint64_t kAlignment = 256;
inline uint64_t aligned(uint64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

}  // namespace stithy

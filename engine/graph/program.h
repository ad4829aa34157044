// Program: a planned graph, recorded once into command buffers and replayed: one submission a run.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "engine/graph/plan.h"

namespace stithy {

// A value for an input of the program.
struct Feed {
  Tensor input;
  const Array* value = nullptr;
};

class Program {
 public:
  // Plans, allocates and records. Variables keep their contents and are shared by all programs that use them.
  // Throws OutOfMemory, before anything is allocated, when the device cannot hold the plan, and what
  // make_plan throws.
  Program(const std::vector<Tensor>& fetches, const std::vector<Tensor>& updates = {},
          const ProgramOptions& options = ProgramOptions::from_environment());
  ~Program();
  Program(Program&&) noexcept;
  Program& operator=(Program&&) noexcept;

  // Starts a run and returns its number, 1, 2, ... Copies the feeds first, while the run before may still be
  // going on; waits only for the run before that. Every input must be fed, in its shape and dtype: else
  // throws Error.
  uint64_t submit(std::span<const Feed> feeds = {});
  // Fetch `index` of a run, by default the latest; waits for it. The latest two runs can be read.
  Array read(size_t index, uint64_t run = 0);
  // With ProgramOptions::timestamps: the nanoseconds that each of plan().dispatches took in a run, by default
  // the latest; waits for it. The latest two runs can be read. It times the kernel alone, started and ended
  // on an idle device: barriers, and what overlaps in an ordinary run, are not in it. 0 is less than a tick.
  std::vector<double> dispatch_ns(uint64_t run = 0);
  void wait();

  const Plan& plan() const;
  // Since construction: command buffers recorded, queue submissions, runs, and the processor time in
  // nanoseconds that this thread spent in submit(), without copying the feeds and without waiting.
  struct Counters {
    uint64_t recordings = 0, submissions = 0, runs = 0;
    double submit_ns = 0;
  };
  const Counters& counters() const;
  // After a run with ProgramOptions::guard: throws Error naming the value whose guard band was written.
  void check_guards();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Submits one run, waits for it and returns the nanoseconds that it took: its kernels' by themselves with
// ProgramOptions::timestamps, from submission to end by the host's clock without.
double timed_run(Program& program, std::span<const Feed> feeds = {});

}  // namespace stithy

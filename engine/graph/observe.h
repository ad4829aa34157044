// RunObserver: what watches the programs of a process without their knowing: the profiler.
#pragma once

#include <optional>

#include "engine/graph/run_times.h"

namespace stithy {

struct Plan;

// Programs are known by the addresses of their plans. Calls come from the threads that use the programs.
class RunObserver {
 public:
  // How long it took to make a program, in nanoseconds.
  struct Making {
    double plan = 0, compile = 0, allocate = 0, record = 0;
  };
  virtual ~RunObserver() = default;
  // Before anything of a program is made.
  virtual void begins() = 0;
  // False: programs are planned and compiled, but nothing is allocated and no run takes place; what is read
  // from them is zero.
  virtual bool lets_run() const = 0;
  // A program is ready, for the first time or planned anew.
  virtual void made(const Plan& plan, const Making& making) = 0;
  // How the coming run shall be measured, if at all.
  virtual std::optional<Measure> before_run(const Plan& plan) = 0;
  // A run was measured, or would have taken place.
  virtual void after_run(const Plan& plan, const RunTimes& times) = 0;
  virtual void ends(const Plan& plan) = 0;
};
// Null takes it away. Returns the one before.
RunObserver* set_run_observer(RunObserver* observer);
RunObserver* run_observer();

}  // namespace stithy

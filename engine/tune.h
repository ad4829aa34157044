// Tuner: measures the ways in which ops can run on this device, and keeps what it finds in the cache folder.
//
// A program takes for every op the candidate that was the fastest when it was measured on this device with
// this driver and these shaders, else a default. What it takes is read once, when the first program is
// planned: a process does not change its mind, so with the same cache its results are the same, bit for bit.
// A candidate that was wrong, failed, hung or took its process with it is never taken nor tried again.
//
// The environment variable STITHY_TUNE says what programs do beside that:
//   now         when a program is planned, what it needs and was not measured is measured first (stithy tune
//               -- PROGRAM does this, watches over it and starts again after a hang);
//   background  between training steps, for at most 3 percent of the time; the next start uses what is found;
//   off         what was measured is not used.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "engine/graph/plan.h"
#include "engine/tune_table.h"

namespace stithy {

enum class TuneMode : uint8_t { use, now, background, off };

struct TuneProgress {
  size_t done = 0, total = 0;  // candidates
  size_t bad = 0;
  double seconds = 0;       // since the tuner was made
  double left_seconds = 0;  // at the rate so far
  std::string key, label;   // being tried
};

struct TuneOptions {
  double limit_seconds = 0;  // no new try after that time; 0: all
  // A candidate that takes longer to compile and run once hangs: the process ends with a message.
  double hang_seconds = 120;
  bool again = false;  // measure what was measured, too; what is known to be bad stays out
  std::function<void(const TuneProgress&)> progress;  // before each try, and at the end, when key is empty
  std::function<void(const std::string& line)> say;   // what was found, a line a key
};

// Measures the choices of plans on the default device. A node is run alone, on inputs of its own: random
// numbers (Philox) in the shapes and strides that it had.
class Tuner {
 public:
  explicit Tuner(TuneOptions options = {});
  ~Tuner();
  Tuner(const Tuner&) = delete;

  // Notes what the plan needs and was not measured; the largest share of the floating-point operations first.
  void add(const Plan& plan);
  size_t left() const;
  // Tries one candidate and saves the result; the plain one is run first. False: nothing is left to try, or
  // the time is over. Throws Error when another process is tuning this device, when there is no cache folder,
  // and when the device was lost: start again then, the candidate is known to be bad.
  bool step();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// The options with a line a key on stderr and, on a terminal, what is being tried, the rate and the time
// left.
TuneOptions with_console(TuneOptions options = {});

// Takes the place of STITHY_TUNE, before the first program.
void set_tune_mode(TuneMode mode, TuneOptions options = {});
TuneMode tune_mode();
// To be called between training steps: in the background mode may try a candidate.
void tune_between_steps();
// Choices of the programs so far that took their default because nothing was measured on this device.
size_t untuned_choices();

}  // namespace stithy

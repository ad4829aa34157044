// The line that shows how a run gets on: a live bar on a terminal, plain lines elsewhere.
#pragma once

#include <cstdint>
#include <cstdio>
#include <functional>
#include <string>
#include <vector>

namespace stithy {

// A value on the line, with so many significant digits: {"loss", 0.28123, 4} reads "loss 0.2812".
struct ProgressValue {
  std::string name;
  double value = 0;
  int digits = 4;
};

struct ProgressState {
  int64_t epoch = 1, epochs = 1;  // counted from 1; epochs 0 leaves them out
  int64_t step = 0, steps = 1;    // done, and in all, of this epoch
  std::vector<ProgressValue> values;
  double seconds_per_step = 0;  // 0: not known yet
  double items_per_step = 0;
  std::string item = "img";
  double eta = -1;  // seconds; negative: not known
};

// "epoch 3/10 ######------ 78%  loss 0.2812  acc 0.897  lr 8.1e-4  4.1 ms/step  31k img/s  ETA 0:41", at most
// `width` characters: the bar shrinks first, then fields go, the last value first and ETA last. ASCII only.
std::string progress_line(const ProgressState& state, int width);

std::string format_number(double value, int digits);  // 0.2812, 8.1e-4, 123, nan
std::string format_count(double count);               // 950, 1.2k, 31k, 4.0M
std::string format_duration(double seconds);          // 0:41, 1:02:03

class Progress {
 public:
  struct Options {
    int64_t epochs = 0;  // 0: steps only
    int64_t steps_per_epoch = 1;
    double items_per_step = 0;
    std::string item = "img";
    std::FILE* out = stdout;
    // For tests: 0 asks the terminal, which TERM=dumb or no terminal at all makes plain lines.
    int width = 0;
    bool live = false;                   // used when width is not 0
    std::function<double()> clock = {};  // seconds, by default a steady clock
  };
  explicit Progress(Options options);
  // Ends the live line.
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // After `step` steps (from 1) of `epoch` (from 0). Redraws at most 10 times a second; elsewhere than on a
  // terminal writes a line every 5 seconds. The end of an epoch is always written, and stays.
  void step(int64_t epoch, int64_t step, std::vector<ProgressValue> values);
  // A line of text that stays above the bar.
  void print(const std::string& text);
  double seconds_per_step() const { return state_.seconds_per_step; }

 private:
  void draw(bool keep);
  Options options_;
  ProgressState state_;
  int64_t measured_step_ = -1;
  double measured_at_ = 0, drawn_at_ = 0;
  size_t drawn_ = 0;  // characters of the live line
};

}  // namespace stithy

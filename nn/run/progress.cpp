#include "nn/run/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "engine/core/clock.h"
#include "engine/core/error.h"

namespace stithy {
namespace {

constexpr int kBarWidth = 28, kSmallBar = 6;
constexpr double kRedraw = 0.1, kPlainInterval = 5;  // seconds

std::string printed(const char* format, int precision, double value) {
  char text[64];
  std::snprintf(text, sizeof text, format, precision, value);
  return text;
}

}  // namespace

std::string format_number(double value, int digits) {
  if (!std::isfinite(value)) return std::isnan(value) ? "nan" : value > 0 ? "inf" : "-inf";
  const double size = std::abs(value);
  if (size != 0 && (size < 0.01 || size >= 1e6)) {
    std::string text = printed("%.*e", digits - 1, value);
    const size_t e = text.find('e');  // e-04 -> e-4, e+06 -> e6
    return text.substr(0, e) + "e" + std::to_string(std::atoi(text.c_str() + e + 1));
  }
  std::string text = size < 1 ? printed("%.*f", digits, value) : printed("%#.*g", digits, value);
  if (text.find('e') != text.npos) text = printed("%.*f", 0, value);
  if (text.back() == '.') text.pop_back();
  return text;
}

std::string format_count(double count) {
  const char* units[] = {"", "k", "M", "G", "T"};
  int unit = 0;
  while (count >= 999.5 && unit < 4) count /= 1000, ++unit;
  return printed("%.*f", unit > 0 && count < 9.95 ? 1 : 0, count) + units[unit];
}

std::string format_duration(double seconds) {
  const int64_t whole = std::llround(std::clamp(seconds, 0.0, 3.6e9));
  char text[48];
  if (whole >= 3600)
    std::snprintf(text, sizeof text, "%lld:%02d:%02d", static_cast<long long>(whole / 3600),
                  static_cast<int>(whole / 60 % 60), static_cast<int>(whole % 60));
  else
    std::snprintf(text, sizeof text, "%d:%02d", static_cast<int>(whole / 60), static_cast<int>(whole % 60));
  return text;
}

std::string progress_line(const ProgressState& state, int width) {
  const double done = std::clamp(
      static_cast<double>(state.step) / static_cast<double>(std::max<int64_t>(state.steps, 1)), 0.0, 1.0);
  const std::string head = state.epochs > 0 ? cat("epoch ", state.epoch, "/", state.epochs, " ")
                                            : cat("step ", state.step, "/", state.steps, " ");
  const std::string percent = cat(" ", static_cast<int>(done * 100), "%");
  std::vector<std::string> fields;
  for (const ProgressValue& value : state.values)
    fields.push_back(cat("  ", value.name, " ", format_number(value.value, value.digits)));
  const double pace = state.seconds_per_step;
  if (pace > 0) {
    fields.push_back(pace >= 1      ? printed("  %.*f s/step", 1, pace)
                     : pace >= 1e-4 ? printed("  %.*f ms/step", 1, pace * 1e3)
                                    : printed("  %.*f us/step", 0, pace * 1e6));
    if (state.items_per_step > 0)
      fields.push_back(cat("  ", format_count(state.items_per_step / pace), " ", state.item, "/s"));
  }
  const std::string eta = state.eta >= 0 ? "  ETA " + format_duration(state.eta) : "";
  size_t length = head.size() + percent.size() + eta.size();
  for (const std::string& field : fields) length += field.size();
  const size_t limit = static_cast<size_t>(std::max(width, 1));
  while (!fields.empty() && length + kSmallBar > limit) {
    length -= fields.back().size();
    fields.pop_back();
  }
  const int bar = static_cast<int>(
      std::clamp<int64_t>(static_cast<int64_t>(limit) - static_cast<int64_t>(length), 0, kBarWidth));
  const int filled = static_cast<int>(done * bar);
  std::string line = head + std::string(static_cast<size_t>(filled), '#') +
                     std::string(static_cast<size_t>(bar - filled), '-') + percent;
  for (const std::string& field : fields) line += field;
  line += eta;
  // What others named may hold anything, a line break or an escape sequence among it.
  for (char& c : line)
    if (c < ' ' || c > '~') c = '?';
  return line.substr(0, limit);
}

Progress::Progress(Options options) : options_(std::move(options)) {
  if (options_.steps_per_epoch < 1)
    throw Error("progress", cat("steps_per_epoch ", options_.steps_per_epoch, " is less than 1"));
  state_.epochs = options_.epochs;
  state_.steps = options_.steps_per_epoch;
  state_.items_per_step = options_.items_per_step;
  state_.item = options_.item;
  if (!options_.clock) options_.clock = host_seconds;
  if (options_.width == 0) {
    const char* term = std::getenv("TERM");
    options_.live = isatty(fileno(options_.out)) && term && *term && std::strcmp(term, "dumb") != 0;
  }
  drawn_at_ = options_.clock();
}

Progress::~Progress() {
  if (drawn_) std::fputc('\n', options_.out);
  std::fflush(options_.out);
}

void Progress::step(int64_t epoch, int64_t step, std::vector<ProgressValue> values) {
  const double now = options_.clock();
  const int64_t overall = epoch * options_.steps_per_epoch + step;
  // The first step, which plans and records the program, is left out of the pace.
  if (measured_step_ >= 0 && overall > measured_step_) {
    const double pace = (now - measured_at_) / static_cast<double>(overall - measured_step_);
    state_.seconds_per_step =
        state_.seconds_per_step > 0 ? 0.95 * state_.seconds_per_step + 0.05 * pace : pace;
  }
  measured_step_ = overall;
  measured_at_ = now;
  state_.epoch = epoch + 1;
  state_.step = step;
  state_.values = std::move(values);
  const int64_t left = std::max<int64_t>(options_.epochs, 1) * options_.steps_per_epoch - overall;
  state_.eta = state_.seconds_per_step > 0
                   ? static_cast<double>(std::max<int64_t>(left, 0)) * state_.seconds_per_step
                   : -1;
  const bool epoch_ends = step >= options_.steps_per_epoch;
  if (epoch_ends || now - drawn_at_ >= (options_.live ? kRedraw : kPlainInterval)) {
    drawn_at_ = now;
    draw(epoch_ends);
  }
}

void Progress::draw(bool keep) {
  int width = options_.width;
  if (width == 0 && options_.live) {
    // Asked each time: a window changes its size. One column stays free, where some terminals would wrap.
    winsize size{};
    width = ioctl(fileno(options_.out), TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col - 1 : 79;
  }
  const std::string line = progress_line(state_, width == 0 ? 160 : width);
  if (!options_.live) {
    std::fprintf(options_.out, "%s\n", line.c_str());
  } else {
    const std::string blank(drawn_ > line.size() ? drawn_ - line.size() : 0, ' ');
    std::fprintf(options_.out, "\r%s%s%s", line.c_str(), blank.c_str(), keep ? "\n" : "");
    drawn_ = keep ? 0 : line.size();
  }
  std::fflush(options_.out);
}

void Progress::print(const std::string& text) {
  if (drawn_) std::fprintf(options_.out, "\r%s\r", std::string(drawn_, ' ').c_str());
  std::fprintf(options_.out, "%s\n", text.c_str());
  if (std::exchange(drawn_, 0)) draw(false);
  std::fflush(options_.out);
}

}  // namespace stithy

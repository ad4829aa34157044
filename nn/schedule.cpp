#include "nn/schedule.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <sstream>

#include "engine/core/error.h"

namespace stithy::nn {

namespace {
void check_steps(const char* where, const char* name, int64_t steps) {
  if (steps < 1) throw Error(where, cat(name, " must be at least 1 step, got ", steps));
}

// From `a` at 0 to `b` at 1.
double cosine_between(double a, double b, double t) {
  return b + (a - b) * (1 + std::cos(std::numbers::pi * t)) / 2;
}

double worst(bool maximize) {
  return maximize ? -std::numeric_limits<double>::infinity() : std::numeric_limits<double>::infinity();
}

// Reads fields that state() wrote; std::hexfloat does not read back with operator>>, so numbers are words.
template <class... Fields>
void read_state(const char* where, const std::string& text, Fields&... fields) {
  std::istringstream in(text);
  bool good = true;
  const auto read = [&](auto& field) {
    std::string word;
    in >> word;
    char* end = nullptr;
    const double value = std::strtod(word.c_str(), &end);
    good = good && !word.empty() && *end == 0;
    field = static_cast<std::remove_reference_t<decltype(field)>>(value);
  };
  (read(fields), ...);
  if (!good) throw Error(where, cat("cannot restore the state \"", text, "\""), "the checkpoint is damaged");
}
}  // namespace

namespace schedule {

Schedule constant(double factor) {
  return [=](int64_t) { return factor; };
}

Schedule step(int64_t every, double gamma) {
  check_steps("schedule step", "every", every);
  return [=](int64_t s) { return std::pow(gamma, static_cast<double>(s / every)); };
}

Schedule multi_step(std::vector<int64_t> milestones, double gamma) {
  if (!std::is_sorted(milestones.begin(), milestones.end()))
    throw Error("schedule multi_step", "the milestones must rise");
  return [milestones = std::move(milestones), gamma](int64_t s) {
    const auto reached = std::upper_bound(milestones.begin(), milestones.end(), s) - milestones.begin();
    return std::pow(gamma, static_cast<double>(reached));
  };
}

Schedule exponential(double gamma) {
  return [=](int64_t s) { return std::pow(gamma, static_cast<double>(s)); };
}

Schedule polynomial(int64_t total, double power, double end) {
  check_steps("schedule polynomial", "total", total);
  return [=](int64_t s) {
    const double left = 1 - static_cast<double>(std::min(s, total)) / static_cast<double>(total);
    return end + (1 - end) * std::pow(left, power);
  };
}

Schedule cosine(int64_t total, double end) {
  check_steps("schedule cosine", "total", total);
  return [=](int64_t s) {
    return cosine_between(1, end, static_cast<double>(std::min(s, total)) / static_cast<double>(total));
  };
}

Schedule warm_restarts(int64_t period, int64_t multiplier, double end) {
  check_steps("schedule warm_restarts", "period", period);
  check_steps("schedule warm_restarts", "multiplier", multiplier);
  return [=](int64_t s) {
    int64_t length = period;
    if (multiplier == 1) {
      s %= period;
    } else {
      for (; s >= length; length *= multiplier) s -= length;
    }
    return cosine_between(1, end, static_cast<double>(s) / static_cast<double>(length));
  };
}

Schedule one_cycle(int64_t total, const OneCycle& o) {
  check_steps("schedule one_cycle", "total", total);
  if (!(o.rise >= 0 && o.rise <= 1) || !(o.start_divisor > 0) || !(o.end_divisor > 0))
    throw Error("schedule one_cycle", "rise must be in [0, 1], the divisors above 0");
  const double peak = o.rise * static_cast<double>(total) - 1, last = static_cast<double>(total) - 1;
  const double start = 1 / o.start_divisor, end = start / o.end_divisor;
  return [=](int64_t step) {
    const double s = std::min(static_cast<double>(step), last);
    const auto between = [&](double a, double b, double t) {
      return o.linear ? a + (b - a) * t : cosine_between(a, b, t);
    };
    if (s <= peak) return between(start, 1, peak > 0 ? s / peak : 1);
    return between(1, end, last > peak ? (s - peak) / (last - peak) : 1);
  };
}

Schedule linear_warmup(int64_t steps, Schedule after, double start) {
  if (steps < 0) throw Error("schedule linear_warmup", cat("steps must be at least 0, got ", steps));
  return [=, after = std::move(after)](int64_t s) {
    if (s >= steps) return after(s - steps);
    return start + (1 - start) * static_cast<double>(s) / static_cast<double>(steps);
  };
}

Schedule sequence(std::vector<std::pair<Schedule, int64_t>> parts) {
  if (parts.empty()) throw Error("schedule sequence", "needs at least one schedule");
  return [parts = std::move(parts)](int64_t s) {
    size_t i = 0;
    for (; i + 1 < parts.size() && s >= parts[i].second; ++i) s -= parts[i].second;
    return parts[i].first(s);
  };
}

Schedule chained(std::vector<Schedule> parts) {
  return [parts = std::move(parts)](int64_t s) {
    double factor = 1;
    for (const Schedule& part : parts) factor *= part(s);
    return factor;
  };
}

}  // namespace schedule

ReduceOnPlateau::ReduceOnPlateau(const PlateauOptions& options)
    : options_(options), best_(worst(options.maximize)) {
  if (!(options.factor > 0 && options.factor < 1))
    throw Error("ReduceOnPlateau", cat("factor must be in (0, 1), got ", options.factor));
}

void ReduceOnPlateau::observe(double metric) {
  const double margin = options_.threshold * std::abs(best_);
  const bool better = std::isinf(best_)   ? !std::isnan(metric)
                      : options_.maximize ? metric > best_ + margin
                                          : metric < best_ - margin;
  if (better) best_ = metric;
  bad_ = better ? 0 : bad_ + 1;
  if (cooldown_ > 0) {
    --cooldown_;
    bad_ = 0;
  }
  if (bad_ > options_.patience) {
    factor_ = std::max(factor_ * options_.factor, options_.least);
    cooldown_ = options_.cooldown;
    bad_ = 0;
  }
}

std::string ReduceOnPlateau::state() const {
  return cat(std::hexfloat, factor_, " ", best_, " ", bad_, " ", cooldown_);
}

void ReduceOnPlateau::restore(const std::string& state) {
  read_state("ReduceOnPlateau", state, factor_, best_, bad_, cooldown_);
}

EarlyStopping::EarlyStopping(const EarlyStoppingOptions& options)
    : options_(options), best_(worst(options.maximize)) {}

bool EarlyStopping::observe(double metric) {
  const bool better = std::isinf(best_)   ? !std::isnan(metric)
                      : options_.maximize ? metric > best_ + options_.threshold
                                          : metric < best_ - options_.threshold;
  if (better) best_ = metric;
  bad_ = better ? 0 : bad_ + 1;
  return better;
}

std::string EarlyStopping::state() const { return cat(std::hexfloat, best_, " ", bad_); }

void EarlyStopping::restore(const std::string& state) { read_state("EarlyStopping", state, best_, bad_); }

}  // namespace stithy::nn

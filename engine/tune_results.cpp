// What programs ask of the tuner's results, and what STITHY_TUNE makes of them.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

#include "engine/core/clock.h"
#include "engine/core/error.h"
#include "engine/graph/device.h"
#include "engine/tune.h"

namespace stithy {
namespace {

// Of the time, for tuning between training steps.
constexpr double kBackgroundShare = 0.03;

TuneMode mode_of_environment() {
  const char* text = std::getenv("STITHY_TUNE");
  const std::string_view word = text ? text : "";
  if (word.empty()) return TuneMode::use;
  if (word == "now") return TuneMode::now;
  if (word == "background") return TuneMode::background;
  if (word == "off") return TuneMode::off;
  throw Error("STITHY_TUNE", cat("does not know \"", word, "\""), "use now, background or off");
}

// What programs ask. The table is read once; only tuning before a program changes it.
class Results : public ChoiceTable {
 public:
  size_t choose(const Choice& choice, const vk::DeviceInfo& device) override {
    const std::lock_guard lock(mutex_);
    if (mode() == TuneMode::off) return 0;
    const TuneTable& table = table_of(device);
    const bool known = std::ranges::any_of(
        choice.labels, [&](const std::string& label) { return table.find(choice.key, label) != nullptr; });
    if (!known) {
      untuned_.insert(choice.key);
      return 0;
    }
    return table.best(choice);
  }

  bool reconsider(const Plan& plan) override {
    if (tune_mode() == TuneMode::now) return tune_now(plan);
    if (tune_mode() == TuneMode::background) {
      if (!background_) background_ = std::make_unique<Tuner>();
      background_->add(plan);
    }
    return false;
  }

  void between_steps() {
    if (!background_) return;
    if ((host_seconds() - began_) * kBackgroundShare < spent_ + longest_) return;
    const double begin = host_seconds();
    try {
      if (!background_->step()) background_.reset();
    } catch (const std::exception& error) {
      std::fprintf(stderr, "%s\n", error.what());
      background_.reset();
    }
    const double seconds = host_seconds() - begin;
    spent_ += seconds;
    longest_ = std::max(longest_, seconds);
  }

  void set_mode(TuneMode mode, TuneOptions options) {
    const std::lock_guard lock(mutex_);
    mode_ = mode;
    options_ = std::move(options);
  }
  TuneMode get_mode() {
    const std::lock_guard lock(mutex_);
    return mode();
  }
  size_t untuned() {
    const std::lock_guard lock(mutex_);
    return untuned_.size();
  }

 private:
  TuneMode mode() {
    if (!mode_) mode_ = mode_of_environment();
    return *mode_;
  }
  const TuneTable& table_of(const vk::DeviceInfo& device) {
    const auto [at, fresh] = tables_.try_emplace(device_identity(device));
    if (fresh) at->second = TuneFile(device).load();
    return at->second;
  }
  bool tune_now(const Plan& plan) {
    Tuner tuner(options_.say ? options_ : with_console(options_));
    tuner.add(plan);
    if (tuner.left() == 0) return false;
    try {
      while (tuner.step()) {
      }
    } catch (const Error& error) {
      std::fprintf(stderr, "%s\n", error.what());
    }
    const std::lock_guard lock(mutex_);
    tables_.erase(device_identity(default_device_info()));
    untuned_.clear();
    return true;
  }

  std::mutex mutex_;
  std::optional<TuneMode> mode_;
  TuneOptions options_;
  std::map<std::string, TuneTable> tables_;  // by device
  std::set<std::string> untuned_;
  std::unique_ptr<Tuner> background_;
  double began_ = host_seconds();
  double spent_ = 0, longest_ = 1;
};

// Never freed: programs at namespace scope may outlive any order of destruction.
Results& results() {
  static auto* results = new Results;
  return *results;
}
const bool kProvided = (set_choice_table(&results()), true);

}  // namespace

void set_tune_mode(TuneMode mode, TuneOptions options) { results().set_mode(mode, std::move(options)); }
TuneMode tune_mode() { return results().get_mode(); }
void tune_between_steps() { results().between_steps(); }
size_t untuned_choices() { return results().untuned(); }

}  // namespace stithy

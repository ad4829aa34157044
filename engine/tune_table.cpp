#include "engine/tune_table.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <iomanip>
#include <limits>
#include <mutex>
#include <sstream>
#include <thread>
#include <utility>

#include "engine/core/error.h"
#include "engine/core/hash.h"
#include "engine/graph/kernel.h"

namespace stithy {
namespace {

constexpr std::string_view kFirstLine = "stithy tune 1";
constexpr std::string_view kOutcomes[] = {"good", "wrong", "failed"};
constexpr uint64_t kFileLimit = uint64_t{64} << 20;
// Below this gain a measured winner may be noise.
constexpr double kGain = 0.97;
constexpr long kPatienceSeconds = 10;

const KernelInfo* kernel_named(std::string_view name) {
  const auto all = all_kernels();
  const auto at = std::ranges::lower_bound(all, name, {}, &KernelInfo::name);
  return at != all.end() && (*at)->name == name ? *at : nullptr;
}

template <class T>
std::string_view bytes_of(std::span<const T> values) {
  return {reinterpret_cast<const char*>(values.data()), values.size_bytes()};
}

// A field of a line: no tabs, no line ends.
std::string field(std::string text) {
  std::ranges::replace_if(
      text, [](unsigned char c) { return c < ' '; }, ' ');
  return text;
}

std::vector<std::string_view> split(std::string_view text, char at) {
  std::vector<std::string_view> parts;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(at, begin), text.size());
    parts.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

[[noreturn]] void broken() { throw Error("tuning results", "the file is broken"); }

template <class T, class... Base>
T number(std::string_view text, Base... base) {
  T value{};
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value, base...);
  if (code != std::errc() || end != text.data() + text.size()) broken();
  return value;
}

double finite_number(std::string_view text) {
  const double value = number<double>(text);
  if (!std::isfinite(value) || value < 0) broken();
  return value;
}

std::string shortest(double value) {
  char text[32];
  return {text, std::to_chars(text, text + sizeof text, value).ptr};
}

std::string line_of(const Trial& trial) {
  std::string line = cat("trial\t", field(trial.label), '\t', kOutcomes[static_cast<size_t>(trial.outcome)],
                         '\t', std::hex, trial.shaders, '\t');
  for (const std::string& kernel : trial.kernels) line += (&kernel == &trial.kernels[0] ? "" : ",") + kernel;
  line += '\t' + shortest(std::isfinite(trial.error) ? trial.error : 1e300) + '\t';
  for (const double& ms : trial.ms) line += (&ms == &trial.ms[0] ? "" : ",") + shortest(ms);
  return line + '\t' + field(trial.note) + '\n';
}

Trial trial_of(std::string_view line) {
  const std::vector<std::string_view> fields = split(line, '\t');
  if (fields.size() != 8 || fields[0] != "trial" || fields[1].empty()) broken();
  Trial trial;
  trial.label = fields[1];
  const auto outcome = std::ranges::find(kOutcomes, fields[2]);
  if (outcome == std::end(kOutcomes)) broken();
  trial.outcome = static_cast<Trial::Outcome>(outcome - std::begin(kOutcomes));
  trial.shaders = number<uint64_t>(fields[3], 16);
  if (!fields[4].empty())
    for (std::string_view kernel : split(fields[4], ',')) trial.kernels.emplace_back(kernel);
  trial.error = finite_number(fields[5]);
  if (!fields[6].empty())
    for (std::string_view ms : split(fields[6], ',')) trial.ms.push_back(finite_number(ms));
  trial.note = fields[7];
  return trial;
}

}  // namespace

double Trial::quartile_ms() const {
  if (ms.empty()) return std::numeric_limits<double>::infinity();
  std::vector<double> sorted = ms;
  const auto quarter = sorted.begin() + static_cast<std::ptrdiff_t>(sorted.size() / 4);
  std::ranges::nth_element(sorted, quarter);
  return *quarter;
}

uint64_t shader_hash(const std::vector<std::string>& kernels) {
  static std::mutex mutex;
  static std::map<std::string, uint64_t, std::less<>> known;
  const std::lock_guard lock(mutex);
  uint64_t hash = hash_bytes("");
  for (const std::string& name : kernels) {
    const auto [at, fresh] = known.try_emplace(name, 0);
    if (fresh) {
      const KernelInfo* kernel = kernel_named(name);
      if (!kernel) {
        known.erase(at);
        return 0;
      }
      at->second = hash_bytes(bytes_of(kernel->spirv), hash_bytes(name));
    }
    hash = hash_bytes(bytes_of(std::span<const uint64_t>(&at->second, 1)), hash);
  }
  return hash;
}

const Trial* TuneTable::find(const std::string& key, const std::string& label) const {
  const auto entry = entries_.find(key);
  if (entry == entries_.end()) return nullptr;
  for (const Trial& trial : entry->second.trials)
    if (trial.label == label && trial.shaders != 0 && trial.shaders == shader_hash(trial.kernels))
      return &trial;
  return nullptr;
}

void TuneTable::add(const Choice& choice, Trial trial) {
  Entry& entry = entries_[choice.key];
  entry.choice = choice;
  for (Trial& known : entry.trials)
    if (known.label == trial.label && known.shaders == trial.shaders) {
      known = std::move(trial);
      return;
    }
  entry.trials.push_back(std::move(trial));
}

void TuneTable::merge(const TuneTable& later) {
  for (const auto& [key, entry] : later.entries_)
    for (const Trial& trial : entry.trials) add(entry.choice, trial);
}

size_t TuneTable::best(const Choice& choice) const {
  size_t best = choice.labels.size(), untried = best;
  double best_ms = std::numeric_limits<double>::infinity();
  for (size_t i = 0; i < choice.labels.size(); ++i) {
    const Trial* trial = find(choice.key, choice.labels[i]);
    if (!trial) {
      if (untried == choice.labels.size()) untried = i;
      continue;
    }
    if (trial->outcome != Trial::Outcome::good) continue;
    const double ms = trial->quartile_ms();
    if (ms < best_ms * (best == 0 ? kGain : 1)) best = i, best_ms = ms;
  }
  if (best < choice.labels.size() && (best == 0 || untried != 0)) return best;
  return untried < choice.labels.size() ? untried : choice.plain;
}

std::string TuneTable::text() const {
  std::string text = cat(kFirstLine, '\n');
  for (const auto& [key, entry] : entries_) {
    text += cat("key\t", field(key), '\t', entry.choice.plain);
    for (const std::string& label : entry.choice.labels) text += cat('\t', field(label));
    text += '\n';
    for (const Trial& trial : entry.trials) text += line_of(trial);
  }
  return text;
}

TuneTable TuneTable::parse(std::string_view text) {
  TuneTable table;
  const std::vector<std::string_view> lines = split(text, '\n');
  if (lines[0] != kFirstLine || !lines.back().empty()) broken();
  Entry* entry = nullptr;
  for (size_t i = 1; i + 1 < lines.size(); ++i) {
    if (lines[i].starts_with("key\t")) {
      const std::vector<std::string_view> fields = split(lines[i], '\t');
      if (fields.size() < 4) broken();
      entry = &table.entries_[std::string(fields[1])];
      entry->choice.key = fields[1];
      entry->choice.plain = number<size_t>(fields[2]);
      entry->choice.labels.assign(fields.begin() + 3, fields.end());
      if (entry->choice.plain >= entry->choice.labels.size()) broken();
    } else {
      if (!entry) broken();
      entry->trials.push_back(trial_of(lines[i]));
    }
  }
  return table;
}

namespace {

// The candidate being tried, for the signal handler.
volatile std::sig_atomic_t marker_in_use = -1;
volatile time_t try_began = 0;

time_t now_seconds() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec;
}

// Calls async-signal-safe functions alone.
void forgive_and_end(int signal) {
  if (marker_in_use >= 0 && now_seconds() - try_began < kPatienceSeconds) {
    [[maybe_unused]] const int ignored = ftruncate(marker_in_use, 0);
  }
  std::signal(signal, SIG_DFL);
  raise(signal);
}

// Where a program handles the signal itself, it does not end by it.
void exchange_handler(int signal, void (*from)(int), void (*to)(int)) {
  struct sigaction action = {};
  if (sigaction(signal, nullptr, &action) != 0 || action.sa_handler != from) return;
  action = {};
  action.sa_handler = to;
  sigemptyset(&action.sa_mask);
  sigaction(signal, &action, nullptr);
}

void stop_handling() {
  for (const int signal : {SIGINT, SIGTERM}) exchange_handler(signal, forgive_and_end, SIG_DFL);
  marker_in_use = -1;
}

TuneTable table_of(const std::optional<std::string>& text) {
  try {
    return text ? TuneTable::parse(*text) : TuneTable();
  } catch (const Error&) {  // written by another version
    return {};
  }
}

// What a process was trying when it died.
TuneTable left_behind(int marker) {
  std::string text(65536, '\0');
  const ssize_t size = pread(marker, text.data(), text.size(), 0);
  text.resize(static_cast<size_t>(std::max<ssize_t>(size, 0)));
  TuneTable dead;
  const TuneTable left = table_of(text);
  for (const auto& [key, entry] : left.entries())
    for (Trial trial : entry.trials) {
      trial.outcome = Trial::Outcome::failed;
      trial.note = "the process ended, or was ended, while it was tried";
      dead.add(entry.choice, std::move(trial));
    }
  return dead;
}

}  // namespace

std::string device_identity(const vk::DeviceInfo& device) {
  std::ostringstream text;
  text << std::hex << std::setfill('0');
  for (const uint8_t byte : device.uuid) text << std::setw(2) << int{byte};
  // CPU drivers give every CPU the same identity.
  const unsigned cores = device.is_cpu() ? std::thread::hardware_concurrency() : 0;
  text << ' ' << device.driver_version << ' ' << device.name << ' ' << device.driver_info << ' '
       << name_of(device.kind) << ' ' << std::dec << cores << " cores";
  return text.str();
}

TuneFile::TuneFile(const vk::DeviceInfo& device) : file_("tune", device_identity(device)) {}

TuneFile::~TuneFile() {
  if (marker_ < 0) return;
  stop_handling();  // the marker stays where done() was not reached
  close(marker_);
}

std::string TuneFile::marker_path() const {
  const std::string path = file_.path();
  return path.empty() ? path : path + ".trying";
}

bool TuneFile::claim() {
  if (marker_ >= 0) return true;
  const std::string path = marker_path();
  if (path.empty()) return false;
  std::error_code ignored;
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(), ignored);
  const int marker = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (marker < 0) return false;
  if (flock(marker, LOCK_EX | LOCK_NB) != 0) {
    close(marker);
    return false;
  }
  marker_ = marker;
  // Nobody holds it, so whoever wrote it is dead.
  if (const TuneTable dead = left_behind(marker_); !dead.entries().empty()) save(dead);
  done();
  return true;
}

TuneTable TuneFile::load() {
  struct stat status {};
  const bool died = marker_ < 0 && stat(marker_path().c_str(), &status) == 0 && status.st_size > 0;
  if (died && claim()) close(std::exchange(marker_, -1));
  return table_of(file_.read(kFileLimit));
}

bool TuneFile::save(const TuneTable& trials) {
  return file_.update([&](const std::optional<std::string>& present) {
    TuneTable all = table_of(present);
    all.merge(trials);
    return all.text();
  });
}

void TuneFile::trying(const Choice& choice, const Trial& trial) {
  if (marker_ < 0) throw Error("tune", "the device is not claimed");
  TuneTable table;
  table.add(choice, trial);
  const std::string text = table.text();
  if (ftruncate(marker_, 0) != 0 ||
      pwrite(marker_, text.data(), text.size(), 0) != static_cast<ssize_t>(text.size()) ||
      fsync(marker_) != 0)
    throw Error(marker_path(), cat("cannot be written: ", std::strerror(errno)));
  try_began = now_seconds();
  marker_in_use = marker_;
  for (const int signal : {SIGINT, SIGTERM}) exchange_handler(signal, SIG_DFL, forgive_and_end);
}

void TuneFile::done() {
  stop_handling();
  if (marker_ >= 0 && ftruncate(marker_, 0) != 0)
    throw Error(marker_path(), cat("cannot be written: ", std::strerror(errno)));
}

}  // namespace stithy

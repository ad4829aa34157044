// What was measured of the ways to run ops on one device with one driver, and the file that keeps it.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "engine/core/cache.h"
#include "engine/graph/choose.h"

namespace stithy {

// One candidate, tried.
struct Trial {
  enum class Outcome : uint8_t { good, wrong, failed };
  std::string label;
  Outcome outcome = Outcome::good;
  std::vector<std::string> kernels;  // that it launches, sorted
  uint64_t shaders = 0;              // shader_hash(kernels): with other shaders the trial says nothing
  double error = 0;                  // largest difference from the plain candidate, as a share of the bound
  std::vector<double> ms;            // every timing of one run of the op; few where it was clearly slower
  std::string note;                  // why it is not good
  // What candidates are compared by: a quarter of the timings are below it, since disturbances only add time.
  // Infinite where nothing was timed.
  double quartile_ms() const;
};

// A hash of the SPIR-V of these kernels of this process; 0 where one of them is unknown.
uint64_t shader_hash(const std::vector<std::string>& kernels);

class TuneTable {
 public:
  struct Entry {
    Choice choice;              // as offered when it was tried last
    std::vector<Trial> trials;  // in the order in which they were made
  };
  const std::map<std::string, Entry>& entries() const { return entries_; }  // by key
  // The trial of a candidate with the shaders of this process; null when there is none.
  const Trial* find(const std::string& key, const std::string& label) const;
  // Takes the place of a trial of the same candidate and shaders.
  void add(const Choice& choice, Trial trial);
  void merge(const TuneTable& later);
  // The fastest of the good candidates, the first unless another is at least 3 percent faster. Where none was
  // measured: the first that is not known to be bad.
  size_t best(const Choice& choice) const;

  // As text, a line a trial. parse() throws Error on anything else.
  std::string text() const;
  static TuneTable parse(std::string_view text);

 private:
  std::map<std::string, Entry> entries_;
};

// All that results hold for: UUID, driver, name, kind, and for CPU drivers the number of cores.
std::string device_identity(const vk::DeviceInfo& device);

// The file in the cache of one device and driver. Several processes may use it at once.
class TuneFile {
 public:
  explicit TuneFile(const vk::DeviceInfo& device);
  ~TuneFile();
  TuneFile(const TuneFile&) = delete;

  // Empty without a cache folder.
  std::string path() const { return file_.path(); }
  // Empty where there is no file, or a corrupt or foreign one, which the next save() replaces. A candidate
  // that a process died of is among the failed.
  TuneTable load();
  // Adds these trials to those in the file. False when it cannot be written.
  bool save(const TuneTable& trials);

  // Notes on disk that a candidate is being tried, until done(): if the process does not live to call it, the
  // candidate is never tried again. SIGINT and SIGTERM within the first ten seconds of a try are not held
  // against it.
  void trying(const Choice& choice, const Trial& trial);
  void done();
  // True when this process may try candidates: one at a time tunes a device. Needs a cache folder.
  bool claim();

 private:
  std::string marker_path() const;
  CacheFile file_;
  int marker_ = -1;
};

}  // namespace stithy

// The folder of a training run: config.json, metrics.jsonl, metrics.csv and result.json, beside which the
// checkpoints and report.html stand.
#pragma once

#include <cstdint>
#include <cstdio>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace stithy {

using Config = std::vector<std::pair<std::string, std::string>>;  // Arguments::values()
using Metrics = std::vector<std::pair<std::string, double>>;

struct MetricsRow {
  int64_t step = 0;
  Metrics values;
};

// Reads metrics.jsonl; NaN and infinities come back as NaN. An incomplete last line, which a killed run
// leaves, is left out; any other line that is not an object of numbers with a step throws Error.
std::vector<MetricsRow> read_metrics(const std::string& path);

class RunFolder {
 public:
  // Starts a run: makes the folder and its parents, writes config.json. Throws Error when it holds a run of
  // another config, the differing option named; one of the same config is started over.
  static RunFolder create(const std::string& path, const Config& config);
  // Goes on after `step`: lines of later steps leave metrics.jsonl. Throws Error when there is no run.
  static RunFolder resume(const std::string& path, int64_t step);

  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  // Appends a line to metrics.jsonl and flushes it: {"step":120,"epoch":2,"train_loss":0.2812}.
  void log(int64_t step, const Metrics& values);
  // Writes metrics.csv, a column for every name that occurs, and result.json, which marks the run finished.
  void finish(const Metrics& result);
  bool finished() const;
  std::vector<MetricsRow> metrics() const;

 private:
  struct CloseFile {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  explicit RunFolder(std::string path) : path_(std::move(path)) {}
  void open_log(const char* mode);
  std::string path_;
  std::unique_ptr<std::FILE, CloseFile> log_;
};

// Reads config.json back. Throws Error when it is no object of strings.
Config read_config(const std::string& path);

}  // namespace stithy

// What `stithy bench` measured: statistics, a line of JSON a result, and the comparison of two runs.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace stithy::measure {

// Repeated measurements of one thing.
struct Timing {
  double median = 0, best = 0;
  double spread = 0;  // distance of the quartiles over the median
  size_t samples = 0;
};
// Quartiles are interpolated between samples. Throws Error when there is none.
Timing timing_of(std::vector<double> samples);
double median_of(std::vector<double> samples);

// Where a run was measured, and what it is measured by.
struct Machine {
  std::string device, driver;
  double peak_gflops = 0, peak_gbs = 0;
  std::string blas;  // file of the BLAS; empty: none
  int64_t blas_threads = 0;
};

struct WorkloadFacts {
  std::string unit;  // "img", "tok"
  double items_per_second = 0;
  double back_to_back_ms = 0;  // a step, where no step waits for the one before
  double submissions = 0;      // a step
  int64_t dispatches = 0, barriers = 0;
  double submit_us = 0;     // processor time of Program::submit beside copying the batch
  uint64_t peak_bytes = 0;  // device memory, as planned
};

struct Result {
  std::string op, shape, dtype = "f32";  // op: of a workload its name
  Timing ms;
  std::string timer;           // "device": its timestamps around the kernels; "host": submission to end
  double gflops = 0, gbs = 0;  // operations and bytes that the kernels ask for, over the median
  double peak_share = 0;       // the larger of the shares of the two peaks; above 1 where caches hold all
  std::string bound;           // "compute" or "memory": which of the two
  std::optional<double> ratio_blas;  // best time of the BLAS over the best of ours; 1 is as fast
  std::optional<double> blas_ms;
  std::optional<WorkloadFacts> workload;
};

std::string to_json(const Machine& machine);
// A result of an earlier run, as far as a comparison needs it.
struct Earlier {
  std::string op, shape, dtype;
  double ms = 0, spread = 0;
};
struct EarlierRun {
  std::string device;  // empty where the text has no line of the machine
  std::vector<Earlier> results;
};
// Reads the lines that to_json wrote; lines of other objects are skipped. Throws Error, named `where`, with
// the line's number where one is not JSON or lacks a field, and when there is no result.
EarlierRun parse_results(const std::string& text, const std::string& where);

enum class Change : uint8_t { same, faster, slower, added };
struct Comparison {
  double speedup = 0;  // earlier time over this one's
  Change change = Change::added;
};
// A change counts where it is beyond both spreads, and beyond 3%.
Comparison compare(const Result& now, const EarlierRun& earlier);

std::string to_json(const Result& result, const std::optional<Comparison>& comparison = {});

}  // namespace stithy::measure

// What a profile says: figures of single calls and of groups of them, of the step as a whole, and advice.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "engine/profile.h"

namespace stithy::profiling {

// Of repeated measurements; nanoseconds. samples 0: there is none, and the others mean nothing.
struct Quantiles {
  double p25 = 0, p50 = 0, p75 = 0, p95 = 0;
  size_t samples = 0;
};
// Interpolates between samples; those that are NaN do not count.
Quantiles quantiles_of(std::vector<double> samples);

// Of one call of a program, by its place.
struct CallFigures {
  Quantiles concurrent, isolated;
};

// The whole step.
struct StepFigures {
  Quantiles device, host;  // an undisturbed step by the device's clock, and by the host's from submission on
  Quantiles copied_in, copied_out, host_copy, submit;
  // Shares of the step, as medians over rounds, each round by itself: of the kernels together, of the copies,
  // and of the time in which nothing of the two ran; on devices that overlap kernels, their union.
  // Of the gaps, `waits` are those before calls with a barrier.
  double kernels = 0, copies = 0, gaps = 0, waits = 0;
  // What timing the kernels added to the step, and how far apart the quartiles of that are; both as shares.
  double cost = 0, cost_spread = 0;
  double overlap = 1;  // sum of the kernels' times over their union
  size_t barriers = 0, reuse_barriers = 0;
  std::vector<size_t> needless;  // calls with a needless barrier
  double phases[3] = {};         // shares of forward, backward, optimizer in the kernels' time
  double flops = 0, bytes = 0;
  // Shares of the peaks; none where peaks were not measured.
  std::optional<double> of_peak_flops, of_peak_bytes;
  bool timed() const { return device.samples > 0; }
};

enum class View : uint8_t { call, op, layer, kernel };

// Calls put together as a view wants it.
struct Row {
  std::string op, phase, layer, kernel, choice, variant, dtype, shapes;  // "" where its calls differ
  std::vector<size_t> calls;
  Quantiles time;                   // of all its calls in a step; of isolated ones where there are no others
  double isolated = 0;              // median; nanoseconds, as above
  double share = 0;                 // of the step
  double flops = 0, bytes = 0;      // of a step
  double gflops = 0, gbs = 0;       // over the median
  std::optional<double> intensity;  // FLOP a byte
  // The roof over it (min(peak FLOP/s, intensity * peak bytes/s)) and what it reaches of it.
  std::optional<double> roof_share;
  std::string
      bound;  // "compute", "memory"; "launch" where it is too short for either to show; "" without peaks
};

struct Filter {
  std::string op, layer, kernel, phase;  // patterns in which * stands for any text; empty is all
};

struct Analysis {
  const Profile* profile = nullptr;
  const ProfiledProgram* program = nullptr;
  StepFigures step;
  std::vector<CallFigures> calls;
  // By round and call: nanoseconds, concurrent where the device has timestamps. NaN: not measured.
  std::vector<std::vector<double>> rounds;
  bool by_host = false;  // for want of timestamps: isolated calls, with what a submission costs in them
};

// The program whose steps took the most time in all; `name` chooses by "program NAME" or its number from 1.
// Throws Error listing the programs where there is none such, or where none was measured.
Analysis analyse(const Profile& profile, const std::string& name = {});
// By share, largest first.
std::vector<Row> rows_of(const Analysis& analysis, View view, const Filter& filter = {});
// "add+relu": all the ops that a call computes.
std::string op_of(const ProfiledCall& call);
// The specialization constants and the candidate taken: "tile 64x64  TILE_M=64 TILE_N=64".
std::string variant_of(const Profile& profile, const ProfiledCall& call);
// Bytes that are alive at each call, and the largest of them.
std::vector<uint64_t> live_bytes(const ProfiledProgram& program);
// Lines that a figure supports, the one that saves the most first.
std::vector<std::string> advice_of(const Analysis& analysis);

}  // namespace stithy::profiling

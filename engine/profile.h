// Profile: what the programs of a process did, kernel call by kernel call. A process that finds
// STITHY_PROFILE in its environment keeps one and writes it to that file; `stithy profile` starts such a
// process, reads the file and explains it.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/graph/hazard.h"
#include "engine/graph/node.h"
#include "engine/graph/run_times.h"
#include "engine/peaks.h"
#include "engine/vk/counters.h"
#include "engine/vk/statistics.h"

namespace stithy {

// A kernel with its specialization constants, as the driver compiled it.
struct ProfiledKernel {
  std::string name, shader, defines;  // as KernelInfo has them; source: shaders/<shader>.comp
  std::vector<std::pair<std::string, uint32_t>> constants;  // specialization constants, by name
  std::string hash;                                         // spirv_hash()
  std::string fused_text;  // GLSL before the shader's, of a kernel made while the program was planned
  std::optional<vk::KernelStatistics> statistics;  // none where the driver tells nothing
};

struct ProfiledCall {
  std::string op;                  // OpDef::name
  std::vector<std::string> fused;  // all the ops that it computes, where they are several
  Phase phase = Phase::forward;
  std::string layer;   // "encoder.0.linear"; empty outside of layers
  size_t kernel = 0;   // of Profile::kernels
  std::string choice;  // the candidate taken, where there were several
  std::string dtype;   // of its first output
  std::string shapes;  // "[64, 784] [784, 128] -> [64, 128]"
  std::array<uint32_t, 3> groups{};
  double flops = 0, bytes = 0;  // see PlannedDispatch
  BarrierReason barrier = BarrierReason::none;
  bool operator==(const ProfiledCall&) const = default;
};

// An intermediate result, and the calls (indices of ProfiledProgram::calls) between which it is alive: -1 is
// before the first one.
struct ProfiledValue {
  std::string label;  // "conv 0", "scratch of matmul"
  std::string layer;
  // Where it lies: a value may be a part of another, as a gradient is in the pack of all.
  int buffer = 0;
  uint64_t offset = 0, bytes = 0;
  int first = 0, last = 0;
  bool operator==(const ProfiledValue&) const = default;
};

struct ProfiledRun {
  uint64_t number = 0;  // 1 is the program's first run
  RunTimes times;       // of the host since the profile began
};

struct ProfiledProgram {
  std::string name;
  bool trains = false;  // it has optimizer ops
  uint64_t runs = 0;    // all of them, measured or not
  double made_at = 0;   // nanoseconds since the profile began; what follows as well
  double plan_ns = 0, compile_ns = 0, allocate_ns = 0, record_ns = 0;
  // As planned, in bytes.
  uint64_t arena_bytes = 0, variable_bytes = 0, constant_bytes = 0, transfer_bytes = 0;
  std::vector<ProfiledCall> calls;
  std::vector<ProfiledValue> values;
  uint64_t rounds = 0;  // complete ones: an unmeasured step timed at its ends, each part concurrent, isolated
  std::vector<ProfiledRun> measured;  // trials of the first and the second, then the rounds
  // By call and Profile::counters, each call alone in a run after the rounds; NaN where the device has
  // written none. Empty where nothing was counted.
  std::vector<std::vector<double>> counters;
};

// What the compiler of a GPU that need not be here makes of the same programs, planned for it.
struct ProfiledTarget {
  std::string target, device, driver, driver_info;
  std::vector<ProfiledKernel> kernels;
};

struct Profile {
  std::vector<std::string> command;
  std::string version;  // of Stithy
  // The device: its name, its driver, and what its timestamps are worth.
  std::string device, driver, driver_info, kind;
  uint32_t subgroup_size = 0, timestamp_bits = 0;
  double timestamp_period_ns = 0;                // 0 where the device writes no timestamps
  uint64_t heap_bytes = 0, allocated_bytes = 0;  // of the device's memory; at most held by the process
  bool tells_statistics = false;
  std::optional<vk::CounterList> counters;  // none where the driver has no VK_KHR_performance_query
  std::string counters_refused;             // why they cannot be counted all the same
  uint64_t untuned = 0;                     // choices between candidates of which nothing was measured here
  std::optional<Peaks> peaks;               // measured beside the program
  std::vector<ProfiledKernel> kernels;
  std::vector<ProfiledProgram> programs;
  std::vector<ProfiledTarget> targets;
};

// JSON, and back. parse_profile throws Error, named `where`, when the text is no profile, is of another
// version, or is wrong in itself.
std::string to_json(const Profile& profile);
Profile parse_profile(const std::string& text, const std::string& where);

// How a process is profiled; in STITHY_PROFILE_OPTIONS as words joined by commas.
struct ProfileOptions {
  int rounds = 20;     // "rounds=20": how often every way of measuring takes its turn
  int seconds = 60;    // "seconds=60": no further round of a program begins later, after the third
  int warmup = 5;      // "warmup=5": runs of a program before it is measured
  bool texts = false;  // "texts": the drivers' texts of the kernels, too
  // "static": programs are planned and compiled, but not run; for compilers without their GPU. The process
  // ends when a program that trains would run.
  bool only_static = false;
  std::string to_text() const;
  // Throws Error naming the word that it does not know.
  static ProfileOptions from_text(const std::string& text);
};

}  // namespace stithy

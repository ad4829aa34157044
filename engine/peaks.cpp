#include "engine/peaks.h"

#include <algorithm>

#include "engine/graph/device.h"
#include "engine/graph/program.h"
#include "engine/ops.h"

namespace stithy {
namespace {

// A machine that does other work, too, shows its best now and then.
constexpr int kRuns = 16;

// The program computes all of y and reads one element back.
double best_seconds(const Tensor& y) {
  Program program({slice(y, 0, 0, 1)}, {},
                  {.name = "peaks", .timestamps = default_device_info().timestamps()});
  timed_run(program);
  double best = timed_run(program);
  for (int run = 1; run < kRuns; ++run) best = std::min(best, timed_run(program));
  return best * 1e-9;
}

}  // namespace

Peaks measure_peaks() {
  const vk::DeviceInfo& device = default_device_info();
  Peaks peaks;
  // Enough invocations for every lane of the device several times over.
  const int64_t lanes = device.is_cpu() ? 1 << 12 : 1 << 20;
  const Variable x("x", Array({lanes}, DType::f32));
  for (const uint32_t chains : {8, 16, 24}) {
    const FlopChains work{.chains = chains, .rounds = 4096 / chains, .a = 0.999f, .b = 0.001f};
    const double flops = 16.0 * chains * work.rounds * static_cast<double>(lanes);
    peaks.flops = std::max(peaks.flops, flops / best_seconds(peak_flops(x, work)));
  }
  const uint64_t large = std::min<uint64_t>(device.is_cpu() ? 32 << 20 : 256 << 20,
                                            std::min(device.max_storage_buffer_range, device.max_allocation));
  const int64_t elements = static_cast<int64_t>(large / 4 / 256 * 256);
  const Tensor source = Variable("x", Array({elements}, DType::f32));
  for (const bool vectors : {false, true})
    peaks.bytes_per_second = std::max(peaks.bytes_per_second, 8.0 * static_cast<double>(elements) /
                                                                  best_seconds(peak_copy(source, vectors)));
  return peaks;
}

}  // namespace stithy

// What the device at hand can do at most, measured: the yardstick of the benchmark's and the profiler's
// shares.
#pragma once

#include "engine/graph/tensor.h"

namespace stithy {

// The fastest of our own simplest kernels, so a floor of the hardware's true peaks: on some drivers, CPU
// drivers above all, a kernel cannot do what the hardware could.
struct Peaks {
  double flops = 0;             // fp32 operations a second: independent chains of v * a + b in registers
  double bytes_per_second = 0;  // read and written: a copy of a tensor beyond the caches
};
// Takes about a second on a CPU driver, a tenth on a GPU.
Peaks measure_peaks();

// The two kernels, as ops without gradient. y[i] is the sum over c < chains of x[i] + c after 8 * rounds
// steps v = v * a + b. x f32.
struct FlopChains {
  uint32_t chains = 8, rounds = 1;
  float a = 0.5f, b = 1;
};
Tensor peak_flops(const Tensor& x, const FlopChains& chains);
// A copy of x, f32, whose size is a multiple of 4 where an invocation moves a vector of four.
Tensor peak_copy(const Tensor& x, bool vectors);

}  // namespace stithy

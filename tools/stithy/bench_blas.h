// A BLAS of the system, opened at run time: a yardstick for matrix products on CPU drivers.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace stithy::measure {

// A batch of products c = op(a) op(b) of row-major f32: c is [m, n]; a is [m, k], or [k, m] where
// transpose_a; b is [k, n], or [n, k] where transpose_b. Each follows the one before in memory.
struct Gemm {
  int64_t m = 0, n = 0, k = 0, batch = 1;
  bool transpose_a = false, transpose_b = false;
};

class Blas {
 public:
  // The library `wish`, or, where it is empty, the first of MKL, BLIS, OpenBLAS and the system's default that
  // is there; none when none is. It takes as many threads as OMP_NUM_THREADS says, or as there are
  // processors. Throws Error when `wish` cannot be opened or has no sgemm_.
  static std::optional<Blas> open(const std::string& wish);

  const std::string& file() const { return file_; }
  int64_t threads() const { return threads_; }
  // Netlib's plain loops, which Debian installs by default, are no yardstick.
  bool is_reference() const { return reference_; }
  void gemm(const Gemm& g, const float* a, const float* b, float* c) const;

 private:
  using Sgemm = void (*)(const char*, const char*, const int*, const int*, const int*, const float*,
                         const float*, const int*, const float*, const int*, const float*, float*, const int*,
                         size_t, size_t);
  Sgemm sgemm_ = nullptr;
  std::string file_;
  int64_t threads_ = 1;
  bool reference_ = false;
};

}  // namespace stithy::measure

#include "tools/stithy/bench_blas.h"

#include <dlfcn.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "engine/core/error.h"

namespace stithy::measure {

std::optional<Blas> Blas::open(const std::string& wish) {
  Blas blas;
  const char* threads = std::getenv("OMP_NUM_THREADS");
  blas.threads_ =
      threads ? std::max(1, std::atoi(threads)) : std::max<int64_t>(1, std::thread::hardware_concurrency());
  // BLIS takes one thread unless told, and reads this when it is loaded.
  setenv("OMP_NUM_THREADS", std::to_string(blas.threads_).c_str(), 0);

  std::string wanted[] = {"libmkl_rt.so.2",   "libmkl_rt.so", "libblis.so.4",
                          "libopenblas.so.0", "libblas.so.3", "libblas.so"};
  void* library = nullptr;
  if (!wish.empty()) {
    library = dlopen(wish.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!library) throw Error("stithy bench", dlerror(), "name a BLAS that is there, or leave --blas out");
  }
  for (const std::string& name : wanted)
    if (!library) library = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library) return {};
  blas.sgemm_ = reinterpret_cast<Sgemm>(dlsym(library, "sgemm_"));
  if (!blas.sgemm_) {
    if (!wish.empty()) throw Error("stithy bench", wish + " has no sgemm_", "name a BLAS");
    return {};
  }
  Dl_info info{};
  if (dladdr(reinterpret_cast<void*>(blas.sgemm_), &info) && info.dli_fname) {
    std::error_code error;
    const auto real = std::filesystem::canonical(info.dli_fname, error);
    blas.file_ = error ? info.dli_fname : real.string();
  }
  blas.reference_ = true;
  for (const char* symbol : {"openblas_get_config", "bli_info_get_version_str", "mkl_get_version",
                             "MKL_Get_Version", "ATL_buildinfo"})
    if (dlsym(library, symbol)) blas.reference_ = false;
  return blas;
}

// Row-major matrices are the transposes of column-major ones: c^T = op(b)^T op(a)^T.
void Blas::gemm(const Gemm& g, const float* a, const float* b, float* c) const {
  const int m = static_cast<int>(g.m), n = static_cast<int>(g.n), k = static_cast<int>(g.k);
  const int lda = g.transpose_a ? m : k, ldb = g.transpose_b ? k : n;
  const float one = 1, zero = 0;
  for (int64_t i = 0; i < g.batch; ++i)
    sgemm_(g.transpose_b ? "T" : "N", g.transpose_a ? "T" : "N", &n, &m, &k, &one, b + i * g.k * g.n, &ldb,
           a + i * g.m * g.k, &lda, &zero, c + i * g.m * g.n, &n, 1, 1);
}

}  // namespace stithy::measure

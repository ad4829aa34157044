// Matrix products as their kernels see them: for matmul, and for convolutions of a single tap.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "engine/core/shape.h"
#include "engine/graph/launch.h"

namespace stithy {

inline constexpr int kBatchDims = kMaxRank - 2;

// One operand as the kernel walks it: element strides along its own dimension (m or n), along k, and along
// the batch dimensions of the product (0 where it is broadcast).
struct ProductOperand {
  Ref storage;
  uint64_t bytes = 0;  // that are bound
  int64_t offset = 0, size = 0, stride = 0, k_stride = 0;
  std::array<int64_t, kBatchDims> batch{};

  bool vec4_batches() const {
    return std::all_of(batch.begin(), batch.end(), [](int64_t s) { return s % 4 == 0; });
  }
  bool vec4_along_k() const {
    return k_stride == 1 && offset % 4 == 0 && (stride % 4 == 0 || size == 1) && vec4_batches();
  }
  bool vec4_along_size(int64_t k) const {
    return stride == 1 && size % 4 == 0 && offset % 4 == 0 && (k_stride % 4 == 0 || k == 1) && vec4_batches();
  }
};

// c = a * b, a batch of them; c lies densely, batch after batch, with strides c_m and c_n in each.
struct Product {
  ProductOperand a, b;
  int64_t k = 0, batches = 1;
  std::array<int64_t, kBatchDims> shape{1, 1, 1, 1};
  int64_t c_m = 0, c_n = 1;
  int64_t count() const { return a.size * b.size * batches; }
};

// Computes p into c, from its first element on. Only a c without gaps can be made of slices.
void launch_product(Launch& launch, const Product& p, const Ref& c, bool gaps);

}  // namespace stithy

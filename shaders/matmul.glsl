// What the kernels of a matrix product share: c = a * b, [m, k] x [k, n], any strides, a batch of them.
// After the include of grid.glsl and the workgroup's size.
#include "fused.glsl"

// How an operand is read: 0 single elements, neighbours along m or n; 1 vec4 along k; 2 vec4 along m or n, which is a
// multiple of 4; 3 single elements, neighbours along k.
layout(constant_id = 5) const uint A_LAYOUT = 0;
layout(constant_id = 6) const uint B_LAYOUT = 0;
layout(constant_id = 7) const bool C_VEC4 = false;

#ifdef KERNEL_matmul_texel
layout(set = 0, binding = 0) uniform textureBuffer a;
layout(set = 0, binding = 1) uniform textureBuffer b;
#define LOAD(x, i) texelFetch(x, int((i) / 4))[(i) % 4]
#define LOAD4(x, i) texelFetch(x, int(i))
#else
layout(set = 0, binding = 0) readonly buffer A { float a[]; };
layout(set = 0, binding = 0) readonly buffer A4 { vec4 a4[]; };
layout(set = 0, binding = 1) readonly buffer B { float b[]; };
layout(set = 0, binding = 1) readonly buffer B4 { vec4 b4[]; };
#define LOAD(x, i) x[i]
#define LOAD4(x, i) x##4[i]
#endif
layout(set = 0, binding = 2) writeonly buffer C { float c[]; };
layout(set = 0, binding = 2) writeonly buffer C4 { vec4 c4[]; };

layout(push_constant) uniform Push {
  uint m, n, k;
  uint a_offset, a_m, a_k;
  uint b_offset, b_k, b_n;
  uint c_m, c_n;
  uint k_chunk, batches;
  uint shape[4];
  uint a_batch[4];
  uint b_batch[4];
};

// Declares which block of c, which batch and which slice of k a workgroup has, and where its operands begin. Blocks
// of rows follow one another, then of columns: neighbours in time share columns of b.
#define FIND_TASK(row_groups, col_groups)                                   \
  uint rest = group_index();                                                \
  const uint row_group = rest % (row_groups);                               \
  rest /= row_groups;                                                       \
  const uint col_group = rest % (col_groups);                               \
  rest /= col_groups;                                                       \
  const uint batch = rest % batches, slice = rest / batches;                \
  const uint k_begin = slice * k_chunk, k_end = min(k, k_begin + k_chunk);  \
  if (slice > 0 && k_begin >= k) return;                                    \
  uint a_start = a_offset, b_start = b_offset, rest_batch = batch;          \
  [[unroll]] for (int d = 3; d >= 0; --d) {                                 \
    const uint i = rest_batch % shape[d];                                   \
    rest_batch /= shape[d];                                                 \
    a_start += i * a_batch[d];                                              \
    b_start += i * b_batch[d];                                              \
  }                                                                         \
  const uint c_start = (slice * batches + batch) * m * n;

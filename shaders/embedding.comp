// Rows of a table w [rows, columns] by index [count].
// A table beyond the largest binding is read, and its gradient written, in several calls.
//   embedding            one invocation per element: y[i, c] = w[index[i], c]; NaN for an index out of range
//   embedding_backward   one workgroup per position i of `begin` to `end`: the first of an index adds the rows of
//                        dy of all its positions there, in order, to dw, which is zero before the first call. No
//                        atomics, so the result is the same every time. It costs up to (end - begin) * (distinct
//                        indices) reads of the index list, shared by the lanes; positions out of range add nothing.
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#pragma stithy kernels embedding embedding_backward
#include "row.glsl"

layout(set = 0, binding = 0) readonly buffer Index { int index[]; };
layout(push_constant) uniform Push {
  // The part of the table that is bound: `rows` rows from `first` on, of `total`.
  uint rows, columns, count, index_offset, x_offset, first, total;
  uint begin, end;  // embedding_backward alone
};
// The row of that part, or more than it has.
uint row_here(int r) { return r < 0 || uint(r) >= total || uint(r) < first ? rows : uint(r) - first; }

#ifdef KERNEL_embedding
layout(set = 0, binding = 1) readonly buffer W { float w[]; };
layout(set = 0, binding = 2) writeonly buffer Y { float y[]; };

void main() {
  const uint i = invocation_index();
  if (i >= count * columns) return;
  const uint position = i / columns, column = i - position * columns;
  const int r = index[index_offset + position];
  const uint at = row_here(r);
  if (at < rows)
    y[i] = w[x_offset + at * columns + column];
  else if (first == 0u && (r < 0 || uint(r) >= total))
    y[i] = nan_value();
}
#endif

#ifdef KERNEL_embedding_backward
layout(set = 0, binding = 1) readonly buffer Dy { float dy[]; };
layout(set = 0, binding = 2) buffer Dw { float dw[]; };

void main() {
  const uint i = begin + group_index(), lane = gl_LocalInvocationID.x, lanes = gl_WorkGroupSize.x;
  if (i >= end) return;
  const int r = index[index_offset + i];
  if (row_here(r) >= rows) return;
  for (uint j = begin; j < i; j += lanes) {
    const bool earlier = j + lane < i && index[index_offset + min(j + lane, i)] == r;
    if (row_max(float(earlier)) > 0.0) return;
  }
  const uint to = row_here(r) * columns;
  uint j = i;
  while (j < end) {
    // The first of the next `lanes` positions that has the same index.
    const bool same = j + lane < end && index[index_offset + min(j + lane, end - 1u)] == r;
    const uint left = uint(row_max(same ? float(lanes - lane) : 0.0));
    if (left == 0u) {
      j += lanes;
      continue;
    }
    j += lanes - left;
    for (uint c = lane; c < columns; c += lanes) dw[to + c] += dy[x_offset + j * columns + c];
    ++j;
  }
}
#endif

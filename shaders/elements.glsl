// Inputs of kernels whose invocations make four consecutive output elements each: all pointwise ops, casts
// and copies. The host (engine/ops/elements.cpp) merges the output's dimensions as far as every input's
// strides allow and gives each input a MODE:
//   CONTIGUOUS  elements follow the output's: one vector load
//   SCALAR      one element for all
//   ROWS        contiguous runs of a multiple of four elements, each starting at one: a vector load
//   STRIDED     anything else: one element at a time
// Before the include: push constants `count` (elements of the output) and `shape[6]` (merged, the last
// dimension last). The last vector reads and writes up to three elements past the end, which storage is
// padded for.
#include "dtype.glsl"

const uint CONTIGUOUS = 0u, SCALAR = 1u, ROWS = 2u, STRIDED = 3u;
layout(constant_id = 1) const uint DIMS = 6u;  // merged dimensions: shape[6 - DIMS] to shape[5] count

// Storage positions of output elements i to i + 3. Those past the end wrap around to the start.
uvec4 strided_positions(uint i, uint shape[6], uint strides[6], uint offset, bool first_only) {
  uint coordinate[6];
  uint rest = i, position = offset;
  for (uint k = 0u; k < 6u; ++k) {
    const uint d = 5u - k;
    coordinate[d] = 0u;
    if (k < DIMS) {
      const uint outer = k + 1u < DIMS ? rest / shape[d] : 0u;
      coordinate[d] = rest - outer * shape[d];
      position += coordinate[d] * strides[d];
      rest = outer;
    }
  }
  uvec4 positions = uvec4(position);
  if (first_only) return positions;
  for (uint e = 1u; e < 4u; ++e) {
    bool carry = true;
    for (uint k = 0u; k < DIMS; ++k) {
      const uint d = 5u - k;
      const bool wraps = carry && coordinate[d] + 1u == shape[d];
      position += carry ? strides[d] : 0u;
      position -= wraps ? strides[d] * shape[d] : 0u;
      coordinate[d] = wraps ? 0u : coordinate[d] + uint(carry);
      carry = wraps;
    }
    positions[e] = position;
  }
  return positions;
}

#define INPUT(NAME, BINDING)                                                        \
  layout(set = 0, binding = BINDING) readonly buffer NAME##_words { uint NAME[]; }; \
  layout(set = 0, binding = BINDING) readonly buffer NAME##_vectors { uvec4 NAME##_4[]; };
#define OUTPUT(NAME, BINDING)                                                        \
  layout(set = 0, binding = BINDING) writeonly buffer NAME##_words { uint NAME[]; }; \
  layout(set = 0, binding = BINDING) writeonly buffer NAME##_vectors { uvec4 NAME##_4[]; };

// Defines load_NAME(i): the raw values of the input's elements for output elements i to i + 3.
#define LOADER(NAME, MODE, DTYPE, STRIDES, OFFSET)                                                \
  uint load_one_##NAME(uint at) { return raw_in(NAME[word_of(at, DTYPE)], at, DTYPE); }           \
  uvec4 load_##NAME(uint i) {                                                                     \
    if (MODE == SCALAR) return uvec4(load_one_##NAME(OFFSET));                                    \
    uvec4 at = uvec4(i + OFFSET);                                                                 \
    if (MODE >= ROWS) at = strided_positions(i, push.shape, STRIDES, OFFSET, MODE == ROWS);       \
    if (MODE == STRIDED)                                                                          \
      return uvec4(load_one_##NAME(at.x), load_one_##NAME(at.y), load_one_##NAME(at.z),           \
                   load_one_##NAME(at.w));                                                        \
    if (is_word(DTYPE)) return NAME##_4[at.x >> 2];                                               \
    if (is_half(DTYPE)) return unpack_halves(uvec2(NAME[at.x >> 1], NAME[(at.x >> 1) + 1u]));     \
    return unpack_bytes(NAME[at.x >> 2]);                                                         \
  }

// Defines store_NAME(i, raw): writes output elements i to i + 3.
#define STORER(NAME, DTYPE)                    \
  void store_##NAME(uint i, uvec4 raw) {       \
    if (is_word(DTYPE)) {                      \
      NAME##_4[i >> 2] = raw;                  \
    } else if (is_half(DTYPE)) {               \
      const uvec2 words = pack_halves(raw);    \
      NAME[i >> 1] = words.x;                  \
      NAME[(i >> 1) + 1u] = words.y;           \
    } else {                                   \
      NAME[i >> 2] = pack_bytes(raw);          \
    }                                          \
  }

// What the kernels of a convolution share. Everything is 3-D: axes of size 1 stand before those that are there. At
// place q of an axis of the output, tap t reads the input at base + q STEP + t TAP_STEP, zero outside.
//
// Taps along w are BLOCKS_W blocks of TAPS_W, which are unrolled: an invocation works on strips of COLS neighbours
// along w, whose taps overlap in one SEGMENT of a row of the input.
layout(constant_id = 2) const uint ROWS = 4;
layout(constant_id = 3) const uint COLS = 4;
layout(constant_id = 4) const uint TAPS_D = 1;
layout(constant_id = 5) const uint TAPS_H = 1;
layout(constant_id = 6) const uint TAPS_W = 1;
layout(constant_id = 7) const uint BLOCKS_W = 1;
layout(constant_id = 8) const uint STEP_D = 1;
layout(constant_id = 9) const uint STEP_H = 1;
layout(constant_id = 10) const uint STEP_W = 1;
layout(constant_id = 11) const uint TAP_STEP_D = 1;
layout(constant_id = 12) const uint TAP_STEP_H = 1;
layout(constant_id = 13) const uint TAP_STEP_W = 1;

const uint SEGMENT = (COLS - 1) * STEP_W + (TAPS_W - 1) * TAP_STEP_W + 1;

// Declares the coordinates of strip number `strip`: batch item n, and od, oh, ow of its first column.
#define FIND_STRIP(strip)                                         \
  const uint strips_w = (out_size[2] + COLS - 1) / COLS;          \
  uint rest_strip = (strip);                                      \
  const uint ow = rest_strip % strips_w * COLS;                   \
  rest_strip /= strips_w;                                         \
  const uint oh = rest_strip % out_size[1];                       \
  rest_strip /= out_size[1];                                      \
  const uint od = rest_strip % out_size[0], n = rest_strip / out_size[0];

// How x is read: 4 an element at a time; below 4 in vectors, of which the segments begin X_PHASE elements after the first.
// The rows are whole vectors then.
layout(constant_id = 14) const uint X_PHASE = 4;

#ifdef TEXELS
layout(set = 0, binding = 0) uniform textureBuffer x;
#define LOAD(x, i) texelFetch(x, int((i) / 4))[(i) % 4]
#define LOAD4(x, i) texelFetch(x, int(i))
#else
layout(set = 0, binding = 0) readonly buffer X { float x[]; };
layout(set = 0, binding = 0) readonly buffer X4 { vec4 x4[]; };
#define LOAD(x, i) x[i]
#define LOAD4(x, i) x##4[i]
#endif

// Fills xs with the segment of the input's row (id, ih) from iw on; `from` is the channel's first element.
#define LOAD_SEGMENT(xs, from, id, ih, iw)                                                         \
  {                                                                                                \
    const bool in_row = uint(id) < in_size[0] && uint(ih) < in_size[1];                            \
    const uint row_from = (from) + uint(((id) * int(in_size[1]) + (ih)) * int(in_size[2]) + (iw)); \
    if (X_PHASE < 4) {                                                                             \
      [[unroll]] for (uint v = 0; v < (X_PHASE + SEGMENT + 3) / 4; ++v) {                          \
        const bool inside = in_row && uint((iw) + int(4 * v) - int(X_PHASE)) < in_size[2];         \
        vec4 values = LOAD4(x, inside ? (row_from + 4 * v - X_PHASE) / 4 : 0);                         \
        if (!inside) values = vec4(0);                                                             \
        [[unroll]] for (uint e = 0; e < 4; ++e)                                                    \
          if (4 * v + e >= X_PHASE && 4 * v + e - X_PHASE < SEGMENT) xs[4 * v + e - X_PHASE] = values[e]; \
      }                                                                                            \
    } else {                                                                                       \
      [[unroll]] for (uint s = 0; s < SEGMENT; ++s) {                                              \
        const bool inside = in_row && uint((iw) + int(s)) < in_size[2];                            \
        const uint at = inside ? row_from + s : 0;                                                 \
        const float value = LOAD(x, at);                                                           \
        xs[s] = inside ? value : 0.0;                                                              \
      }                                                                                            \
    }                                                                                              \
  }

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

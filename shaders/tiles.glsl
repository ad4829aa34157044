// Products in tiles of shared memory: a workgroup makes TILE_M x TILE_N sums out of parts of both operands, K_TILE of k at
// a time. After the workgroup's size, ROWS, COLS, LANES_N and K_TILE.
// An invocation computes ROWS x COLS sums, in quads; LANES_N neighbours lie along n, a quad apart, so that their reads
// of shared memory touch. Both parts lie with k outermost; a row of theirs is skewed by a quad, which spreads the banks
// of operands that come along k.
const uint LANES_M = gl_WorkGroupSize.x / LANES_N;
const uint TILE_M = LANES_M * ROWS, TILE_N = LANES_N * COLS;
const uint SKEW = 4;
const uint A_PITCH = TILE_M + SKEW, B_PITCH = TILE_N + SKEW;
const uint A_LOADS = TILE_M * K_TILE / 4 / gl_WorkGroupSize.x, B_LOADS = TILE_N * K_TILE / 4 / gl_WorkGroupSize.x;

shared float a_part[K_TILE * A_PITCH];
shared float b_part[K_TILE * B_PITCH];

// Load i of an invocation brings four elements of a part, along k (LAYOUT 1) or along its own dimension. Invocations
// that are neighbours read neighbours.
#define ALONG_K(LAYOUT) (LAYOUT % 2 == 1)
#define PLACE(LAYOUT, WIDTH, i)                                                       \
  const uint unit = gl_LocalInvocationID.x + (i) * gl_WorkGroupSize.x;                \
  const uint own = ALONG_K(LAYOUT) ? unit / (K_TILE / 4) : unit % ((WIDTH) / 4) * 4;  \
  const uint part_k = ALONG_K(LAYOUT) ? unit % (K_TILE / 4) * 4 : unit / ((WIDTH) / 4);

// Past the end of k come zeros (for LAYOUT 1, k is a multiple of 4); rows and columns past the end are those at the end,
// and are not stored.
#define FETCH(x, LAYOUT, WIDTH, LOADS, values, first, count, start, x_own, x_k)                                  \
  [[unroll]] for (uint i = 0; i < LOADS; ++i) {                                                                  \
    PLACE(LAYOUT, WIDTH, i)                                                                                      \
    const uint at_k = kk + part_k;                                                                               \
    vec4 v = vec4(0);                                                                                            \
    if (LAYOUT == 1) {                                                                                           \
      if (at_k < k_end) v = x##4[(start + min(first + own, count - 1) * x_own + at_k) / 4];                      \
    } else if (LAYOUT == 3) {                                                                                    \
      [[unroll]] for (uint e = 0; e < 4; ++e)                                                                    \
        if (at_k + e < k_end) v[e] = x[start + min(first + own, count - 1) * x_own + (at_k + e) * x_k];          \
    } else if (at_k < k_end) {                                                                                   \
      if (LAYOUT == 2) {                                                                                         \
        v = x##4[(start + min(first + own, count - 4) + at_k * x_k) / 4];                                        \
      } else {                                                                                                   \
        [[unroll]] for (uint e = 0; e < 4; ++e) v[e] = x[start + min(first + own + e, count - 1) * x_own + at_k * x_k]; \
      }                                                                                                          \
    }                                                                                                            \
    values[i] = v;                                                                                               \
  }

#define PUT(part, LAYOUT, WIDTH, PITCH, LOADS, values)                                              \
  [[unroll]] for (uint i = 0; i < LOADS; ++i) {                                                     \
    PLACE(LAYOUT, WIDTH, i)                                                                         \
    [[unroll]] for (uint e = 0; e < 4; ++e)                                                         \
      part[(part_k + (ALONG_K(LAYOUT) ? e : 0)) * PITCH + own + (ALONG_K(LAYOUT) ? 0 : e)] = values[i][e]; \
  }

// Adds the products of both parts to `sum`.
#define MULTIPLY_PARTS                                                                                                \
  [[unroll]] for (uint q = 0; q < K_TILE; ++q) {                                                                      \
    float as[ROWS], bs[COLS];                                                                                         \
    [[unroll]] for (uint r = 0; r < ROWS; ++r) as[r] = a_part[q * A_PITCH + (r / 4 * LANES_M + lane_m) * 4 + r % 4];  \
    [[unroll]] for (uint j = 0; j < COLS; ++j) bs[j] = b_part[q * B_PITCH + (j / 4 * LANES_N + lane_n) * 4 + j % 4];  \
    [[unroll]] for (uint r = 0; r < ROWS; ++r)                                                                        \
      [[unroll]] for (uint j = 0; j < COLS; ++j) sum[r * COLS + j] = fma(as[r], bs[j], sum[r * COLS + j]);            \
  }

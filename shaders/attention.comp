// Attention over keys that are walked once (Dao et al. 2022; Milakov and Gimelshein 2018), so that no score is ever in
// memory. For a query at position i + tk - tq, with s = scale q k + mask - slope distance over the keys that it sees:
//   attention      y = sum of softmax(s) v, and lse = log(sum(exp(s))); without a key y = 0 and lse = infinity
//   attention_dq   dq = scale sum over keys of ds k,    with p = exp(s - lse), ds = p (dp - delta), dp = dy v,
//   attention_dkv  dk = scale sum over queries of ds q, dv = sum of p dy,      delta = sum(dy y), given
// Dropout multiplies p by 0 or 1 / (1 - p) where it meets v, and dp likewise; it draws for rows of tk rounded up to 4.
// Thread mapping: an invocation has ROWS rows of its own, queries or, for dkv, keys, and SLICE vec4 of what comes out
// of each; a workgroup's rows follow one another in one head, and all walk the other side's rows together, TURN at a
// time: those loads have one address in all lanes. No shared memory, no barriers, no atomics. HELD: an invocation keeps
// its rows and those of a turn, which on a CPU lie on its stack, and all is unrolled, so that the loop has rows / TURN
// turns, of which some CPU drivers allow 65,535; otherwise rows are read where they are needed, in loops.
// Numerics: fp32; sums over keys or queries in order.
// Search space: local_size_x, ROWS (1, 2, 4, 8), TURN (1, 2, 4), SLICE, HELD.
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_EXT_samplerless_texture_functions : require
#pragma stithy kernels attention attention_texel attention_dq attention_dq_texel attention_dkv attention_dkv_texel
layout(local_size_x = 64, local_size_x_id = 0) in;
#include "grid.glsl"
#include "math.glsl"
#include "philox.glsl"

layout(constant_id = 1) const uint ROWS = 1;
layout(constant_id = 2) const uint TURN = 4;
layout(constant_id = 3) const uint SLICE = 8;
layout(constant_id = 4) const bool HELD = false;
// In vec4: the last axis of q and k, and of v. Rows lie at multiples of 4.
layout(constant_id = 5) const uint D4 = 16;
layout(constant_id = 6) const uint DV4 = 16;
layout(constant_id = 7) const bool CAUSAL = false;
layout(constant_id = 8) const bool HAS_MASK = false;
layout(constant_id = 9) const bool HAS_ALIBI = false;
layout(constant_id = 10) const bool HAS_LENGTHS = false;
layout(constant_id = 11) const bool HAS_DROPOUT = false;

#if defined(KERNEL_attention_texel) || defined(KERNEL_attention_dq_texel) || defined(KERNEL_attention_dkv_texel)
layout(set = 0, binding = 0) uniform textureBuffer q;
layout(set = 0, binding = 1) uniform textureBuffer k;
layout(set = 0, binding = 2) uniform textureBuffer v;
#define LOAD4(x, at) texelFetch(x, int(at))
#else
layout(set = 0, binding = 0) readonly buffer Q { vec4 q[]; };
layout(set = 0, binding = 1) readonly buffer K { vec4 k[]; };
layout(set = 0, binding = 2) readonly buffer V { vec4 v[]; };
#define LOAD4(x, at) x[at]
#endif
layout(set = 0, binding = 3) readonly buffer Mask { float mask[]; };
layout(set = 0, binding = 4) readonly buffer Alibi { float alibi[]; };
layout(set = 0, binding = 5) readonly buffer Lengths { int lengths[]; };
layout(set = 0, binding = 6) readonly buffer State { uvec4 state[]; };

// Offsets and strides along the batch, heads and rows; those of q, k, v and dy in vec4. `window` is large where there
// is none; drop_scale is the factor of what is kept.
layout(push_constant) uniform Push {
  uint batches, heads, kv_heads, tq, tk;
  uint q_offset, q_n, q_h, q_t;
  uint k_offset, k_n, k_h, k_t;
  uint v_offset, v_n, v_h, v_t;
  uint mask_offset, mask_n, mask_h, mask_i, mask_j;
  uint alibi_offset, lengths_offset;
  int window;
  uint stream;
  float scale, drop_p, drop_scale;
  uint dy_offset, lse_offset, delta_offset;
};

// Which keys [begin, end) a query may see.
int shift() { return int(tk) - int(tq); }
int keys_of(uint n) { return HAS_LENGTHS ? clamp(lengths[lengths_offset + n], 0, int(tk)) : int(tk); }
int seen_begin(int i) { return CAUSAL ? max(0, i + shift() - window + 1) : 0; }
int seen_end(int i, int keys) { return CAUSAL ? min(keys, i + shift() + 1) : keys; }

float biased(float product, uint n, uint h, int i, int j, float slope) {
  float s = product * scale;
  if (HAS_MASK) s += mask[mask_offset + n * mask_n + h * mask_h + uint(i) * mask_i + uint(j) * mask_j];
  if (HAS_ALIBI) s -= slope * float(abs(i + shift() - j));
  return s;
}

// The random words of keys 4 block to 4 block + 3 in a row of all scores: those of one long stream.
uvec4 words_of(uint row, uint block) {
  uint high, low, carry;
  umulExtended(row, (tk + 3) / 4, high, low);
  low = uaddCarry(low, block, carry);
  return philox(uvec4(low, state[0].z, stream, high + carry), state[0].xy);
}
float kept(uvec4 words, uint j) {
  const uint e = j & 3u, word = e == 0u ? words.x : e == 1u ? words.y : e == 2u ? words.z : words.w;
  return float(word >> 8) * 5.9604644775390625e-8 >= drop_p ? drop_scale : 0.0;
}

// Declares which rows of its own, `total` in all, and which slice of `width` vec4 a workgroup has, of which of `count`
// heads.
#define FIND_TASK(total, width, count)                                  \
  const uint rows_group = gl_WorkGroupSize.x * ROWS;                    \
  const uint row_groups = (total + rows_group - 1) / rows_group;        \
  const uint slices = (width + SLICE - 1) / SLICE;                      \
  uint rest = group_index();                                            \
  const uint group_begin = rest % row_groups * rows_group;              \
  rest /= row_groups;                                                   \
  const uint column = rest % slices * SLICE;                            \
  rest /= slices;                                                       \
  const uint head = rest % count, n = rest / count;                     \
  if (n >= batches) return;                                             \
  const int group_last = int(min(group_begin + rows_group, total)) - 1; \
  const uint first = group_begin + gl_LocalInvocationID.x * ROWS

// sums[c * TURN + t] += own row c times the turn's row t.
#define ADD_PRODUCTS(sums, x, x_at, x_held, z, z_at, z_held, width4)                             \
  if (HELD) {                                                                                    \
    [[unroll]] for (uint i = 0; i < width4; ++i) {                                               \
      [[unroll]] for (uint t = 0; t < TURN; ++t) z_held[t * width4 + i] = LOAD4(z, z_at[t] + i); \
      [[unroll]] for (uint c = 0; c < ROWS; ++c)                                                 \
        [[unroll]] for (uint t = 0; t < TURN; ++t)                                               \
          sums[c * TURN + t] += dot(x_held[c * width4 + i], z_held[t * width4 + i]);             \
    }                                                                                            \
  } else {                                                                                       \
    [[dont_unroll]] for (uint i = 0; i < width4; ++i) {                                          \
      vec4 turn[TURN];                                                                           \
      [[unroll]] for (uint t = 0; t < TURN; ++t) turn[t] = LOAD4(z, z_at[t] + i);                \
      [[unroll]] for (uint c = 0; c < ROWS; ++c) {                                               \
        const vec4 own = LOAD4(x, x_at[c] + i);                                                  \
        [[unroll]] for (uint t = 0; t < TURN; ++t) sums[c * TURN + t] += dot(own, turn[t]);      \
      }                                                                                          \
    }                                                                                            \
  }
// acc[c * SLICE + i] += weights[c * TURN + t] times `value`, which is column i of the turn's row t.
#define ADD_ROWS(acc, weights, value)                                                                   \
  [[unroll]] for (uint i = 0; i < SLICE; ++i) {                                                         \
    [[unroll]] for (uint t = 0; t < TURN; ++t) {                                                        \
      const vec4 of_turn = value;                                                                       \
      [[unroll]] for (uint c = 0; c < ROWS; ++c) acc[c * SLICE + i] += weights[c * TURN + t] * of_turn; \
    }                                                                                                   \
  }
// What a turn's row t has in column i of the slice; behind the end any, which is not stored.
#define SLICE4(z, z_at, width4) LOAD4(z, z_at[t] + min(column + i, width4 - 1))
#define HOLD(x, x_at, x_held, width4)          \
  if (HELD)                                    \
    [[unroll]] for (uint c = 0; c < ROWS; ++c) \
      [[unroll]] for (uint i = 0; i < width4; ++i) x_held[c * width4 + i] = LOAD4(x, x_at[c] + i)
#define ZERO(x) [[unroll]] for (uint e = 0; e < ROWS * TURN; ++e) x[e] = 0.0

// Stores the columns of row c of the result at `at`.
#define STORE(y, at, acc, c, factor, width4)  \
  [[unroll]] for (uint i = 0; i < SLICE; ++i) \
    if (column + i < width4) y[(at)*width4 + column + i] = acc[(c)*SLICE + i] * (factor)

#if defined(KERNEL_attention) || defined(KERNEL_attention_texel)
layout(set = 0, binding = 7) writeonly buffer Y { vec4 y[]; };
layout(set = 0, binding = 8) writeonly buffer Lse { float lse[]; };

void main() {
  FIND_TASK(tq, DV4, heads);
  const uint kv_head = head / (heads / kv_heads);
  const float slope = HAS_ALIBI ? alibi[alibi_offset + head] : 0.0;
  const int keys = keys_of(n);
  uint q_at[ROWS];
  float largest[ROWS], total[ROWS];
  vec4 acc[ROWS * SLICE], q_held[HELD ? ROWS * D4 : 1], k_held[HELD ? TURN * D4 : 1];
  [[unroll]] for (uint c = 0; c < ROWS; ++c) {
    q_at[c] = q_offset + n * q_n + head * q_h + min(first + c, tq - 1) * q_t;
    largest[c] = -infinity();
    total[c] = 0.0;
    [[unroll]] for (uint i = 0; i < SLICE; ++i) acc[c * SLICE + i] = vec4(0);
  }
  HOLD(q, q_at, q_held, D4);
  const uint k_start = k_offset + n * k_n + kv_head * k_h, v_start = v_offset + n * v_n + kv_head * v_h;
  const int end = seen_end(group_last, keys);
  [[dont_unroll]] for (int j = seen_begin(int(group_begin)) / int(TURN) * int(TURN); j < end; j += int(TURN)) {
    uint k_at[TURN], v_at[TURN];
    [[unroll]] for (uint t = 0; t < TURN; ++t) {
      k_at[t] = k_start + min(uint(j) + t, tk - 1) * k_t;
      v_at[t] = v_start + min(uint(j) + t, tk - 1) * v_t;
    }
    float s[ROWS * TURN];
    ZERO(s);
    ADD_PRODUCTS(s, q, q_at, q_held, k, k_at, k_held, D4)
    [[unroll]] for (uint c = 0; c < ROWS; ++c) {
      const int row = int(min(first + c, tq - 1)), row_begin = seen_begin(row), row_end = seen_end(row, keys);
      float next = largest[c];
      [[unroll]] for (uint t = 0; t < TURN; ++t) {
        const int key = j + int(t);
        const bool is_seen = key >= row_begin && key < row_end;
        s[c * TURN + t] =
            is_seen ? biased(s[c * TURN + t], n, head, row, min(key, int(tk) - 1), slope) : -infinity();
        next = max(next, s[c * TURN + t]);
      }
      const float base = next == -infinity() ? 0.0 : next, factor = exp_(largest[c] - base);
      largest[c] = next;
      total[c] *= factor;
      const uvec4 words = HAS_DROPOUT ? words_of((n * heads + head) * tq + uint(row), uint(j) / 4) : uvec4(0);
      [[unroll]] for (uint t = 0; t < TURN; ++t) {
        const float p = exp_(s[c * TURN + t] - base);
        total[c] += p;
        s[c * TURN + t] = HAS_DROPOUT ? p * kept(words, uint(j) + t) : p;
      }
      [[unroll]] for (uint i = 0; i < SLICE; ++i) acc[c * SLICE + i] *= factor;
    }
    ADD_ROWS(acc, s, SLICE4(v, v_at, DV4))
  }
  [[unroll]] for (uint c = 0; c < ROWS; ++c) {
    if (first + c < tq) {
      const bool is_blind = total[c] == 0.0;
      if (column == 0) lse[(n * tq + first + c) * heads + head] = is_blind ? infinity() : largest[c] + log_(total[c]);
      STORE(y, (n * tq + first + c) * heads + head, acc, c, is_blind ? 0.0 : 1.0 / total[c], DV4);
    }
  }
}
#endif

#if !defined(KERNEL_attention) && !defined(KERNEL_attention_texel)
#if defined(KERNEL_attention_dq_texel) || defined(KERNEL_attention_dkv_texel)
layout(set = 0, binding = 7) uniform textureBuffer dy;
#else
layout(set = 0, binding = 7) readonly buffer Dy { vec4 dy[]; };
#endif
layout(set = 0, binding = 8) readonly buffer Lse { float lse[]; };
layout(set = 0, binding = 9) readonly buffer Delta { float delta[]; };
#endif

#if defined(KERNEL_attention_dq) || defined(KERNEL_attention_dq_texel)
layout(set = 0, binding = 10) writeonly buffer Dq { vec4 dq[]; };

void main() {
  FIND_TASK(tq, D4, heads);
  const uint kv_head = head / (heads / kv_heads);
  const float slope = HAS_ALIBI ? alibi[alibi_offset + head] : 0.0;
  const int keys = keys_of(n);
  uint q_at[ROWS], dy_at[ROWS];
  vec4 acc[ROWS * SLICE], q_held[HELD ? ROWS * D4 : 1], dy_held[HELD ? ROWS * DV4 : 1];
  vec4 k_held[HELD ? TURN * D4 : 1], v_held[HELD ? TURN * DV4 : 1];
  float own_lse[ROWS], own_delta[ROWS];
  [[unroll]] for (uint c = 0; c < ROWS; ++c) {
    const uint row = min(first + c, tq - 1), at = (n * tq + row) * heads + head;
    q_at[c] = q_offset + n * q_n + head * q_h + row * q_t;
    dy_at[c] = dy_offset + at * DV4;
    own_lse[c] = lse[lse_offset + at];
    own_delta[c] = delta[delta_offset + at];
    [[unroll]] for (uint i = 0; i < SLICE; ++i) acc[c * SLICE + i] = vec4(0);
  }
  HOLD(q, q_at, q_held, D4);
  HOLD(dy, dy_at, dy_held, DV4);
  const uint k_start = k_offset + n * k_n + kv_head * k_h, v_start = v_offset + n * v_n + kv_head * v_h;
  const int end = seen_end(group_last, keys);
  [[dont_unroll]] for (int j = seen_begin(int(group_begin)) / int(TURN) * int(TURN); j < end; j += int(TURN)) {
    uint k_at[TURN], v_at[TURN];
    [[unroll]] for (uint t = 0; t < TURN; ++t) {
      k_at[t] = k_start + min(uint(j) + t, tk - 1) * k_t;
      v_at[t] = v_start + min(uint(j) + t, tk - 1) * v_t;
    }
    float s[ROWS * TURN], dp[ROWS * TURN];
    ZERO(s);
    ZERO(dp);
    ADD_PRODUCTS(s, q, q_at, q_held, k, k_at, k_held, D4)
    ADD_PRODUCTS(dp, dy, dy_at, dy_held, v, v_at, v_held, DV4)
    [[unroll]] for (uint c = 0; c < ROWS; ++c) {
      const int row = int(min(first + c, tq - 1)), row_begin = seen_begin(row), row_end = seen_end(row, keys);
      const uvec4 words = HAS_DROPOUT ? words_of((n * heads + head) * tq + uint(row), uint(j) / 4) : uvec4(0);
      [[unroll]] for (uint t = 0; t < TURN; ++t) {
        const int key = j + int(t);
        const uint e = c * TURN + t;
        const float p = exp_(biased(s[e], n, head, row, min(key, int(tk) - 1), slope) - own_lse[c]);
        const float d = HAS_DROPOUT ? dp[e] * kept(words, uint(key)) : dp[e];
        s[e] = key >= row_begin && key < row_end ? p * (d - own_delta[c]) : 0.0;
      }
    }
    if (HELD) {
      ADD_ROWS(acc, s, k_held[t * D4 + min(i, D4 - 1)])
    } else {
      ADD_ROWS(acc, s, SLICE4(k, k_at, D4))
    }
  }
  [[unroll]] for (uint c = 0; c < ROWS; ++c)
    if (first + c < tq) STORE(dq, (n * tq + first + c) * heads + head, acc, c, scale, D4);
}
#endif

#if defined(KERNEL_attention_dkv) || defined(KERNEL_attention_dkv_texel)
layout(set = 0, binding = 10) writeonly buffer Dk { vec4 dk[]; };
layout(set = 0, binding = 11) writeonly buffer Dv { vec4 dv[]; };

void main() {
  FIND_TASK(tk, max(D4, DV4), kv_heads);
  const uint group = heads / kv_heads;
  const int keys = keys_of(n);
  uint k_at[ROWS], v_at[ROWS];
  vec4 k_acc[ROWS * SLICE], v_acc[ROWS * SLICE], k_held[HELD ? ROWS * D4 : 1], v_held[HELD ? ROWS * DV4 : 1];
  vec4 q_held[HELD ? TURN * D4 : 1], dy_held[HELD ? TURN * DV4 : 1];
  [[unroll]] for (uint c = 0; c < ROWS; ++c) {
    const uint row = min(first + c, tk - 1);
    k_at[c] = k_offset + n * k_n + head * k_h + row * k_t;
    v_at[c] = v_offset + n * v_n + head * v_h + row * v_t;
    [[unroll]] for (uint i = 0; i < SLICE; ++i) k_acc[c * SLICE + i] = v_acc[c * SLICE + i] = vec4(0);
  }
  HOLD(k, k_at, k_held, D4);
  HOLD(v, v_at, v_held, DV4);
  // The queries that see a key of the group.
  const int begin = CAUSAL ? max(0, int(group_begin) - shift()) : 0;
  const int last = CAUSAL ? min(int(tq), group_last - shift() + window) : int(tq);
  const int end = int(group_begin) < keys ? last : 0;
  [[dont_unroll]] for (uint g = 0; g < group; ++g) {
    const uint q_head = head * group + g, row_start = (n * heads + q_head) * tq;
    const float slope = HAS_ALIBI ? alibi[alibi_offset + q_head] : 0.0;
    const uint q_start = q_offset + n * q_n + q_head * q_h;
    [[dont_unroll]] for (int i0 = begin; i0 < end; i0 += int(TURN)) {
      uint q_at[TURN], dy_at[TURN];
      float of_lse[TURN], of_delta[TURN];
      [[unroll]] for (uint t = 0; t < TURN; ++t) {
        const uint row = min(uint(i0) + t, tq - 1), at = (n * tq + row) * heads + q_head;
        q_at[t] = q_start + row * q_t;
        dy_at[t] = dy_offset + at * DV4;
        of_lse[t] = lse[lse_offset + at];
        of_delta[t] = delta[delta_offset + at];
      }
      float s[ROWS * TURN], dp[ROWS * TURN];
      ZERO(s);
      ZERO(dp);
      ADD_PRODUCTS(s, k, k_at, k_held, q, q_at, q_held, D4)
      ADD_PRODUCTS(dp, v, v_at, v_held, dy, dy_at, dy_held, DV4)
      [[unroll]] for (uint t = 0; t < TURN; ++t) {
        const int row = min(i0 + int(t), int(tq) - 1), row_begin = seen_begin(row), row_end = seen_end(row, keys);
        uvec4 words = uvec4(0);
        [[unroll]] for (uint c = 0; c < ROWS; ++c) {
          const int key = int(min(first + c, tk - 1));
          const uint e = c * TURN + t;
          if (HAS_DROPOUT && c % min(ROWS, 4u) == 0) words = words_of(row_start + uint(row), uint(key) / 4);
          const bool is_seen = key >= row_begin && key < row_end && i0 + int(t) < int(tq);
          const float p = is_seen ? exp_(biased(s[e], n, q_head, row, key, slope) - of_lse[t]) : 0.0;
          const float keep = HAS_DROPOUT ? kept(words, uint(key)) : 1.0;
          s[e] = is_seen ? p * (dp[e] * keep - of_delta[t]) : 0.0;
          dp[e] = p * keep;
        }
      }
      if (HELD) {
        ADD_ROWS(k_acc, s, q_held[t * D4 + min(i, D4 - 1)])
        ADD_ROWS(v_acc, dp, dy_held[t * DV4 + min(i, DV4 - 1)])
      } else {
        ADD_ROWS(k_acc, s, SLICE4(q, q_at, D4))
        ADD_ROWS(v_acc, dp, SLICE4(dy, dy_at, DV4))
      }
    }
  }
  [[unroll]] for (uint c = 0; c < ROWS; ++c) {
    if (first + c < tk) {
      const uint at = (n * tk + first + c) * kv_heads + head;
      STORE(dk, at, k_acc, c, scale, D4);
      STORE(dv, at, v_acc, c, 1.0, DV4);
    }
  }
}
#endif

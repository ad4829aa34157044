// Ops on sequences. The conventions are those of engine/ops.h; options and defaults are PyTorch's.
#pragma once

#include "engine/graph/tensor.h"

namespace stithy {

class Generator;

// The recurrence of a layer over t steps; shaders/recurrent.comp states the cells' formulas. x [t, n, gates
// hidden], or [n, t, ...] with batch_first, is the inputs' share of the gates' sums (inputs times weights,
// plus bias), weight [gates hidden, hidden] and bias [gates hidden] (undefined: zeros) the state's. gates is
// 1 for tanh and relu, 4 for the LSTM (i, f, g, o), 3 for the GRU (r, z, n). h0 and c0 [n, hidden] are the
// state before the first step (undefined: zeros). lengths, i32 [n] (undefined: all are t): an element of the
// batch has that many steps, from the beginning also in reverse; y is 0 beyond them.
enum class Cell : uint8_t { tanh, relu, lstm, gru };
struct RecurrentOptions {
  bool batch_first = false;
  bool reverse = false;  // from the last step to the first
};
struct RecurrentOutputs {
  Tensor y;     // [t, n, hidden] or [n, t, hidden]
  Tensor h, c;  // [n, hidden], after the last step; c of the LSTM alone
};
RecurrentOutputs recurrent(Cell cell, const Tensor& x, const Tensor& weight, const Tensor& bias = {},
                           const Tensor& h0 = {}, const Tensor& c0 = {}, const Tensor& lengths = {},
                           const RecurrentOptions& options = {});

// Connectionist temporal classification (Graves et al. 2006): -log of the probability that labels come out of
// [t, n, classes], one loss for each element of the batch, [n]. targets i32 [n, l], of which an element has
// as many as target_lengths i32 [n] says, in input_lengths i32 [n] steps. Infinite for a target that no
// alignment makes; the gradient is NaN then. A length or label out of range gives NaN.
Tensor ctc_loss(const Tensor& log_probabilities, const Tensor& targets, const Tensor& input_lengths,
                const Tensor& target_lengths, int64_t blank = 0);

// Scaled dot-product attention (Vaswani et al. 2017): softmax(scale q k^T + bias) v by rows, over the keys
// that a query sees. q [n, heads, tq, d], k [n, kv_heads, tk, d], v [n, kv_heads, tk, dv] -> [n, heads, tq,
// dv]. heads is a multiple of kv_heads, and head h reads head h / (heads / kv_heads) of k and v:
// grouped-query attention (Ainslie et al. 2023), with one kv_head multi-query attention (Shazeer 2019). A
// query that sees no key gives zeros and hands back no gradient.
struct AttentionOptions {
  // Query i is at position i + tk - tq and sees the keys up to there, so that few queries are the last ones.
  bool causal = false;
  // Causal alone: a query sees its last `window` keys, its own included (Beltagy et al. 2020); 0: all.
  int64_t window = 0;
  float scale = 0;                 // 0: 1 / sqrt(d)
  float dropout = 0;               // of the probabilities
  Generator* generator = nullptr;  // of the dropout; null: default_generator()
  // Scores get -alibi[h] times the distance from the query's position to the key (Press et al. 2022); f32
  // [heads], no gradient.
  Tensor alibi;
  // i32 [n]: an element of the batch has that many keys, the others are padding.
  Tensor lengths;
};
// mask: broadcast to [n, heads, tq, tk]. bool: true where a query sees a key. f32: added to the scores, a key
// at -infinity is not seen; its gradient takes memory for all scores.
Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionOptions& options = {},
                 const Tensor& mask = {});

// Rotary position embedding (Su et al. 2021): pair i of the last axis, of d / 2, is turned by the angle
// position base^(-2 i / d). x [..., t, d], d even. positions i32: [] is that of the first row of t (a scalar
// in device memory, which decoding moves on), [t] of each, [n, t] for x of [n, heads, t, d]; undefined: from
// 0.
struct RotaryOptions {
  float base = 10000;
  // Pairs are neighbours, as in the paper; otherwise i and i + d / 2, as in LLaMA's weights at Hugging Face.
  bool interleaved = false;
};
Tensor rotary(const Tensor& x, const Tensor& positions = {}, const RotaryOptions& options = {});

}  // namespace stithy

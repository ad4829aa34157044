// Ops on sequences. The conventions are those of engine/ops.h; options and defaults are PyTorch's.
#pragma once

#include "engine/graph/tensor.h"

namespace stithy {

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

}  // namespace stithy

// Recurrent layers over sequences, stacked and in both directions. Parameters have PyTorch's names, shapes
// and default initial values: weight_ih_l0 [gates hidden, in], weight_hh_l0 [gates hidden, hidden],
// bias_ih_l0 and bias_hh_l0 [gates hidden], then _l1, ...; with the ending _reverse for the other direction.
#pragma once

#include "engine/ops_sequence.h"
#include "nn/module.h"

namespace stithy::nn {

struct RecurrentLayers {
  int64_t layers = 1;
  bool bidirectional = false;  // the directions' outputs stand side by side, forward first
  bool batch_first = false;
  bool bias = true;
  float dropout = 0;  // of what each layer but the last puts out, in training
};

// With d = 2 for both directions, otherwise 1.
struct RecurrentState {
  Tensor h, c;  // [layers d, n, hidden]; c of the LSTM alone
};
struct RecurrentResult {
  Tensor y;  // [t, n, d hidden], or [n, t, d hidden] with batch_first
  RecurrentState state;
};

// Throws Error for sizes below 1 and a dropout that is not in [0, 1).
class Recurrent : public Module {
 public:
  Recurrent(const char* name, Cell cell, int64_t in, int64_t hidden, const RecurrentLayers& options);
  // x [t, n, in], or [n, t, in] with batch_first. `initial` is the state before the first step (undefined:
  // zeros), lengths i32 [n] the steps of each sequence (undefined: all); y is 0 beyond them, and the state
  // that after a sequence's own last step.
  RecurrentResult forward(const Tensor& x, const RecurrentState& initial, const Tensor& lengths = {});
  Tensor forward(const Tensor& x) override { return forward(x, {}).y; }
  std::string describe() const override;

 private:
  struct Direction {
    Variable weight_ih, weight_hh, bias_ih, bias_hh;
  };
  const char* name_;
  Cell cell_;
  int64_t in_, hidden_;
  RecurrentLayers options_;
  std::vector<Direction> directions_;  // of layer 0 forward and reverse, of layer 1 ...
};

// h' = tanh(w_ih x + b_ih + w_hh h + b_hh), or relu (Elman 1990).
struct Rnn : Recurrent {
  Rnn(int64_t in, int64_t hidden, const RecurrentLayers& options = {}, Cell cell = Cell::tanh);
};
// Hochreiter and Schmidhuber 1997, with forget gates (Gers et al. 2000).
struct Lstm : Recurrent {
  Lstm(int64_t in, int64_t hidden, const RecurrentLayers& options = {})
      : Recurrent("LSTM", Cell::lstm, in, hidden, options) {}
};
// Cho et al. 2014, with the reset gate behind the product, as in cuDNN and PyTorch.
struct Gru : Recurrent {
  Gru(int64_t in, int64_t hidden, const RecurrentLayers& options = {})
      : Recurrent("GRU", Cell::gru, in, hidden, options) {}
};

}  // namespace stithy::nn

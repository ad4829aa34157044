// Losses: small values that are called with (output, target). `mean` and `sum` give a scalar, `none` one
// value an element, or, for losses over the last axis, one value a row. Where the shapes of output and
// target must agree they are not broadcast: Error is thrown.
//
//   const Tensor loss = nn::Huber{.delta = 2}(model(x), y);
#pragma once

#include "engine/ops.h"

namespace stithy::nn {

using Reduction = CrossEntropyOptions::Reduction;

// Softmax and cross entropy of logits [..., c] with targets i32 [...] or probabilities f32 [..., c].
struct CrossEntropy : CrossEntropyOptions {
  Tensor operator()(const Tensor& logits, const Tensor& target) const {
    return cross_entropy(logits, target, *this);
  }
};

// CrossEntropy of the logits x w^T + b, which are made, and made again backward, for some rows at a time:
// where there are many classes, all of them would take more memory than the model. x [..., in], weight
// [classes, in], bias [classes] or undefined, target i32 [...].
struct LinearCrossEntropy {
  int64_t chunk = 0;  // rows at a time; 0: as many as make 16 Mi logits
  float label_smoothing = 0;
  int32_t ignore_index = -100;
  Tensor operator()(const Tensor& x, const Tensor& weight, const Tensor& target,
                    const Tensor& bias = {}) const;
};

// Cross entropy of the logits x w^T + b among the target's class and `samples` others, drawn anew at each
// step with probability log((k + 2) / (k + 1)) / log(classes + 1) for class k (classes are to be numbered by
// falling frequency) and the same for all rows; logits are corrected by how often a class is to be expected
// (Jean et al. 2015, "On Using Very Large Target Vocabulary for Neural Machine Translation"). For training:
// the mean of x [..., in], weight [classes, in], bias [classes] or undefined, target i32 [...] in [0,
// classes).
struct SampledCrossEntropy {
  int64_t samples = 1024;
  // The classes drawn, i32 [samples]; undefined: they are drawn.
  Tensor operator()(const Tensor& x, const Tensor& weight, const Tensor& target, const Tensor& bias = {},
                    const Tensor& sampled = {}) const;
};

// -w[t] x[t] of log-probabilities [..., c] and targets i32 [...]; the mean is weighted by w.
struct Nll {
  int32_t ignore_index = -100;
  Tensor class_weights = {};  // [c], or undefined
  Reduction reduction = Reduction::mean;
  Tensor operator()(const Tensor& log_probabilities, const Tensor& target) const;
};

// (x - t)^2
struct Mse {
  Reduction reduction = Reduction::mean;
  Tensor operator()(const Tensor& output, const Tensor& target) const;
};

// |x - t|; gradient zero where equal.
struct L1 {
  Reduction reduction = Reduction::mean;
  Tensor operator()(const Tensor& output, const Tensor& target) const;
};

// d^2 / 2 where |d| < delta, delta (|d| - delta / 2) elsewhere (Huber 1964).
struct Huber {
  float delta = 1;
  Reduction reduction = Reduction::mean;
  Tensor operator()(const Tensor& output, const Tensor& target) const;
};

// Huber divided by beta, which turns to L1 as beta goes to 0 (Girshick 2015).
struct SmoothL1 {
  float beta = 1;
  Reduction reduction = Reduction::mean;
  Tensor operator()(const Tensor& output, const Tensor& target) const;
};

// -(t log p + (1 - t) log(1 - p)) of probabilities; a log of 0 counts as -100, with gradient zero there.
// BceWithLogits is more exact.
struct Bce {
  Reduction reduction = Reduction::mean;
  Tensor operator()(const Tensor& probabilities, const Tensor& target) const;
};

// Bce of sigmoid(logits), for any logits; `positive_weight` multiplies the terms of t.
struct BceWithLogits {
  float positive_weight = 1;
  Reduction reduction = Reduction::mean;
  Tensor operator()(const Tensor& logits, const Tensor& target) const;
};

// KL(target || output) = sum of t (log t - x) over the last axis, of log-probabilities x and probabilities t
// (with `log_target`, log-probabilities). The mean is over the rows (PyTorch's "batchmean").
struct KlDivergence {
  bool log_target = false;
  Reduction reduction = Reduction::mean;
  Tensor operator()(const Tensor& log_probabilities, const Tensor& target) const;
};

// max(0, margin - t x), t being -1 or 1.
struct Hinge {
  float margin = 1;
  Reduction reduction = Reduction::mean;
  Tensor operator()(const Tensor& output, const Tensor& target) const;
};

// ctc_loss() of log-probabilities [t, n, classes] and targets i32 [n, l]. The mean is of each loss divided by
// its number of labels, as in PyTorch. With zero_infinity, targets that no alignment makes count for nothing.
struct Ctc {
  int64_t blank = 0;
  bool zero_infinity = false;
  Reduction reduction = Reduction::mean;
  Tensor operator()(const Tensor& log_probabilities, const Tensor& targets, const Tensor& input_lengths,
                    const Tensor& target_lengths) const;
};

// 1 - x.t / (|x| |t|) over the last axis.
struct CosineSimilarity {
  float epsilon = 1e-8f;  // the least |x| |t|
  Reduction reduction = Reduction::mean;
  Tensor operator()(const Tensor& output, const Tensor& target) const;
};

}  // namespace stithy::nn

#include "nn/loss.h"

#include <limits>

#include "engine/core/error.h"
#include "engine/ops_sequence.h"

namespace stithy::nn {

namespace {
void check_same(const char* loss, const Tensor& output, const Tensor& target) {
  if (output.shape() != target.shape())
    throw Error(loss, cat("output ", output.shape(), " and target ", target.shape(), " differ in shape"),
                "reshape one of them: broadcasting would compare every output with every target");
}

Tensor reduce(const Tensor& x, Reduction reduction) {
  switch (reduction) {
    case Reduction::mean: return mean(x);
    case Reduction::sum: return sum(x);
    case Reduction::none: return x;
  }
  return x;
}

// Huber's function of d: with q = min(|d|, delta) it is q |d| - q^2 / 2, on both sides of the kink.
Tensor huber(const Tensor& d, float delta) {
  const Tensor a = abs(d), q = minimum(a, Tensor(delta));
  return q * a - 0.5f * square(q);
}

constexpr float kTiny = 1.17549435e-38f;  // the smallest normal number: smaller ones may be flushed to zero
constexpr float kLogOfZero = -100;
}  // namespace

Tensor Nll::operator()(const Tensor& x, const Tensor& target) const {
  Shape rows = x.shape();
  if (rows.rank() > 0) rows.erase(rows.rank() - 1);
  if (x.rank() < 1 || target.shape() != rows || target.dtype() != DType::i32)
    throw Error("Nll", cat("log-probabilities ", x.shape(), " need i32 targets ", rows, ", got ",
                           target.dtype(), " ", target.shape()));
  const Tensor ignored = equal(target, Tensor(Array({}, std::span(&ignore_index, 1))));
  const Tensor index = where(ignored, Tensor(Array({}, DType::i32)), target);
  Tensor weight = where(ignored, Tensor(0.0f), Tensor(1.0f));
  if (class_weights.defined()) weight = weight * squeeze(embedding(unsqueeze(class_weights, 1), index), -1);
  const Tensor loss = -(weight * squeeze(gather(x, unsqueeze(index, -1), -1), -1));
  if (reduction == Reduction::mean) return sum(loss) / sum(weight);
  return reduce(loss, reduction);
}

Tensor Mse::operator()(const Tensor& output, const Tensor& target) const {
  check_same("Mse", output, target);
  return reduce(square(output - target), reduction);
}

Tensor L1::operator()(const Tensor& output, const Tensor& target) const {
  check_same("L1", output, target);
  return reduce(abs(output - target), reduction);
}

Tensor Huber::operator()(const Tensor& output, const Tensor& target) const {
  check_same("Huber", output, target);
  if (!(delta > 0)) throw Error("Huber", cat("delta must be above 0, got ", delta));
  return reduce(huber(output - target, delta), reduction);
}

Tensor SmoothL1::operator()(const Tensor& output, const Tensor& target) const {
  check_same("SmoothL1", output, target);
  if (!(beta >= 0)) throw Error("SmoothL1", cat("beta must be at least 0, got ", beta));
  if (beta == 0) return L1{reduction}(output, target);
  return reduce(huber(output - target, beta) * (1 / beta), reduction);
}

Tensor Bce::operator()(const Tensor& p, const Tensor& t) const {
  check_same("Bce", p, t);
  constexpr float kBelowOne = 1 - 0x1p-24f;
  const Tensor log_p = where(less(p, kTiny), kLogOfZero, log(maximum(p, kTiny)));
  // log1p keeps small probabilities that 1 - p would round away.
  const Tensor log_q = where(greater(p, kBelowOne), kLogOfZero, log1p(-minimum(p, kBelowOne)));
  return reduce(-(t * log_p + (1.0f - t) * log_q), reduction);
}

Tensor BceWithLogits::operator()(const Tensor& x, const Tensor& t) const {
  check_same("BceWithLogits", x, t);
  // Both terms are positive, so that nothing cancels for certain predictions.
  const Tensor positive = t * softplus(-x), negative = (1.0f - t) * softplus(x);
  return reduce((positive_weight == 1 ? positive : positive_weight * positive) + negative, reduction);
}

Tensor KlDivergence::operator()(const Tensor& x, const Tensor& target) const {
  check_same("KlDivergence", x, target);
  if (x.rank() < 1) throw Error("KlDivergence", "needs an axis of classes, got a scalar");
  Tensor terms;
  if (log_target) {
    terms = exp(target) * (target - x);
  } else {
    const Tensor none = less(target, kTiny);  // 0 log 0 is 0
    terms = where(none, 0.0f, target * (log(maximum(target, kTiny)) - x));
  }
  return reduce(sum(terms, {-1}), reduction);
}

Tensor Hinge::operator()(const Tensor& output, const Tensor& target) const {
  check_same("Hinge", output, target);
  return reduce(relu(margin - target * output), reduction);
}

Tensor Ctc::operator()(const Tensor& log_probabilities, const Tensor& targets, const Tensor& input_lengths,
                       const Tensor& target_lengths) const {
  Tensor loss = ctc_loss(log_probabilities, targets, input_lengths, target_lengths, blank);
  if (zero_infinity) loss = where(equal(loss, std::numeric_limits<float>::infinity()), 0.0f, loss);
  if (reduction == Reduction::mean) loss = loss / maximum(cast(target_lengths, DType::f32), 1.0f);
  return reduce(loss, reduction);
}

Tensor CosineSimilarity::operator()(const Tensor& output, const Tensor& target) const {
  check_same("CosineSimilarity", output, target);
  if (output.rank() < 1) throw Error("CosineSimilarity", "needs vectors, got scalars");
  const Shape last{-1};
  const Tensor squares = sum(square(output), last) * sum(square(target), last);
  const Tensor cosine = sum(output * target, last) * rsqrt(maximum(squares, epsilon * epsilon));
  return reduce(1.0f - cosine, reduction);
}

}  // namespace stithy::nn

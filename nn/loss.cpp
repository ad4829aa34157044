#include "nn/loss.h"

#include <cmath>

#include <algorithm>

#include <limits>

#include "engine/core/error.h"
#include "engine/graph/node.h"
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

namespace {
struct Flat {
  Tensor x, target;  // [rows, in], [rows]
};
Flat flat(const char* name, const Tensor& x, const Tensor& weight, const Tensor& target, const Tensor& bias) {
  const auto refuse = [&](const char* what, const Tensor& value, const char* hint) {
    throw Error(name, cat(what, " has the shape ", value.shape()), hint);
  };
  if (x.rank() < 1) refuse("x", x, "it is [..., in]");
  if (weight.rank() != 2 || weight.dim(1) != x.dim(-1)) refuse("the weight", weight, "it is [classes, in]");
  Shape rows;
  for (int d = 0; d + 1 < x.rank(); ++d) rows.push_back(x.dim(d));
  if (target.dtype() != DType::i32 || target.shape() != rows)
    refuse("the target", target, "it is i32, and has x's shape without the last axis");
  if (bias.defined() && bias.shape() != Shape{weight.dim(0)}) refuse("the bias", bias, "it is [classes]");
  return {reshape(x, {-1, x.dim(-1)}), reshape(target, {-1})};
}
}  // namespace

Tensor LinearCrossEntropy::operator()(const Tensor& x, const Tensor& weight, const Tensor& target,
                                      const Tensor& bias) const {
  const auto [rows, targets] = flat("LinearCrossEntropy", x, weight, target, bias);
  const int64_t count = rows.dim(0), classes = std::max<int64_t>(weight.dim(0), 1);
  if (chunk < 0) throw Error("LinearCrossEntropy", cat("a chunk of ", chunk, " rows"), "0 chooses");
  const auto loss_of = [&](int64_t begin, int64_t end, Reduction reduction) {
    Tensor logits = matmul(slice(rows, 0, begin, end), transpose(weight));
    if (bias.defined()) logits = logits + bias;
    CrossEntropyOptions options{.label_smoothing = label_smoothing, .ignore_index = ignore_index};
    options.reduction = reduction;
    return cross_entropy(logits, slice(targets, 0, begin, end), options);
  };
  // As many chunks as needed, all alike but for the last: few shapes of kernels.
  constexpr int64_t kLogits = int64_t{1} << 24;
  const int64_t most = chunk > 0 ? chunk : std::max<int64_t>(kLogits / classes, 1);
  const int64_t chunks = (count + most - 1) / most;
  if (chunks <= 1) return loss_of(0, count, Reduction::mean);
  const int64_t each = (count + chunks - 1) / chunks;
  Tensor total;
  for (int64_t begin = 0; begin < count; begin += each) {
    const RecomputeGuard again;
    const Tensor part = loss_of(begin, std::min(begin + each, count), Reduction::sum);
    total = total.defined() ? total + part : part;
  }
  const Tensor ignored = Array({1}, std::vector{ignore_index});
  return total / sum(cast(not_equal(targets, ignored), DType::f32));
}

Tensor SampledCrossEntropy::operator()(const Tensor& x, const Tensor& weight, const Tensor& target,
                                       const Tensor& bias, const Tensor& sampled) const {
  const auto [rows, targets] = flat("SampledCrossEntropy", x, weight, target, bias);
  if (samples < 1) throw Error("SampledCrossEntropy", cat(samples, " samples"), "give at least 1");
  if (sampled.defined() && (sampled.dtype() != DType::i32 || sampled.rank() != 1))
    throw Error("SampledCrossEntropy",
                cat("the classes drawn are ", sampled.dtype(), " ", sampled.shape(), ", not i32 [samples]"));
  const auto classes = static_cast<float>(weight.dim(0));
  const float log_all = std::log(classes + 1);
  // The inverse of the distribution function log(k + 1) / log(classes + 1); rounding may reach one class too
  // far.
  const Tensor drawn =
      sampled.defined()
          ? sampled
          : cast(minimum(floor(exp(uniform({samples}) * log_all) - 1.0f), classes - 1), DType::i32);
  const auto count = static_cast<float>(drawn.dim(0));
  const auto logit = [&](const Tensor& product, const Tensor& which) {
    const Tensor k = cast(which, DType::f32);
    const Tensor expected = (log(k + 2.0f) - log(k + 1.0f)) * (count / log_all);
    const Tensor y = bias.defined() ? product + squeeze(embedding(unsqueeze(bias, 1), which), 1) : product;
    return y - log(expected);
  };
  const Tensor own = logit(sum(rows * embedding(weight, targets), {1}), targets);
  const Tensor others = logit(matmul(rows, transpose(embedding(weight, drawn))), drawn);
  // A sample that is the target itself is no other class.
  const Tensor hits = equal(unsqueeze(targets, 1), unsqueeze(drawn, 0));
  const Tensor all =
      concat(std::vector{unsqueeze(own, 1), where(hits, -std::numeric_limits<float>::infinity(), others)}, 1);
  return mean(logsumexp(all, {1}) - own);
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

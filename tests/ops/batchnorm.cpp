// Rows of batch and group normalisation.
#include <cmath>

#include "engine/core/error.h"
#include "engine/graph/node.h"
#include "engine/ops.h"
#include "engine/ops_vision.h"
#include "tests/harness.h"

namespace stithy::testing {
namespace {

// groups 0: over the batch. Returns y, mean, var.
std::vector<Reference> normalized(std::span<const Reference> xs, int64_t groups, double epsilon) {
  const Reference& x = xs[0];
  const int64_t n = x.shape[0], c = x.shape[1], inner = x.numel() / n / c;
  const Shape means = groups ? Shape{n, groups} : Shape{c};
  const double count = static_cast<double>(x.numel()) / static_cast<double>(means.numel());
  const auto mean_of = [&](int64_t i) {
    const int64_t plane = i / inner;
    return groups ? plane / (c / groups) : plane % c;
  };
  Reference y(x.shape), mean(means), var(means);
  for (int64_t i = 0; i < x.numel(); ++i) mean[mean_of(i)] += x[i] / count;
  for (int64_t i = 0; i < x.numel(); ++i) var[mean_of(i)] += std::pow(x[i] - mean[mean_of(i)], 2) / count;
  for (int64_t i = 0; i < x.numel(); ++i) {
    const int64_t channel = i / inner % c;
    y[i] = (x[i] - mean[mean_of(i)]) / std::sqrt(var[mean_of(i)] + epsilon);
    if (xs.size() > 1) y[i] = y[i] * xs[1][channel] + xs[2][channel];
  }
  return {y, mean, var};
}

struct Options {
  bool affine = true;
  float epsilon = 1e-5f;
  double centre = 0;
};

// For batch normalisation the statistics, too.
Case norm_case(const std::string& name, const Shape& shape, int64_t groups, Options o = {}) {
  Case test{.name = name,
            .arguments = {{.shape = shape, .low = o.centre - 2, .high = o.centre + 2}},
            .build =
                [=](auto xs) {
                  const Tensor w = o.affine ? xs[1] : Tensor(), b = o.affine ? xs[2] : Tensor();
                  if (groups) return std::vector{groupnorm(xs[0], groups, w, b, o.epsilon)};
                  const auto [y, mean, var] = batchnorm(xs[0], w, b, o.epsilon);
                  return std::vector{y, mean, var};
                },
            .reference =
                [=](auto xs) {
                  std::vector<Reference> ys = normalized(xs, groups, o.epsilon);
                  if (groups) ys.resize(1);
                  return ys;
                },
            .gradient_tolerance = 5e-5,
            .strided = shape.numel() < 10000};
  if (o.affine)
    for (int i = 0; i < 2; ++i) test.arguments.push_back({.shape = {shape[1]}});
  return test;
}
// A mean of 1000 has an ulp of 6e-5, and a variance in one pass would lose all digits.
Case far_case(const Shape& shape, int64_t groups) {
  Case test = norm_case("a mean far from zero", shape, groups, {.centre = 1000});
  test.tolerance = 1e-4;
  test.gradient_tolerance = 2e-4;
  return test;
}
Case large_case(const std::string& name, const Shape& shape, int64_t groups) {
  Case test = norm_case(name, shape, groups);
  test.gradient = false;
  return test;
}
// A NaN is in all that its mean is for, and in nothing else.
Case nan_case(int64_t groups) {
  Case test = norm_case("NaN stays", {2, 2, 6}, groups, {.affine = false});
  test.arguments = {};
  const auto values = [] {
    Array x({2, 2, 6}, DType::f32);
    for (int64_t i = 0; i < 24; ++i) x.set(i, i == 3 ? std::nan("") : std::sin(static_cast<double>(i)));
    return x;
  };
  const Case of_argument = test;
  test.build = [=](auto) { return of_argument.build(std::vector{Tensor(values())}); };
  test.reference = [=](auto) {
    Reference x({2, 2, 6});
    for (int64_t i = 0; i < 24; ++i) x[i] = values().at(i);
    return of_argument.reference(std::vector{x});
  };
  return test;
}

const bool kBatchnormRow = add_row(
    {.op = "batchnorm",
     .cases = {norm_case("images", {5, 3, 4, 6}, 0), norm_case("planes of an odd size", {3, 4, 7, 5}, 0),
               norm_case("rank 2", {19, 6}, 0), norm_case("rank 3", {4, 5, 9}, 0),
               norm_case("rank 5", {2, 3, 2, 3, 4}, 0), norm_case("one channel", {3, 1, 33}, 0),
               norm_case("more lanes than a plane", {9, 17, 2, 2}, 0),
               norm_case("without weights", {4, 3, 8}, 0, {.affine = false}),
               norm_case("large epsilon", {4, 3, 8}, 0, {.epsilon = 0.5f}), far_case({6, 3, 16}, 0),
               large_case("slices", {4, 2, 96, 128}, 0), large_case("odd slices", {7, 3, 133, 71}, 0),
               large_case("planes in parts", {2, 3, 151, 117}, 0), nan_case(0)}});
const bool kGroupnormRow =
    add_row({.op = "groupnorm",
             .cases = {norm_case("images", {3, 6, 4, 4}, 2), norm_case("one group", {2, 4, 5}, 1),
                       norm_case("instances", {3, 4, 5, 3}, 4),
                       norm_case("instances without weights", {3, 4, 8}, 4, {.affine = false}),
                       norm_case("rank 2", {7, 12}, 3), norm_case("a batch of one", {1, 6, 10}, 3),
                       norm_case("large epsilon", {2, 4, 6}, 2, {.epsilon = 0.5f}), far_case({2, 4, 32}, 2),
                       large_case("slices", {1, 6, 120, 64}, 2),
                       large_case("slices of instances", {1, 2, 180, 190}, 2), nan_case(1)}});

// Statistics are inputs; tests/nn_test.cpp follows the average over several batches.
Case update_case(const std::string& name, std::optional<float> momentum) {
  constexpr int64_t kChannels = 70, kCount = 12;
  const auto start = [](double base) {
    Array x({kChannels}, DType::f32);
    for (int64_t i = 0; i < kChannels; ++i) x.set(i, base + std::sin(static_cast<double>(i)));
    return x;
  };
  return {.name = name,
          .arguments = {{.shape = {kChannels}}, {.shape = {kChannels}, .low = 0}},
          .build =
              [=](auto xs) {
                const Variable mean("mean", start(0)), var("var", start(2)),
                    batches("batches", Array({}, DType::i32));
                const BatchNormOutputs statistics{{}, xs[0], xs[1]};
                Tensor update = batchnorm_update(mean, var, batches, statistics, kCount, momentum);
                return std::vector{update, update.node()->tensor(1), update.node()->tensor(2)};
              },
          .reference =
              [=](auto xs) {
                Reference mean({kChannels}), var({kChannels}), batches(Shape{});
                for (int64_t i = 0; i < kChannels; ++i) {
                  mean[i] = start(0).at(i);
                  var[i] = start(2).at(i);
                  mean[i] += momentum.value_or(1) * (xs[0][i] - mean[i]);
                  var[i] += momentum.value_or(1) * (xs[1][i] * 12 / 11 - var[i]);
                }
                batches[0] = 1;
                return std::vector{mean, var, batches};
              },
          .gradient = false};
}
const bool kUpdateRow =
    add_row({.op = "batchnorm_update",
             .cases = {update_case("a momentum of 0.3", 0.3f), update_case("an average", {})}});

}  // namespace
}  // namespace stithy::testing

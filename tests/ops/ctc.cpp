// The row of connectionist temporal classification.
#include <cmath>

#include "engine/ops_sequence.h"
#include "tests/harness.h"

namespace stithy::testing {
namespace {

struct Labels {
  int64_t steps, classes;
  std::vector<std::vector<int32_t>> targets;
  std::vector<int32_t> input_lengths;
  int64_t longest, blank = 0;
  int64_t batch() const { return static_cast<int64_t>(targets.size()); }
};

// The sum over every alignment: all sequences of classes whose repetitions and blanks, taken out, leave the
// target. Another algorithm than the kernels', for a handful of steps.
double probability(const Reference& lp, const Labels& q, int64_t n, int64_t t, int32_t last, size_t done) {
  const std::vector<int32_t>& target = q.targets[static_cast<size_t>(n)];
  if (t == q.input_lengths[static_cast<size_t>(n)]) return done == target.size();
  double sum = 0;
  for (int32_t c = 0; c < q.classes; ++c) {
    const bool emits = c != q.blank && c != last;
    if (emits && (done == target.size() || target[done] != c)) continue;
    sum += std::exp(lp[(t * q.batch() + n) * q.classes + c]) * probability(lp, q, n, t + 1, c, done + emits);
  }
  return sum;
}

Case ctc_case(const std::string& name, const Labels& q) {
  return {
      .name = name,
      .arguments = {{.shape = {q.steps, q.batch(), q.classes}, .low = -3, .high = 0}},
      .build =
          [=](auto xs) {
            Array targets({q.batch(), q.longest}, DType::i32), lengths({q.batch()}, DType::i32);
            for (int64_t n = 0; n < q.batch(); ++n) {
              const auto& target = q.targets[static_cast<size_t>(n)];
              lengths.set(n, static_cast<double>(target.size()));
              for (size_t i = 0; i < static_cast<size_t>(q.longest); ++i)  // what is beyond does not count
                targets.set(n * q.longest + static_cast<int64_t>(i), i < target.size() ? target[i] : 12345);
            }
            return std::vector{
                ctc_loss(xs[0], targets, Array({q.batch()}, q.input_lengths), lengths, q.blank)};
          },
      .reference =
          [=](auto xs) {
            Reference loss({q.batch()});
            for (int64_t n = 0; n < q.batch(); ++n) loss[n] = -std::log(probability(xs[0], q, n, 0, -1, 0));
            return std::vector{loss};
          },
      // Logarithms of about 20 have an ulp of 2e-6.
      .tolerance = 5e-6,
      .gradient_tolerance = 5e-5};
}
// No alignment of two equal labels in two steps; what dloss leaves out stays finite.
Case infinite_case() {
  Case test = ctc_case("no alignment", {3, 3, {{1, 1}, {2}}, {2, 3}, 2});
  test.gradient = false;
  return test;
}
Case out_of_range_case(const std::string& name, int32_t length, int32_t label) {
  Case test{.name = name, .gradient = false};
  test.arguments = {{.shape = {2, 1, 3}, .low = -3, .high = 0}};
  test.build = [=](auto xs) {
    return std::vector{ctc_loss(xs[0], Array({1, 1}, std::vector{label}), Array({1}, std::vector{length}),
                                Array({1}, std::vector<int32_t>{1}))};
  };
  test.reference = [](auto) { return std::vector{Reference({1}, {std::nan("")})}; };
  return test;
}

const bool kCtcRow = add_row(
    {.op = "ctc_loss",
     .cases = {ctc_case("labels", {6, 4, {{1, 2, 3}, {2}, {3, 3}}, {6, 6, 6}, 3}),
               ctc_case("lengths", {6, 3, {{1, 2}, {1}, {}, {2, 1, 2}}, {4, 1, 3, 6}, 4}),
               ctc_case("blank last", {5, 3, {{0, 1}, {1, 1}}, {5, 4}, 2, 2}),
               ctc_case("no labels", {3, 2, {{}, {}}, {3, 0}, 0}), infinite_case(),
               out_of_range_case("more steps than there are", 3, 1),
               out_of_range_case("a negative label", 2, -1), out_of_range_case("a label beyond", 2, 3)}});

}  // namespace
}  // namespace stithy::testing

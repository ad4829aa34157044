// Rows of recurrent layers.
#include <cmath>

#include "engine/ops_sequence.h"
#include "tests/harness.h"

namespace stithy::testing {
namespace {

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

struct Sequence {
  Cell cell;
  int64_t steps, batch, hidden;
  RecurrentOptions options = {};
  std::vector<int32_t> lengths = {};
  bool has_bias = true, has_state = true;

  int64_t gates() const { return cell == Cell::lstm ? 4 : cell == Cell::gru ? 3 : 1; }
  Shape shape(int64_t columns) const {
    return options.batch_first ? Shape{batch, steps, columns} : Shape{steps, batch, columns};
  }
};

// xs: x, weight, then bias, h0 and c0 as far as they are given.
std::vector<Reference> run(const Sequence& q, std::span<const Reference> xs) {
  const int64_t n = q.hidden, columns = q.gates() * n;
  size_t next = 2;
  const Reference bias = q.has_bias ? xs[next++] : Reference({columns});
  Reference h = q.has_state ? xs[next++] : Reference({q.batch, n});
  Reference c = q.has_state && q.cell == Cell::lstm ? xs[next++] : Reference({q.batch, n});
  Reference y(q.shape(n));
  for (int64_t i = 0; i < q.steps; ++i) {
    const int64_t t = q.options.reverse ? q.steps - 1 - i : i;
    const Reference before = h;
    for (int64_t b = 0; b < q.batch; ++b) {
      if (!q.lengths.empty() && t >= q.lengths[static_cast<size_t>(b)]) continue;
      const int64_t row = q.options.batch_first ? b * q.steps + t : t * q.batch + b;
      for (int64_t j = 0; j < n; ++j) {
        double x[4] = {}, s[4] = {};
        for (int64_t g = 0; g < q.gates(); ++g) {
          x[g] = xs[0][row * columns + g * n + j];
          s[g] = bias[g * n + j];
          for (int64_t k = 0; k < n; ++k) s[g] += before[b * n + k] * xs[1][(g * n + j) * n + k];
        }
        const int64_t e = b * n + j;
        if (q.cell == Cell::lstm) {
          c[e] = sigmoid(x[1] + s[1]) * c[e] + sigmoid(x[0] + s[0]) * std::tanh(x[2] + s[2]);
          h[e] = sigmoid(x[3] + s[3]) * std::tanh(c[e]);
        } else if (q.cell == Cell::gru) {
          const double z = sigmoid(x[1] + s[1]);
          h[e] = (1 - z) * std::tanh(x[2] + sigmoid(x[0] + s[0]) * s[2]) + z * before[e];
        } else {
          h[e] = q.cell == Cell::tanh ? std::tanh(x[0] + s[0]) : std::max(0.0, x[0] + s[0]);
        }
        y[row * n + j] = h[e];
      }
    }
  }
  std::vector<Reference> ys{y, h};
  if (q.cell == Cell::lstm) ys.push_back(c);
  return ys;
}

Case sequence_case(const std::string& name, const Sequence& q) {
  const int64_t columns = q.gates() * q.hidden;
  // Weights that let a state live for some steps. Of relu's kink, sums stay on one side.
  const double reach = 2 / std::sqrt(static_cast<double>(q.hidden));
  Case test{.name = name,
            .arguments = {{.shape = q.shape(columns)},
                          {.shape = {columns, q.hidden}, .low = -reach, .high = reach}},
            .gradient_tolerance = 5e-5};
  if (q.cell == Cell::relu) {
    test.arguments[0] = {.shape = q.shape(columns), .low = 0.5, .high = 1.5};
    test.arguments[1].low = 0;
    test.arguments[1].high = 0.3;
  }
  if (q.has_bias)
    test.arguments.push_back({.shape = {columns}, .low = q.cell == Cell::relu ? 0.0 : -1.0, .high = 1});
  if (q.has_state)
    for (int i = 0; i < (q.cell == Cell::lstm ? 2 : 1); ++i)
      test.arguments.push_back(
          {.shape = {q.batch, q.hidden}, .low = q.cell == Cell::relu ? 0.0 : -1.0, .high = 1});
  test.build = [=](auto xs) {
    size_t next = 2;
    const Tensor bias = q.has_bias ? xs[next++] : Tensor(), h0 = q.has_state ? xs[next++] : Tensor();
    const Tensor c0 = q.has_state && q.cell == Cell::lstm ? xs[next++] : Tensor();
    const Tensor lengths = q.lengths.empty() ? Tensor() : Tensor(Array({q.batch}, q.lengths));
    const auto [y, h, c] = recurrent(q.cell, xs[0], xs[1], bias, h0, c0, lengths, q.options);
    return q.cell == Cell::lstm ? std::vector{y, h, c} : std::vector{y, h};
  };
  test.reference = [=](auto xs) { return run(q, xs); };
  return test;
}
// Where only the last state counts, no gradient of y comes in.
Case last_state_case(const std::string& name, Cell cell) {
  const Sequence q{cell, 3, 4, 5, {.batch_first = true}};
  Case test = sequence_case(name, q);
  const auto build = test.build;
  test.build = [=](auto xs) { return std::vector{build(xs)[1]}; };
  test.reference = [=](auto xs) { return std::vector{run(q, xs)[1]}; };
  return test;
}

// 0, 1, ..., most, 0, ...
std::vector<int32_t> rising_lengths(int64_t batch, int32_t most) {
  std::vector<int32_t> lengths(static_cast<size_t>(batch));
  for (size_t b = 0; b < lengths.size(); ++b) lengths[b] = static_cast<int32_t>(b) % (most + 1);
  return lengths;
}

std::vector<Case> cases() {
  std::vector<Case> all;
  for (const auto& [cell, name] :
       {std::pair{Cell::lstm, "LSTM"}, {Cell::gru, "GRU"}, {Cell::tanh, "tanh"}, {Cell::relu, "relu"}}) {
    const std::string of = std::string(name) + ", ";
    all.push_back(sequence_case(of + "odd sizes", {cell, 5, 3, 7}));
    all.push_back(sequence_case(of + "batch first", {cell, 4, 3, 6, {.batch_first = true}}));
    all.push_back(sequence_case(of + "reverse", {cell, 4, 2, 8, {.reverse = true}}));
    all.push_back(sequence_case(of + "lengths", {cell, 5, 4, 3, {}, {5, 2, 0, 3}}));
    all.push_back(sequence_case(of + "lengths in reverse",
                                {cell, 5, 4, 3, {.batch_first = true, .reverse = true}, {1, 5, 0, 4}}));
    all.push_back(last_state_case(of + "the last state alone", cell));
    // Multiples of four, whose steps can be kernels of their own: more elements than a block has, and more
    // units.
    all.push_back(sequence_case(of + "blocks", {cell, 4, 5, 12}));
    all.push_back(sequence_case(of + "blocks in reverse, lengths, batch first",
                                {cell, 3, 18, 36, {true, true}, rising_lengths(18, 3)}));
    all.push_back(sequence_case(of + "one step", {cell, 1, 2, 8}));
  }
  all.push_back(sequence_case("one step of one element", {Cell::lstm, 1, 1, 1}));
  all.push_back(sequence_case(
      "no bias, no state",
      {.cell = Cell::gru, .steps = 3, .batch = 2, .hidden = 5, .has_bias = false, .has_state = false}));
  Case wide = sequence_case("wide", {Cell::lstm, 3, 17, 64});
  wide.gradient = false;
  all.push_back(wide);
  return all;
}

const bool kRecurrentRow = add_row({.op = "recurrent", .cases = cases()});

}  // namespace
}  // namespace stithy::testing

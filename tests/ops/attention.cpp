// Rows of attention and rotary embedding.
#include <cmath>
#include <limits>

#include "engine/core/rng.h"
#include "engine/ops.h"
#include "engine/ops_sequence.h"
#include "tests/harness.h"

namespace stithy::testing {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr uint64_t kSeed = 0x123456789abcdef0u;

struct Problem {
  int64_t n, heads, kv_heads, tq, tk, d, dv = 0;  // dv 0: d
  bool causal = false;
  int64_t window = 0;
  float scale = 0, dropout = 0;
  bool alibi = false;
  std::vector<int32_t> lengths = {};
  Shape mask = {};               // of an argument that is added to the scores
  std::vector<float> seen = {};  // a mask of [tq, tk], 0 where a key is hidden
  int64_t width() const { return dv ? dv : d; }
};

// The factor of each probability: 0, or 1 / (1 - p).
double kept(const Problem& p, int64_t row, int64_t key) {
  if (p.dropout == 0) return 1;
  const int64_t at = row * ((p.tk + 3) / 4 * 4) + key;
  const auto words = philox({static_cast<uint32_t>(at / 4), 0, 0, 0},
                            {static_cast<uint32_t>(kSeed), static_cast<uint32_t>(kSeed >> 32)});
  return static_cast<double>(words[static_cast<size_t>(at % 4)] >> 8) * 0x1p-24 >= p.dropout
             ? 1 / (1 - static_cast<double>(p.dropout))
             : 0;
}

float slope_of(int64_t head) { return 0.5f / static_cast<float>(head + 1); }

// xs: q, k, v, then the mask.
std::vector<Reference> run(const Problem& p, std::span<const Reference> xs) {
  const double scale = p.scale != 0 ? p.scale : 1 / std::sqrt(static_cast<double>(p.d));
  const int64_t group = p.heads / p.kv_heads;
  Reference y({p.n, p.heads, p.tq, p.width()});
  for (int64_t row = 0; row < p.n * p.heads * p.tq; ++row) {
    const int64_t i = row % p.tq, h = row / p.tq % p.heads, n = row / p.tq / p.heads;
    const int64_t base = (n * p.kv_heads + h / group) * p.tk, position = i + p.tk - p.tq;
    std::vector<double> s(static_cast<size_t>(p.tk), -kInf);
    double largest = -kInf, total = 0;
    for (int64_t j = 0; j < p.tk; ++j) {
      if (p.causal && (j > position || (p.window && j <= position - p.window))) continue;
      if (!p.lengths.empty() && j >= p.lengths[static_cast<size_t>(n)]) continue;
      if (!p.seen.empty() && p.seen[static_cast<size_t>(i * p.tk + j)] == 0) continue;
      double& score = s[static_cast<size_t>(j)] = 0;
      for (int64_t e = 0; e < p.d; ++e) score += xs[0][row * p.d + e] * xs[1][(base + j) * p.d + e];
      score *= scale;
      if (!p.mask.empty()) score += broadcast_at(xs[3], {p.n, p.heads, p.tq, p.tk}, row * p.tk + j);
      if (p.alibi) score -= slope_of(h) * std::abs(static_cast<double>(position - j));
      largest = std::max(largest, score);
    }
    if (largest == -kInf) continue;
    for (const double score : s) total += std::exp(score - largest);
    for (int64_t j = 0; j < p.tk; ++j) {
      const double share = std::exp(s[static_cast<size_t>(j)] - largest) / total * kept(p, row, j);
      for (int64_t e = 0; e < p.width(); ++e)
        y[row * p.width() + e] += share * xs[2][(base + j) * p.width() + e];
    }
  }
  return {y};
}

Case attention_case(const std::string& name, const Problem& p) {
  const double reach = p.d >= 32 ? 1 : 1.5;
  Case test{.name = name,
            .arguments = {{.shape = {p.n, p.heads, p.tq, p.d}, .low = -reach, .high = reach},
                          {.shape = {p.n, p.kv_heads, p.tk, p.d}, .low = -reach, .high = reach},
                          {.shape = {p.n, p.kv_heads, p.tk, p.width()}}},
            .tolerance = 4e-6,
            .gradient_tolerance = 5e-5};
  if (!p.mask.empty()) test.arguments.push_back({.shape = p.mask});
  test.build = [=](auto xs) {
    Generator generator(kSeed);
    AttentionOptions o{.causal = p.causal,
                       .window = p.window,
                       .scale = p.scale,
                       .dropout = p.dropout,
                       .generator = &generator};
    if (p.alibi) {
      Array slopes({p.heads}, DType::f32);
      for (int64_t h = 0; h < p.heads; ++h) slopes.set(h, slope_of(h));
      o.alibi = slopes;
    }
    if (!p.lengths.empty()) o.lengths = Array({p.n}, p.lengths);
    Tensor mask;
    if (!p.mask.empty()) mask = xs[3];
    if (!p.seen.empty()) {
      const Tensor hidden = Array({p.tq, p.tk}, std::span<const float>(p.seen));
      mask = equal(hidden, 1.0f);
    }
    return std::vector{attention(xs[0], xs[1], xs[2], o, mask)};
  };
  test.reference = [=](auto xs) { return run(p, xs); };
  return test;
}

std::vector<Case> cases() {
  std::vector<float> holes(5 * 7, 1);
  for (size_t i = 0; i < holes.size(); ++i) holes[i] = i % 3 == 0 || i / 7 == 2 ? 0.0f : 1.0f;
  std::vector<Case> all{
      attention_case("odd sizes", {.n = 2, .heads = 3, .kv_heads = 3, .tq = 13, .tk = 7, .d = 5}),
      attention_case("one key", {.n = 1, .heads = 1, .kv_heads = 1, .tq = 4, .tk = 1, .d = 1}),
      attention_case("heads of one", {.n = 1, .heads = 2, .kv_heads = 1, .tq = 9, .tk = 11, .d = 1}),
      attention_case("causal",
                     {.n = 2, .heads = 2, .kv_heads = 2, .tq = 37, .tk = 37, .d = 32, .causal = true}),
      attention_case("causal, the last queries",
                     {.n = 1, .heads = 2, .kv_heads = 2, .tq = 5, .tk = 19, .d = 8, .causal = true}),
      attention_case("causal, queries before the first key",
                     {.n = 1, .heads = 1, .kv_heads = 1, .tq = 11, .tk = 5, .d = 8, .causal = true}),
      attention_case(
          "window",
          {.n = 1, .heads = 2, .kv_heads = 2, .tq = 71, .tk = 83, .d = 4, .causal = true, .window = 6}),
      attention_case("grouped", {.n = 2, .heads = 6, .kv_heads = 2, .tq = 7, .tk = 10, .d = 8}),
      attention_case("multi-query, causal",
                     {.n = 1, .heads = 4, .kv_heads = 1, .tq = 12, .tk = 12, .d = 12, .causal = true}),
      attention_case("values of another width",
                     {.n = 1, .heads = 2, .kv_heads = 1, .tq = 9, .tk = 10, .d = 8, .dv = 20}),
      attention_case("narrow values",
                     {.n = 1, .heads = 2, .kv_heads = 2, .tq = 9, .tk = 10, .d = 20, .dv = 3}),
      attention_case("lengths",
                     {.n = 4, .heads = 2, .kv_heads = 2, .tq = 5, .tk = 9, .d = 8, .lengths = {9, 4, 0, 1}}),
      attention_case("lengths, causal", {.n = 3,
                                         .heads = 2,
                                         .kv_heads = 1,
                                         .tq = 9,
                                         .tk = 9,
                                         .d = 4,
                                         .causal = true,
                                         .lengths = {9, 4, 6}}),
      attention_case("ALiBi", {.n = 2, .heads = 3, .kv_heads = 3, .tq = 6, .tk = 11, .d = 4, .alibi = true}),
      attention_case("a mask",
                     {.n = 2, .heads = 3, .kv_heads = 3, .tq = 6, .tk = 11, .d = 4, .mask = {2, 3, 6, 11}}),
      attention_case("a mask for all heads, dropout", {.n = 2,
                                                       .heads = 2,
                                                       .kv_heads = 2,
                                                       .tq = 6,
                                                       .tk = 10,
                                                       .d = 4,
                                                       .dropout = 0.3f,
                                                       .mask = {2, 1, 1, 10}}),
      attention_case(
          "a mask of rows",
          {.n = 1, .heads = 2, .kv_heads = 1, .tq = 6, .tk = 10, .d = 4, .causal = true, .mask = {6, 1}}),
      attention_case("a mask that hides, a whole row, too",
                     {.n = 2, .heads = 2, .kv_heads = 2, .tq = 5, .tk = 7, .d = 4, .seen = holes}),
      attention_case("dropout",
                     {.n = 2, .heads = 3, .kv_heads = 3, .tq = 9, .tk = 13, .d = 8, .dropout = 0.4f}),
      attention_case(
          "dropout, grouped and causal",
          {.n = 1, .heads = 4, .kv_heads = 2, .tq = 16, .tk = 16, .d = 8, .causal = true, .dropout = 0.25f}),
      attention_case("scale", {.n = 1, .heads = 2, .kv_heads = 2, .tq = 5, .tk = 6, .d = 8, .scale = 0.7f}),
      attention_case("a batch",
                     {.n = 8, .heads = 2, .kv_heads = 1, .tq = 16, .tk = 16, .d = 16, .causal = true}),
      attention_case("heads of 64", {.n = 1, .heads = 1, .kv_heads = 1, .tq = 17, .tk = 23, .d = 64}),
      attention_case("heads of 128",
                     {.n = 1, .heads = 1, .kv_heads = 1, .tq = 11, .tk = 13, .d = 128, .causal = true}),
  };
  // A large score must not overflow.
  Case large = attention_case("large scores", {.n = 1, .heads = 1, .kv_heads = 1, .tq = 5, .tk = 9, .d = 4});
  for (size_t i = 0; i < 2; ++i) large.arguments[i].low = -40, large.arguments[i].high = 40;
  large.tolerance = 1e-4;
  large.gradient = false;
  all.push_back(large);
  return all;
}

const bool kAttentionRow = add_row({.op = "attention", .cases = cases()});

// positions: a row for each element of the batch, or, alone, the first one's number.
Case rotary_case(const std::string& name, const Shape& shape, bool interleaved,
                 std::vector<int32_t> positions = {}) {
  const int64_t t = shape[shape.rank() - 2], d = shape.back(), half = d / 2;
  return {.name = name,
          .arguments = {{.shape = shape}},
          .build =
              [=](auto xs) {
                Tensor at;
                if (positions.size() == 1) at = Array({}, positions);
                if (positions.size() > 1) at = Array({shape[0], t}, positions);
                return std::vector{rotary(xs[0], at, {.base = 100, .interleaved = interleaved})};
              },
          .reference =
              [=](auto xs) {
                Reference y(shape);
                for (int64_t row = 0; row < y.numel() / d; ++row)
                  for (int64_t i = 0; i < half; ++i) {
                    const int64_t n = row / (y.numel() / d / shape[0]);
                    const int64_t at = positions.size() > 1
                                           ? positions[static_cast<size_t>(n * t + row % t)]
                                           : row % t + (positions.empty() ? 0 : positions[0]);
                    const double angle = static_cast<double>(at) *
                                         std::pow(100.0, -static_cast<double>(i) / static_cast<double>(half));
                    const int64_t a = row * d + (interleaved ? 2 * i : i), b = a + (interleaved ? 1 : half);
                    y[a] = xs[0][a] * std::cos(angle) - xs[0][b] * std::sin(angle);
                    y[b] = xs[0][b] * std::cos(angle) + xs[0][a] * std::sin(angle);
                  }
                return std::vector{y};
              }};
}
std::vector<Case> rotary_cases() {
  std::vector<Case> all;
  for (const bool interleaved : {false, true}) {
    const std::string of = interleaved ? ", neighbours" : ", halves";
    all.push_back(rotary_case("odd sizes" + of, {3, 2, 7, 6}, interleaved));
    all.push_back(rotary_case("vec4" + of, {2, 3, 5, 16}, interleaved, {3}));
    all.push_back(rotary_case("positions" + of, {2, 3, 4, 8}, interleaved, {0, 1, 2, 3, 5, 6, 7, 9}));
  }
  all.push_back(rotary_case("one sequence", {5, 8}, false));
  all.push_back(rotary_case("five axes", {2, 2, 3, 4, 4}, true));
  return all;
}
const bool kRotaryRow = add_row({.op = "rotary", .cases = rotary_cases()});

}  // namespace
}  // namespace stithy::testing

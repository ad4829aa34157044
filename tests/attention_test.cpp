// Attention, what is built on it, and what tells it of positions. tests/ops/attention.cpp has the op's
// values, tests/models_test.cpp compares the layers with PyTorch's.
#include <doctest/doctest.h>

#include <cmath>

#include "engine/graph/program.h"
#include "nn/nn.h"
#include "tests/check_error.h"

using namespace stithy;

namespace {
Array ramp(const Shape& shape, double step = 0.7) {
  Array x(shape, DType::f32);
  for (int64_t i = 0; i < x.numel(); ++i) x.set(i, std::sin(static_cast<double>(i) * step));
  return x;
}
Tensor integers(const Shape& shape, const std::vector<int32_t>& values) { return Array(shape, values); }
std::vector<Array> run(const std::vector<Tensor>& fetches) {
  Program program(fetches);
  program.submit();
  std::vector<Array> values;
  for (size_t i = 0; i < fetches.size(); ++i) values.push_back(program.read(i));
  return values;
}
void check_close(const Array& a, const Array& b, double tolerance = 1e-5) {
  REQUIRE(a.shape() == b.shape());
  for (int64_t i = 0; i < a.numel(); ++i)
    CHECK(a.at(i) == doctest::Approx(b.at(i)).epsilon(tolerance).scale(1));
}
void check_close(const Tensor& a, const Tensor& b, double tolerance = 1e-5) {
  const std::vector<Array> v = run({contiguous(a), contiguous(b)});
  check_close(v[0], v[1], tolerance);
}
}  // namespace

TEST_SUITE("attention") {
  TEST_CASE("the last queries of a causal sequence are as in the whole") {
    const Tensor q = ramp({2, 4, 7, 6}), k = ramp({2, 2, 7, 6}, 0.3), v = ramp({2, 2, 7, 6}, 0.9);
    const AttentionOptions o{.causal = true, .window = 5};
    check_close(attention(slice(q, 2, 5, 7), k, v, o), slice(attention(q, k, v, o), 2, 5, 7));
  }

  TEST_CASE("padding, as lengths, a mask of what is seen, or one that is added, counts for nothing") {
    const Tensor q = ramp({2, 2, 6, 4}), k = ramp({2, 2, 5, 4}, 0.3), v = ramp({2, 2, 5, 4}, 0.9);
    const Tensor lengths = integers({2}, {5, 2});
    const Tensor seen = less(arange(5), reshape(lengths, {2, 1, 1, 1}));
    const Tensor by_length = attention(q, k, v, {.lengths = lengths});
    check_close(by_length, attention(q, k, v, {}, seen));
    const Tensor column = squeeze(slice(integers({2, 2}, {1, 5, 1, 2}), 1, 1, 2), 1);
    check_close(by_length, attention(q, k, v, {.lengths = column}));
    check_close(by_length, attention(q, k, v, {}, where(seen, 0.0f, -INFINITY)));
    const auto second = [](const Tensor& x, int64_t t) { return slice(slice(x, 0, 1, 2), 2, 0, t); };
    check_close(second(by_length, 6), attention(second(q, 6), second(k, 2), second(v, 2)));
  }

  TEST_CASE("a query that sees no key gives zeros and no gradient") {
    const Tensor q = ramp({2, 1, 5, 4}), k = ramp({2, 1, 3, 4}, 0.3), v = ramp({2, 1, 3, 4}, 0.9);
    const Tensor y = attention(q, k, v, {.lengths = integers({2}, {3, 0})});
    std::vector<Tensor> all = gradients(sum(square(y) + y), std::vector{q, k, v});
    all.push_back(contiguous(y));
    for (const Array& values : run(all))
      for (int64_t i = 0; i < values.numel(); ++i) {
        CHECK(std::isfinite(values.at(i)));
        if (i >= values.numel() / 2) CHECK(values.at(i) == 0);
      }
  }

  TEST_CASE("dropout drops the same in backward, and keeps the mean") {
    Generator generator(7);
    const Tensor q = zeros({1, 1, 64, 4}), v = ones({1, 1, 93, 4});
    const Tensor k = zeros({1, 1, 93, 4});
    // All probabilities are 1 / 93, so y is the share of keys that are kept.
    const Tensor given = input("v", {1, 1, 93, 4});
    const Tensor y = attention(q, k, given, {.dropout = 0.25f, .generator = &generator});
    const Tensor dv = gradients(sum(y), std::vector{given})[0];
    Program program({contiguous(y), contiguous(dv)});
    Array one({1, 1, 93, 4}, DType::f32);
    for (int64_t i = 0; i < one.numel(); ++i) one.set(i, 1);
    const Feed feed{given, &one};
    program.submit({&feed, 1});
    const Array ys = program.read(0), dvs = program.read(1);
    double total = 0, back = 0;
    for (int64_t i = 0; i < ys.numel(); ++i) total += ys.at(i);
    for (int64_t i = 0; i < dvs.numel(); ++i) back += dvs.at(i);
    CHECK(total == doctest::Approx(back).epsilon(1e-4));
    CHECK(total / 256 == doctest::Approx(1).epsilon(0.05));
    CHECK(ys.at(0) != ys.at(4));
  }

  TEST_CASE("a mask that is learned gets its gradient") {
    const Tensor q = ramp({1, 2, 6, 4}), k = ramp({1, 2, 5, 4}, 0.3), v = ramp({1, 2, 5, 4}, 0.9);
    const Tensor mask = ramp({6, 5}, 0.2);
    const Tensor y = attention(q, k, v, {}, mask);
    const Tensor by_hand = matmul(softmax(matmul(q, transpose(k)) * 0.5f + mask), v);
    check_close(y, by_hand);
    const Tensor w = ramp({1, 2, 6, 4}, 1.1);
    check_close(gradients(sum(y * w), std::vector{mask})[0],
                gradients(sum(by_hand * w), std::vector{mask})[0]);
  }

  TEST_CASE("memory grows with the length, not with its square") {
    const auto peak = [](int64_t t, bool fused) {
      const Tensor q = input("q", {1, 2, t, 16}), k = input("k", {1, 2, t, 16}),
                   v = input("v", {1, 2, t, 16});
      const Tensor y = fused ? attention(q, k, v) : matmul(softmax(matmul(q, transpose(k)) * 0.25f), v);
      const std::vector<Tensor> fetches = gradients(sum(square(y)), std::vector{q, k, v});
      return static_cast<double>(Program(fetches).plan().arena_bytes);
    };
    const double fused = peak(1024, true) / peak(512, true), composed = peak(1024, false) / peak(512, false);
    MESSAGE("twice the length, times the memory: ", fused, "; out of products: ", composed);
    CHECK(fused < 2.1);
    CHECK(composed > 3.5);
  }

  TEST_CASE("rotary: scores depend on distances alone, the two orders on how pairs lie") {
    const Tensor q = ramp({2, 3, 4, 6}), k = ramp({2, 3, 4, 6}, 0.3);
    const auto scores = [&](int32_t first, bool interleaved) {
      const Tensor at = integers({}, {first});
      return matmul(rotary(q, at, {.interleaved = interleaved}),
                    transpose(rotary(k, at, {.interleaved = interleaved})));
    };
    for (const bool interleaved : {false, true})
      check_close(scores(0, interleaved), scores(100, interleaved), 1e-4);
    // Pairs side by side against halves.
    const auto halves = [](const Tensor& x) {
      return concat(std::vector{slice(x, -1, 0, 6, 2), slice(x, -1, 1, 6, 2)}, -1);
    };
    check_close(halves(rotary(q, {}, {.interleaved = true})), rotary(halves(q)));
    // Positions: all at once, from a first one, for each element of the batch.
    const Tensor turned = rotary(q, integers({4}, {2, 3, 4, 5}), {.base = 100});
    check_close(rotary(q, integers({}, {2}), {.base = 100}), turned);
    check_close(rotary(q, integers({2, 4}, {2, 3, 4, 5, 2, 3, 4, 5}), {.base = 100}), turned);
    // Pair 1 of three at position 2 turns by 2 * 100^(-1/3).
    const double angle = 2 * std::pow(100, -1.0 / 3);
    const Array x = ramp({2, 3, 4, 6}), y = run({turned})[0];
    CHECK(y.at(1) == doctest::Approx(x.at(1) * std::cos(angle) - x.at(4) * std::sin(angle)));
    CHECK(y.at(4) == doctest::Approx(x.at(4) * std::cos(angle) + x.at(1) * std::sin(angle)));
    // The gradient turns back.
    const Tensor w = ramp({2, 3, 4, 6}, 1.1);
    check_close(rotary(gradients(sum(rotary(q) * w), std::vector{q})[0]), w);
  }

  TEST_CASE("positions: waves, learned vectors, and slopes of distances") {
    const Array wave = run({nn::SinusoidalPositions()(zeros({1, 5, 4}))})[0];
    CHECK(wave.at(3 * 4) == doctest::Approx(std::sin(3.0)));
    CHECK(wave.at(3 * 4 + 1) == doctest::Approx(std::cos(3.0)));
    CHECK(wave.at(3 * 4 + 2) == doctest::Approx(std::sin(0.03)));
    CHECK(wave.at(3 * 4 + 3) == doctest::Approx(std::cos(0.03)));
    nn::PositionalEmbedding learned(6, 4);
    const Tensor x = ramp({2, 3, 4});
    check_close(learned(x), x + slice(learned.weight.tensor(), 0, 0, 3));
    check_close(learned.forward(x, integers({}, {2})), x + slice(learned.weight.tensor(), 0, 2, 5));
    check_close(nn::SinusoidalPositions().forward(zeros({1, 2, 4}), integers({}, {3})),
                slice(Tensor(wave), 1, 3, 5));
    const Array eight = nn::alibi_slopes(8), twelve = nn::alibi_slopes(12);
    for (int64_t i = 0; i < 8; ++i) CHECK(eight.at(i) == std::exp2(-static_cast<double>(i + 1)));
    for (int64_t i = 0; i < 8; ++i) CHECK(twelve.at(i) == eight.at(i));
    for (int64_t i = 0; i < 4; ++i) CHECK(twelve.at(8 + i) == doctest::Approx(std::exp2(-(i + 0.5))));
    check_error("has no vectors for an input of shape [1, 7, 4]", [&] { learned(zeros({1, 7, 4})); });
  }

  TEST_CASE("a decoder that is causal does not see what follows") {
    nn::Transformer model(8, 2, 1, 2, {.hidden = 12, .norm_first = true});
    model.eval();
    const Tensor source = ramp({2, 4, 8}), target = ramp({2, 5, 8}, 0.3);
    const nn::TransformerAttend attend{.source = {.lengths = integers({2}, {4, 3})},
                                       .target = {.causal = true},
                                       .memory = {.lengths = integers({2}, {4, 3})}};
    const Tensor y = model.forward(source, target, attend);
    CHECK(y.shape() == Shape{2, 5, 8});
    check_close(slice(y, 1, 0, 3), model.forward(source, slice(target, 1, 0, 3), attend));
    CHECK(model.named_parameters().front().name == "encoder.layers.0.self_attn.in_proj_weight");
  }

  TEST_CASE("gated feed-forward networks") {
    for (const auto gate : {nn::GatedFeedForward::Gate::swiglu, nn::GatedFeedForward::Gate::geglu}) {
      nn::GatedFeedForward layer(4, 6, gate);
      const Tensor x = ramp({2, 3, 4});
      std::vector<Tensor> w;
      for (const auto& [name, variable] : layer.named_parameters()) w.push_back(transpose(variable.tensor()));
      const Tensor g = matmul(x, w[0]),
                   gated = gate == nn::GatedFeedForward::Gate::swiglu ? g * sigmoid(g) : gelu(g);
      check_close(layer(x), matmul(gated * matmul(x, w[1]), w[2]));
    }
  }

  TEST_CASE("mistakes are named") {
    const Tensor q = ramp({2, 4, 3, 6}), k = ramp({2, 2, 5, 6});
    check_error("3 heads of q are not a multiple of the 2", [&] { attention(ramp({2, 3, 3, 6}), k, k); });
    check_error("are not of one batch", [&] { attention(ramp({1, 4, 3, 6}), k, k); });
    check_error("do not fit", [&] { attention(ramp({2, 4, 3, 5}), k, k); });
    check_error("a window is for causal attention", [&] { attention(q, k, k, {.window = 2}); });
    check_error("[2, 4, 3, 4]", [&] { attention(q, k, k, {}, ramp({2, 4, 3, 4})); });
    check_error("lengths have the shape [3] instead of [2]", [&] {
      attention(q, k, k, {.lengths = integers({3}, {1, 1, 1})});
    });
    check_error("not one for each of 4 heads", [&] { attention(q, k, k, {.alibi = ramp({2})}); });
    check_error("dropout 1 is not in [0, 1)", [&] { attention(q, k, k, {.dropout = 1}); });
    check_error("not [..., t, d] with an even d", [&] { rotary(ramp({3, 5})); });
    check_error("which does not fit x", [&] { rotary(ramp({3, 4}), integers({2}, {0, 1})); });
    check_error("5 heads do not divide the size 8", [] { nn::MultiHeadAttention(8, 5); });
    nn::MultiHeadAttention layer(8, 2);
    check_error("instead of [n, t, 8]", [&] { layer(ramp({2, 3, 7})); });
    check_error("is not bool [2, 3]", [&] { layer.forward(ramp({2, 3, 8}), {.key_mask = ramp({2, 3})}); });
  }
}

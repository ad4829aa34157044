// Fusion: the same numbers from fewer kernels, and nothing fused that may not be.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "engine/core/error.h"
#include "engine/core/rng.h"
#include "engine/graph/autograd.h"
#include "engine/graph/glsl.h"
#include "engine/graph/hazard.h"
#include "engine/graph/program.h"
#include "engine/ops.h"
#include "tests/harness.h"

using namespace stithy;

namespace {

Array uniform_array(const Shape& shape, uint64_t stream, double low = -1, double high = 1) {
  Philox random(7, stream);
  Array array(shape, DType::f32);
  for (int64_t i = 0; i < array.numel(); ++i) array.set(i, low + (high - low) * random.uniform());
  return array;
}

// Kernels of a program, and its results fused and not, which must agree.
struct Fused {
  std::string kernels;  // joined by blanks
  size_t count = 0;
  uint64_t saved = 0;
  std::vector<Array> results;
};
Fused run_both(const std::vector<Tensor>& fetches, const std::vector<Feed>& feeds, double tolerance = 1e-6) {
  Fused out;
  std::vector<Array> plain;
  for (const bool fuse : {false, true}) {
    ProgramOptions options;
    options.guard = true;
    options.fuse = fuse;
    Program program(fetches, {}, options);
    CHECK(find_hazards(program.plan()).empty());
    program.submit(feeds);
    std::vector<Array>& results = fuse ? out.results : plain;
    for (size_t i = 0; i < fetches.size(); ++i) results.push_back(program.read(i));
    CHECK_NOTHROW(program.check_guards());
    if (!fuse) continue;
    for (const PlannedDispatch& dispatch : program.plan().dispatches)
      out.kernels += cat(out.count++ ? " " : "", dispatch.call.kernel->name);
    out.saved = program.plan().fused_bytes_saved;
  }
  for (size_t i = 0; i < plain.size(); ++i) {
    REQUIRE(plain[i].shape() == out.results[i].shape());
    double worst = 0, scale = 1;
    for (int64_t k = 0; k < plain[i].numel(); ++k) {
      scale = std::max(scale, std::abs(plain[i].at(k)));
      // False for NaN, which must not pass.
      worst = std::max(worst, std::abs(plain[i].at(k) - out.results[i].at(k)));
      CHECK(std::isfinite(out.results[i].at(k)));
    }
    CHECK_MESSAGE(worst <= tolerance * scale, "result ", i, " is off by ", worst);
  }
  return out;
}

}  // namespace

TEST_SUITE_BEGIN("fuse");

TEST_CASE("a chain becomes one kernel, and its inner values stay out of memory") {
  const Tensor x = input("x", {33, 7}), row = input("row", {7}), one = input("one", {});
  const Array xs = uniform_array({33, 7}, 1), rows = uniform_array({7}, 2), ones = uniform_array({}, 3);
  const Tensor y = tanh(x * row + one) / 2.0f;
  const Fused fused = run_both({y}, {{x, &xs}, {row, &rows}, {one, &ones}});
  CHECK(fused.kernels == "mul+add+tanh+div");
  CHECK(fused.saved == 3 * 2 * 928);  // 231 floats in whole 16-byte words, three values written and read
  for (int64_t i = 0; i < 33; ++i)
    for (int64_t j = 0; j < 7; ++j)
      CHECK(fused.results[0].at(i * 7 + j) ==
            doctest::Approx(std::tanh(xs.at(i * 7 + j) * rows.at(j) + ones.at(0)) / 2).epsilon(1e-5));
}

TEST_CASE("a value that others need is written as well") {
  const Tensor x = input("x", {5, 12});
  const Array xs = uniform_array({5, 12}, 1);
  const Tensor inner = exp(x), outer = inner * inner + 1.0f;
  const Fused fused = run_both({outer, inner}, {{x, &xs}});
  CHECK(fused.kernels == "exp+mul+add");
  const Fused summed = run_both({outer, sum(inner)}, {{x, &xs}});
  CHECK(summed.count == 2);
}

TEST_CASE("views between ops keep them apart; strided and broadcast inputs do not") {
  const Tensor x = input("x", {6, 10});
  const Array xs = uniform_array({6, 10}, 1);
  const Tensor y = exp(x);
  CHECK(run_both({neg(transpose(y)) + 1.0f}, {{x, &xs}}).count == 2);
  const Tensor square_x = input("square", {9, 9});
  const Array squares = uniform_array({9, 9}, 2);
  const Tensor e = exp(square_x);
  CHECK(run_both({e + transpose(e)}, {{square_x, &squares}}).count == 2);
  CHECK(run_both({exp(transpose(x)) * 2.0f}, {{x, &xs}}).kernels == "exp+mul");
}

TEST_CASE("integers, booleans and narrow types are values of a chain like any other") {
  const Tensor x = input("x", {3, 11});
  const Array xs = uniform_array({3, 11}, 1, -4, 4);
  const Tensor inside = logical_and(greater(x, -1.0f), less(x, 2.0f));
  const Tensor y = where(inside, x, cast(cast(x, DType::i32), DType::f32));
  CHECK(run_both({y, inside, cast(y, DType::f16)}, {{x, &xs}}, 0).count == 1);
}

TEST_CASE("a product, a reduction and a normalisation take what stands around them") {
  const Tensor x = input("x", {40, 36}), w = input("w", {36, 20}), b = input("b", {20});
  const Array xs = uniform_array({40, 36}, 1), ws = uniform_array({36, 20}, 2), bs = uniform_array({20}, 3);
  const std::vector<Feed> feeds{{x, &xs}, {w, &ws}, {b, &bs}};
  CHECK(run_both({relu(matmul(x, w) + b)}, feeds).kernels.ends_with("+add+relu"));
  const Tensor pre = matmul(x, w) + b;
  CHECK(run_both({gelu(pre), pre}, feeds).count == 1);

  const std::vector<Feed> only{{x, &xs}};
  CHECK(run_both({sqrt(sum(square(x - 0.5f), {0}) + 1e-3f)}, only).kernels ==
        "sub+square+reduce_columns_sum+add+sqrt");
  CHECK(run_both({sum(square(x), {1})}, only).kernels == "square+reduce_rows_sum");
  CHECK(run_both({log(softmax(x * 3.0f, -1))}, only, 1e-5).kernels == "mul+softmax+log");
  // Through a view, whose strides the kernel walks.
  CHECK(run_both({sum(transpose(square(x)), {0})}, only).count == 1);
}

TEST_CASE("backward passes fuse too") {
  const Tensor x = input("x", {16, 24}), w = input("w", {24, 8});
  const Array xs = uniform_array({16, 24}, 1), ws = uniform_array({24, 8}, 2);
  const std::vector<Tensor> sources{x, w};
  const Tensor loss = mean(square(silu(matmul(silu(x), w))));
  std::vector<Tensor> fetches = gradients(loss, sources);
  fetches.push_back(loss);
  run_both(fetches, {{x, &xs}, {w, &ws}}, 1e-5);
}

TEST_CASE("an update between two ops of a chain keeps its place") {
  const Tensor x = input("x", {8});
  const Array xs = uniform_array({8}, 1);
  for (const bool fuse : {false, true}) {
    const Variable v("v", uniform_array({8}, 2));
    const Array before = v.value();
    const Tensor first = v.tensor() * 2.0f;
    const Tensor update = assign(v, x);
    const Tensor second = first + x;
    ProgramOptions options;
    options.fuse = fuse;
    Program program({second}, {update}, options);
    const Feed feed{x, &xs};
    program.submit({&feed, 1});
    const Array y = program.read(0);
    for (int64_t i = 0; i < 8; ++i) CHECK(y.at(i) == doctest::Approx(before.at(i) * 2 + xs.at(i)));
  }
}

TEST_CASE("random graphs give the same numbers fused and not") {
  for (uint64_t seed = 0; seed < (testing::is_instrumented() ? 1 : 12); ++seed) {
    Philox random(seed, 99);
    const Tensor x = input("x", {12, 9}), row = input("row", {9});
    const Array xs = uniform_array({12, 9}, 10 + seed), rows = uniform_array({9}, 30 + seed);
    std::vector<Tensor> values{x, expand(row, {12, 9})};
    const auto any = [&] { return values[random.below(values.size())]; };
    for (int i = 0; i < 14; ++i) {
      switch (random.below(8)) {
        case 0: values.push_back(any() + any()); break;
        case 1: values.push_back(any() * any()); break;
        case 2: values.push_back(tanh(any())); break;
        case 3: values.push_back(sigmoid(any())); break;
        case 4: values.push_back(softmax(any(), -1)); break;
        case 5: values.push_back(expand(mean(any(), {0}, true), {12, 9})); break;
        case 6: values.push_back(any() - expand(sum(any(), {1}, true), {12, 9})); break;
        case 7: values.push_back(where(greater(any(), 0.1f), any(), any())); break;
      }
    }
    CAPTURE(seed);
    const Tensor loss = sum(values.back() * values[values.size() - 2]);
    const std::vector<Tensor> sources{x, row};
    std::vector<Tensor> fetches = gradients(loss, sources, Unreached::zero);
    fetches.insert(fetches.end(), {loss, values.back(), values[5], neg(x), neg(row)});
    run_both(fetches, {{x, &xs}, {row, &rows}}, 2e-5);
  }
}

TEST_CASE("a fused kernel hides no NaN") {
  const Tensor x = input("x", {4});
  Array xs({4}, DType::f32);
  xs.set(0, std::nan(""));
  xs.set(1, std::numeric_limits<double>::infinity());
  const Tensor y = x * 1.0f;
  Program program(
      {y - y, y * 0.0f, y / y, cast(equal(y, y), DType::f32) + 1.0f,
       cast(logical_or(not_equal(y, y), logical_not(logical_and(less_equal(y, y), greater_equal(y, y)))),
            DType::f32)});
  CHECK(program.plan().dispatches.size() == 1);
  const Feed feed{x, &xs};
  program.submit({&feed, 1});
  for (size_t fetch = 0; fetch < 3; ++fetch)
    for (int64_t i = 0; i < 2; ++i)
      CHECK_MESSAGE(std::isnan(program.read(fetch).at(i)), fetch, " ", i, " ", program.read(fetch).at(i));
  CHECK(program.read(3).at(0) == 1);
  CHECK(program.read(4).at(0) == 1);
  for (int64_t i = 1; i < 4; ++i) CHECK(program.read(3).at(i) == 2);
}

TEST_CASE("text that is no GLSL is an error that says so") {
  CHECK_THROWS_WITH_AS(compile_glsl("wrong", "#version 460\nvoid main() { x = 1; }", "", ""),
                       doctest::Contains("does not compile"), Error);
}

TEST_SUITE_END();

// Arenas of variables: one flat variable over many, old programs after a move, and flat gradients.
#include <doctest/doctest.h>

#include <algorithm>

#include "engine/core/error.h"
#include "engine/graph/device.h"
#include "engine/graph/hazard.h"
#include "engine/graph/program.h"
#include "engine/ops.h"

using namespace stithy;

namespace {

Array ramp(const Shape& shape, float first) {
  Array values(shape, DType::f32);
  for (int64_t i = 0; i < values.numel(); ++i) values.set(i, first + static_cast<float>(i));
  return values;
}

struct Pair {
  Variable a = Variable("a", ramp({3, 5}, 1)), b = Variable("b", ramp({70}, 100));
  Variable join() const { return make_arena("ab", std::vector{a, b}); }
};

}  // namespace

TEST_SUITE_BEGIN("arena");

TEST_CASE("the parts of an arena keep names and values; what changes one side changes the other") {
  Pair p;
  const Variable arena = p.join();
  REQUIRE(arena.shape() == Shape{64 + 128});
  CHECK(p.a.name() == "a");
  CHECK(same_bytes(p.a.value(), ramp({3, 5}, 1)));
  for (const bool placed : {false, true}) {
    if (placed) Program({}, {assign(arena, arena.tensor() * 2.0f)}).submit();
    const float factor = placed ? 2 : 1;
    const Array flat = arena.value();
    for (int64_t i = 0; i < 192; ++i)
      CHECK(flat.at(i) == factor * (i < 15 ? 1 + i : i >= 64 && i < 134 ? 100 + i - 64 : 0));
    CHECK(p.b.value().at(3) == factor * 103);
    p.b.set(ramp({70}, 7));
    CHECK(arena.value().at(64) == 7);
    CHECK(arena.value().at(134) == 0);
    p.b.set(ramp({70}, 100 * 2));
    if (!placed) p.b.set(ramp({70}, 100));
  }
}

TEST_CASE("an update of the arena is ordered with the use of its parts, and the other way round") {
  Pair p;
  const Variable arena = p.join();
  const Tensor before = sum(p.b.tensor());
  const Tensor doubled = assign(arena, arena.tensor() * 2.0f);
  const Tensor between = sum(p.b.tensor());
  const Tensor b = assign(p.b, p.b.tensor() + 1.0f);
  const Tensor after = sum(slice(arena, 0, 64, 134));
  Program program({before, between, after}, {doubled, b});
  program.submit();
  const double start = 70 * 100 + 69 * 35;
  CHECK(program.read(0).item() == start);
  CHECK(program.read(1).item() == 2 * start);
  CHECK(program.read(2).item() == 2 * start + 70);
  CHECK(program.plan().variables.size() == 2);
  CHECK(program.plan().variable_bytes == 768);
  // Each of the updates stands behind a barrier: without it, the proof finds the bytes they share.
  Plan plan = program.plan();
  CHECK(find_hazards(plan).empty());
  for (PlannedDispatch& dispatch : plan.dispatches) dispatch.barrier_before = false;
  CHECK(find_hazards(plan).size() >= 4);
}

TEST_CASE("programs recorded before a variable moved follow it") {
  const uint64_t allocated = device_allocated_bytes();
  {
    Pair p;
    const Tensor x = input("x", {});
    Program sums({sum(p.a.tensor()) * x, sum(p.b.tensor())}), unrelated({x + 1.0f});
    const Array one = Array::scalar(1), two = Array::scalar(2);
    const Feed feed{x, &one}, again{x, &two};
    sums.submit({&feed, 1});
    unrelated.submit({&feed, 1});
    CHECK(sums.read(0).item() == 120);
    const uint64_t recordings = sums.counters().recordings, others = unrelated.counters().recordings;

    const Variable arena = p.join();
    CHECK(same_bytes(p.a.value(), ramp({3, 5}, 1)));
    Program update({}, {assign(arena, arena.tensor() + 1.0f)});
    update.submit();
    const uint64_t run = sums.submit({&again, 1});
    unrelated.submit({&feed, 1});
    CHECK(sums.read(0).item() == 2 * (120 + 15));
    CHECK(sums.read(0, run - 1).item() == 120);  // a run before the move can still be read
    CHECK(sums.read(1).item() == 70 * 101 + 69 * 35);
    CHECK(sums.counters().recordings > recordings);
    CHECK(unrelated.counters().recordings == others);
    sums.submit({&feed, 1});
    CHECK(sums.read(0).item() == 135);
    CHECK(sums.counters().recordings == 2 * recordings);
    CHECK(sums.plan().new_variable_bytes == 0);
  }
  CHECK(device_allocated_bytes() == allocated);
}

TEST_CASE("an arena is shared, kept from others while in use, and given up afterwards") {
  Pair p;
  const Variable c("c", ramp({2}, 0));
  {
    const Variable first = p.join();
    CHECK(first == p.join());
    CHECK(first.tensor() == p.join().tensor());
    CHECK_FALSE(make_arena("swapped", std::vector{p.b, p.a}).defined());
    CHECK_FALSE(make_arena("ac", std::vector{p.a, c}).defined());
    CHECK(make_arena("c", std::vector{c}).defined());
    Program({}, {assign(first, first.tensor() + 1.0f)}).submit();
  }
  Program product({p.a.tensor() * 1.0f, p.b.tensor() * 1.0f});
  const Variable swapped = make_arena("swapped", std::vector{p.b, p.a});
  REQUIRE(swapped.defined());
  CHECK(swapped.value().at(0) == 101);
  CHECK(swapped.value().at(128) == 2);
  Program({}, {assign(swapped, swapped.tensor() + 1.0f)}).submit();
  product.submit();
  CHECK(same_bytes(product.read(0), ramp({3, 5}, 3)));
  CHECK(same_bytes(product.read(1), ramp({70}, 102)));

  CHECK_THROWS_AS(make_arena("none", {}), Error);
  CHECK_THROWS_AS(make_arena("twice", std::vector{c, c}), Error);
  CHECK_THROWS_AS(make_arena("mixed", std::vector{c, Variable("i", Array({2}, DType::i32))}), Error);
}

TEST_CASE("what is packed is made in its place, and memory that it does not need yet serves others") {
  const Tensor x = input("x", {5}), big = input("big", {2, 4096});
  // Memory full of NaN before the pieces are made, where they will be.
  const Tensor nothing = sum(log(big - 1000.0f), {0}) * 0.0f;
  const Tensor used = where(equal(nothing, nothing), 1.0f, 2.0f);
  const Tensor a = softmax(x), b = softmax(reshape(x * 2.0f, {5, 1}), 0), view = reshape(b, {5});
  const Tensor sums = cumsum(expand(x, {3, 5}), 1);
  const Tensor packed = pack(std::vector{a, view, sums, x, a, transpose(sums, 0, 1)});
  REQUIRE(packed.shape() == Shape{6 * 64});
  const std::vector<Tensor> fetches{packed, used, a, sums, sum(square(packed))};
  Program program(fetches, {}, ProgramOptions{});
  const Array filled({2, 4096}, DType::f32);
  const Array xs = ramp({5}, 1);
  const Feed feeds[] = {{x, &xs}, {big, &filled}};
  program.submit(feeds);

  const Array y = program.read(0), a_alone = program.read(2), sums_alone = program.read(3);
  double total = 0;
  for (int64_t i = 0; i < y.numel(); ++i) {
    const int64_t piece = i / 64, at = i % 64, size = piece == 2 || piece == 5 ? 15 : 5;
    if (at >= size) CHECK(y.at(i) == 0);
    total += y.at(i) * y.at(i);
    if (at >= size) continue;
    if (piece == 0 || piece == 4) CHECK(y.at(i) == a_alone.at(at));
    if (piece == 2) CHECK(y.at(i) == sums_alone.at(at));
    if (piece == 3) CHECK(y.at(i) == xs.at(at));
    if (piece == 5) CHECK(y.at(i) == sums_alone.at(at % 3 * 5 + at / 3));
  }
  CHECK(program.read(4).item() == doctest::Approx(total).epsilon(1e-6));
  CHECK(program.read(1).at(0) == 2);

  // Copies of the input, of the piece given twice and of the transposed one; then the gaps.
  std::vector<std::string> kernels;
  for (const PlannedDispatch& dispatch : program.plan().dispatches)
    if (dispatch.node == packed.node().get()) kernels.emplace_back(dispatch.call.kernel->name);
  CHECK(kernels == std::vector<std::string>{"region", "region", "region", "zero_gaps"});
  CHECK(find_hazards(program.plan()).empty());
}

TEST_CASE("a concatenation of whole rows needs no copy where its parts are aligned") {
  const Tensor x = input("x", {64});
  const Tensor a = softmax(x), b = cumsum(x, 0), rest = cumsum(a, 0);
  const Tensor both =
      concat(std::vector{reshape(a, {1, 64}), reshape(b, {1, 64}), reshape(rest, {1, 64})}, 0);
  const Tensor columns = concat(std::vector{reshape(a, {64, 1}), reshape(b, {64, 1})}, 1);
  Program program({both, columns}, {}, ProgramOptions{});
  const Array xs = ramp({64}, 0);
  const Feed feed{x, &xs};
  program.submit({&feed, 1});
  const Array y = program.read(0), z = program.read(1);
  for (int64_t i = 0; i < 64; ++i) {
    CHECK(y.at(i) == z.at(2 * i));
    CHECK(y.at(64 + i) == z.at(2 * i + 1));
  }
  CHECK(y.at(191) == doctest::Approx(1));
  for (const PlannedDispatch& dispatch : program.plan().dispatches) CHECK(dispatch.node != both.node().get());
}

TEST_SUITE_END();

// Programs: what order means, what a run costs, what is said when something is wrong.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <numeric>

#include "engine/core/error.h"
#include "engine/graph/device.h"
#include "engine/graph/op.h"
#include "engine/graph/program.h"
#include "engine/ops.h"

using namespace stithy;

namespace {

Array floats(std::initializer_list<float> values) {
  return Array(Shape{static_cast<int64_t>(values.size())}, std::span(values.begin(), values.size()));
}

void submit(Program& program, std::initializer_list<Feed> feeds) {
  program.submit(std::span(feeds.begin(), feeds.size()));
}

template <class F>
std::string error_of(F&& f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

bool says(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_SUITE_BEGIN("graph");

TEST_CASE("a node sees a variable as it was when the node was built") {
  const Variable v("v", floats({1, 2}));
  const Tensor before = v * 10.0f;
  const Tensor view_before = slice(v, 0, 1, 2), doubled_before = view_before * 2.0f;
  const Tensor update = assign(v, v + 1.0f);
  const Tensor after = v * 10.0f;
  const Tensor of_update = update * 100.0f;
  Program program({after, before, doubled_before, of_update, update}, {update});
  for (float run = 0; run < 3; ++run) {
    program.submit();
    CHECK(same_bytes(program.read(0), floats({10 * (run + 2), 10 * (run + 3)})));
    CHECK(same_bytes(program.read(1), floats({10 * (run + 1), 10 * (run + 2)})));
    CHECK(same_bytes(program.read(2), floats({2 * (run + 2)})));
    CHECK(same_bytes(program.read(3), floats({100 * (run + 2), 100 * (run + 3)})));
    CHECK(same_bytes(program.read(4), floats({run + 2, run + 3})));
  }
  CHECK(same_bytes(v.value(), floats({4, 5})));
}

TEST_CASE("several updates of a variable in one program follow each other") {
  const Variable v("v", floats({1}));
  const Tensor a = assign(v, v + 1.0f), b = v * 1.0f, c = assign(v, v * 5.0f), d = v * 1.0f;
  Program program({b, d}, {a, c});
  program.submit();
  CHECK(program.read(0).item() == 2);
  CHECK(program.read(1).item() == 10);
  program.submit();
  CHECK(program.read(0).item() == 11);
  CHECK(program.read(1).item() == 55);
}

TEST_CASE("gradient descent is one program") {
  const Variable w("w", floats({4, -3, 2}));
  const Tensor loss = sum(square(w));
  const std::vector<Tensor> targets{w};
  const Tensor step = assign(w, w - gradients(loss, targets)[0] * 0.25f);
  Program program({loss}, {step});
  double expected = 29;
  for (int i = 0; i < 20; ++i) {
    program.submit();
    CHECK(program.read(0).item() == doctest::Approx(expected));
    expected /= 4;
  }
  CHECK(w.value().at(0) == doctest::Approx(4 * std::pow(0.5, 20)));
}

TEST_CASE("programs share variables, and the host reads and sets them") {
  const Variable v("v", floats({1, 2}));
  CHECK(same_bytes(v.value(), floats({1, 2})));
  Variable copy = v;
  CHECK(copy == v);
  Program reader({v * 1.0f}), writer({}, {assign(v, v + 1.0f)});
  writer.submit();
  reader.submit();
  CHECK(same_bytes(reader.read(0), floats({2, 3})));
  v.value();
  copy.set(floats({7, 8}));
  reader.submit();
  CHECK(same_bytes(reader.read(0), floats({7, 8})));
  writer.submit();
  CHECK(same_bytes(v.value(), floats({8, 9})));
  CHECK(says(error_of([&] { copy.set(floats({1})); }), "v: is f32 [2] and cannot be set to f32 [1]"));
  CHECK_THROWS_AS(copy.set(Array({2}, DType::i32)), Error);
  copy.rename("weights");
  CHECK(v.name() == "weights");
}

TEST_CASE("a step is one submission, and nothing is recorded again") {
  const Variable v("v", floats({0, 0, 0}));
  const Tensor x = input("x", {3});
  Program program({sum(v)}, {assign(v, v + x)}, ProgramOptions{});  // whatever STITHY_DEBUG says
  const uint64_t recordings = program.counters().recordings;
  CHECK(program.counters().submissions == 0);
  const Array ones = floats({1, 1, 1});
  for (uint64_t run = 1; run <= 50; ++run) {
    const Feed feeds[] = {{x, &ones}};
    CHECK(program.submit(feeds) == run);
    CHECK(program.counters().submissions == run);
    CHECK(program.counters().runs == run);
  }
  CHECK(program.counters().recordings == recordings);
  program.wait();
  CHECK(same_bytes(v.value(), floats({50, 50, 50})));
}

TEST_CASE("feeds are copied at once, and the latest two runs can be read") {
  const Tensor x = input("x", {2});
  Program program({x * 2.0f});
  CHECK(says(error_of([&] { program.read(0); }), "nothing to read"));
  Array value = floats({0, 0});
  for (float run = 1; run <= 5; ++run) {
    value.values<float>()[0] = run;
    submit(program, {{x, &value}});
    value.values<float>()[0] = -1;
  }
  CHECK(program.read(0).at(0) == 10);
  CHECK(program.read(0, 5).at(0) == 10);
  CHECK(program.read(0, 4).at(0) == 8);
  CHECK(says(error_of([&] { program.read(0, 3); }), "run 3 cannot be read"));
  CHECK(says(error_of([&] { program.read(0, 6); }), "run 6 cannot be read"));
  CHECK(says(error_of([&] { program.read(1); }), "there is no fetch 1 of 1"));
}

TEST_CASE("a new shape plans a new program, and the old one stays good") {
  const Variable w("w", floats({1, 2, 3}));
  const auto build = [&](int64_t batch, Tensor& x) {
    x = input("x", {batch, 3});
    return Program({sum(x * w, {1})});
  };
  Tensor x2, x5;
  Program two = build(2, x2);
  const Array a({2, 3}, {1, 1, 1, 2, 2, 2});
  submit(two, {{x2, &a}});
  CHECK(same_bytes(two.read(0), floats({6, 12})));
  Program five = build(5, x5);
  Array b(Shape{5, 3}, DType::f32);
  std::ranges::fill(b.values<float>(), 1.0f);
  submit(five, {{x5, &b}});
  CHECK(same_bytes(five.read(0), floats({6, 6, 6, 6, 6})));
  submit(two, {{x2, &a}});
  CHECK(same_bytes(two.read(0), floats({6, 12})));
}

TEST_CASE("feeds that do not fit are named") {
  const Tensor x = input("x", {2, 3}), y = input("y", {2, 3}), stranger = input("stranger", {1});
  Program program({x + y}, {}, {.name = "train"});
  const Array good({2, 3}, DType::f32), transposed({3, 2}, DType::f32), integers({2, 3}, DType::i32);
  const auto say = [&](std::initializer_list<Feed> feeds) {
    return error_of([&] { submit(program, feeds); });
  };
  CHECK(says(say({{x, &good}}), "train: input y is not fed"));
  CHECK(says(say({{x, &good}, {y, &transposed}}), "train: input y is f32 [2, 3] but was fed f32 [3, 2]"));
  CHECK(says(say({{x, &integers}, {y, &good}}), "train: input x is f32 [2, 3] but was fed i32 [2, 3]"));
  CHECK(says(say({{x, &good}, {y, &good}, {stranger, &good}}), "input stranger is fed but is not an input"));
  CHECK(says(say({{x, &good}, {y, nullptr}}), "input y is fed with a null pointer"));
  CHECK(says(say({{x, &good}, {Tensor(), &good}}), "undefined"));
  // A refused run leaves the program good.
  CHECK(program.counters().runs == 0);
  CHECK(say({{x, &good}, {y, &good}}) == "no error");
  CHECK(same_bytes(program.read(0), good));
}

TEST_CASE("what goes in comes out, for every dtype and odd sizes") {
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16, DType::i32, DType::u8, DType::boolean})
    for (int64_t n = 0; n < 10; ++n) {
      CAPTURE(name_of(dtype));
      CAPTURE(n);
      const Tensor x = input("x", {n}, dtype), other = input("y", {n + 3}, dtype);
      Array value({n}, dtype), another({n + 3}, dtype);
      for (int64_t i = 0; i < n; ++i)
        value.set(i, static_cast<double>(i % 2 + (dtype == DType::boolean ? 0 : i)));
      for (int64_t i = 0; i < n + 3; ++i) another.set(i, static_cast<double>(i % 2));
      Program program({x, slice(x, 0, n / 2, n), other, Tensor(value)});
      submit(program, {{x, &value}, {other, &another}});
      CHECK(same_bytes(program.read(0), value));
      CHECK(same_bytes(program.read(1), value.rows(n / 2, n)));
      CHECK(same_bytes(program.read(2), another));
      CHECK(same_bytes(program.read(3), value));
    }
}

TEST_CASE("views are read back in row-major order") {
  Array value(Shape{2, 3, 4}, DType::f32);
  std::iota(value.values<float>().begin(), value.values<float>().end(), 0.0f);
  const Tensor x = input("x", {2, 3, 4});
  const Tensor y = slice(transpose(x, 0, 2), 1, 1, 3);
  const Tensor spread = expand(slice(x, 2, 1, 2), {2, 3, 2});
  Program program({y, spread});
  submit(program, {{x, &value}});
  const Array result = program.read(0), wide = program.read(1);
  REQUIRE(result.shape() == Shape{4, 2, 2});
  for (int64_t i = 0; i < 4; ++i)
    for (int64_t j = 0; j < 2; ++j)
      for (int64_t k = 0; k < 2; ++k)
        CHECK(result.at((i * 2 + j) * 2 + k) == value.at((k * 3 + j + 1) * 4 + i));
  for (int64_t i = 0; i < 6; ++i)
    for (int64_t j = 0; j < 2; ++j) CHECK(wide.at(i * 2 + j) == value.at(i * 4 + 1));
}

TEST_CASE("the NaN finder names op, layer and element") {
  const Tensor x = input("x", {2, 3});
  Tensor y;
  {
    const ScopeGuard encoder("encoder"), block("0");
    y = log(x);
  }
  ProgramOptions options;
  options.name = "train";
  options.find_nan = true;
  Program program({sum(y * 2.0f)}, {}, options);
  const Array good({2, 3}, {1, 2, 3, 4, 5, 6}), bad({2, 3}, {1, 0, 3, 4, 5, -1});
  submit(program, {{x, &good}});
  const std::string said = error_of([&] { submit(program, {{x, &bad}}); });
  CAPTURE(said);
  CHECK(says(said, "train: NaN first in log in layer encoder.0 (forward), element [1, 2]"));
  CHECK(says(said, "input x [2, 3]"));
  // log(0) is an infinity in the same op; it is named as the cause that may be.
  CHECK(says(said, "infinity"));
  submit(program, {{x, &good}});
  CHECK(program.read(0).item() == doctest::Approx(2 * std::log(720.0)));
  const Array nan({2, 3}, {1, 2, 3, std::nanf(""), 5, 6});
  CHECK(says(error_of([&] {
               submit(program, {{x, &nan}});
             }),
             "NaN first in input x (forward), element [1, 0]"));
}

TEST_CASE("the NaN finder sees the backward pass and variables") {
  const Variable w("w", floats({0, 1}));
  const std::vector<Tensor> targets{w};
  Tensor loss;
  {
    const ScopeGuard scope("head");
    loss = sum(sqrt(w) * Tensor(floats({0, 1})));
  }
  ProgramOptions options;
  options.find_nan = true;
  // d sqrt at 0 is infinite, and it meets a weight of 0: 0 * inf.
  Program program(gradients(loss, targets), {}, options);
  const std::string said = error_of([&] { program.submit(); });
  CAPTURE(said);
  CHECK(says(said, "in layer head (backward), element [0]"));
  Variable(w).set(floats({1, std::nanf("")}));
  CHECK(says(error_of([&] { program.submit(); }), "NaN first in variable w (forward), element [1]"));
}

TEST_CASE("guard bands and submit-each change no result") {
  const Tensor x = input("x", {37, 5});
  const Tensor y = exp(x) * 2.0f + sum(square(x), {1}, true);
  Array value(Shape{37, 5}, DType::f32);
  for (int64_t i = 0; i < value.numel(); ++i) value.set(i, std::sin(static_cast<double>(i)));
  std::vector<Array> results;
  // find_nan looks at every op by itself, so only an unfused program rounds as it does.
  for (const ProgramOptions& options :
       {ProgramOptions{.fuse = false}, ProgramOptions{.guard = true, .fuse = false},
        ProgramOptions{.submit_each = true, .fuse = false}, ProgramOptions{.find_nan = true}}) {
    Program program({y, x}, {}, options);
    for (int run = 0; run < 3; ++run) {
      submit(program, {{x, &value}});
      results.push_back(program.read(0));
      CHECK(same_bytes(results.back(), results.front()));
      CHECK(same_bytes(program.read(1), value));
    }
    if (options.guard) CHECK_NOTHROW(program.check_guards());
    if (!options.guard) CHECK(says(error_of([&] { program.check_guards(); }), "has no guard bands"));
  }
}

TEST_CASE("raw timestamps become nanoseconds") {
  vk::DeviceInfo device;
  CHECK_FALSE(device.timestamps());
  device.timestamp_bits = 36;
  device.timestamp_period_ns = std::numeric_limits<double>::infinity();
  CHECK_FALSE(device.timestamps());
  device.timestamp_period_ns = 52.08;
  CHECK(device.timestamps());
  CHECK(device.nanoseconds(100, 103) == doctest::Approx(156.24));
  CHECK(device.nanoseconds((uint64_t{1} << 36) - 1, 2) == doctest::Approx(156.24));
  CHECK(device.nanoseconds(0xfff0000000000001, 2) == doctest::Approx(52.08));  // bits without a value
  device.timestamp_bits = 64;
  CHECK(device.nanoseconds(UINT64_MAX, 0) == doctest::Approx(52.08));
  device.timestamp_bits = 0;
  CHECK_FALSE(device.timestamps());
}

TEST_CASE("a program times each of its kernels") {
  if (!default_device_info().timestamps()) return;
  const Tensor small = input("small", {4}), large = input("large", {1 << 20});
  const Tensor y = exp(large), z = small * 2.0f;
  const Array four(Shape{4}, DType::f32), many(Shape{1 << 20}, DType::f32);
  for (const bool submit_each : {false, true}) {
    Program program({z, y}, {}, {.timestamps = true, .submit_each = submit_each});
    const size_t count = program.plan().dispatches.size();
    CHECK(says(error_of([&] { program.dispatch_ns(); }), "no run was submitted"));
    for (int run = 0; run < 3; ++run) submit(program, {{small, &four}, {large, &many}});
    const std::vector<double> before = program.dispatch_ns(2), last = program.dispatch_ns();
    REQUIRE(last.size() == count);
    REQUIRE(before.size() == count);
    CHECK(before != last);
    CHECK(last == program.dispatch_ns(3));
    CHECK(says(error_of([&] { program.dispatch_ns(1); }), "run 1 cannot be read"));
    // Not a promise about speed: a million exponentials cannot be quicker than 4 products, nor take an hour.
    // The least of several runs, since any one may be held up by what else the machine does.
    std::vector<double> least = last;
    for (int run = 0; run < 10; ++run) {
      submit(program, {{small, &four}, {large, &many}});
      const std::vector<double> now = program.dispatch_ns();
      for (size_t i = 0; i < count; ++i) least[i] = std::min(least[i], now[i]);
    }
    double of_large = 0, of_small = 0;
    for (size_t i = 0; i < count; ++i)
      (program.plan().dispatches[i].node == y.node().get() ? of_large : of_small) += least[i];
    CHECK(of_large > of_small);
    CHECK(of_large < 3.6e12);
    CHECK(program.read(1).at(0) == 1);
  }
  Program plain({z}, {}, ProgramOptions{});
  CHECK(says(error_of([&] { plain.dispatch_ns(); }), "set ProgramOptions::timestamps"));
}

TEST_CASE("STITHY_DEBUG") {
  setenv("STITHY_DEBUG", "nan,guard,submit-each", 1);
  const ProgramOptions options = ProgramOptions::from_environment();
  setenv("STITHY_DEBUG", "nans", 1);
  const std::string said = error_of([] { ProgramOptions::from_environment(); });
  unsetenv("STITHY_DEBUG");
  CHECK(options.find_nan);
  CHECK(options.guard);
  CHECK(options.submit_each);
  CHECK(
      says(said, "STITHY_DEBUG: does not know \"nans\"\nHINT: use nan, guard, plan, submit-each or unfused"));
  CHECK_FALSE(ProgramOptions::from_environment().find_nan);
}

TEST_CASE("programs move, and end while work is under way") {
  const Tensor x = input("x", {1 << 16});
  Tensor y = x;
  for (int i = 0; i < 20; ++i) y = tanh(y) + 0.1f;
  const Array value(Shape{1 << 16}, DType::f32);
  Program a({sum(y)});
  submit(a, {{x, &value}});
  const double result = a.read(0).item();
  Program b({sum(y)});
  submit(b, {{x, &value}});
  Program c = std::move(b);
  CHECK(c.read(0).item() == result);
  submit(a, {{x, &value}});
  a = std::move(c);
  CHECK(a.read(0).item() == result);
  submit(a, {{x, &value}});
}

TEST_CASE("eval, item and constants") {
  CHECK((Tensor(2.0f) + Tensor(floats({1, 2}))).eval().at(1) == 4);
  CHECK(sum(Tensor(floats({1, 2, 3}))).item() == 6);
  CHECK_THROWS_AS((Tensor(floats({1, 2})) * 1.0f).item(), Error);
  CHECK(Tensor(floats({1, 2})).dim(-1) == 2);
  CHECK_THROWS_AS(Tensor(floats({1, 2})).dim(1), Error);
  CHECK(Tensor(2.0f).node()->label() == "constant");
  CHECK(input("x", {1}).node()->label() == "input x");
  CHECK(says(error_of([] { input("x", {1}).eval(); }), "input x is not fed"));
}

TEST_CASE("the graph's own mistakes") {
  CHECK(says(error_of([] { Program({Tensor()}); }), "undefined"));
  const OpDef* first = all_ops().front();
  CHECK_THROWS_AS(define_op({.name = first->name}), Error);
  CHECK(std::ranges::is_sorted(all_ops(), {}, &OpDef::name));
  static const OpDef op = {.name = "update"};
  const Variable v("v", floats({1, 2, 3}));
  CHECK(says(error_of([] { make_update(op, {}, {Tensor(1.0f)}); }), "update: input 0 is not a variable"));
  CHECK_THROWS_AS(make_update(op, {}, {slice(v, 0, 0, 2)}), Error);
  CHECK_NOTHROW(make_update(op, {}, {make_update(op, {}, {v})}));
  static const OpDef idle = {.name = "idle"};
  const Tensor y = make_node(idle, {}, {v}, {{Shape{3}, DType::f32}});
  CHECK(says(error_of([&] { Program({y}); }), "idle: has no kernel for this device"));
}

TEST_CASE("the device of a process is chosen once") {
  const std::string name = default_device_info().name;
  CHECK_NOTHROW(set_default_device(name));
  CHECK_THROWS_AS(set_default_device("no such device"), Error);
  CHECK(default_device_info().name == name);
  CHECK(device_available_bytes() > 0);
}

TEST_SUITE_END();

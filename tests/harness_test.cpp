// The harness proves itself: it passes a right op and rejects wrong ones, each for the right reason.
#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "engine/graph/op.h"
#include "engine/ops.h"
#include "engine/ops/elements.h"
#include "shaders/fill.h"
#include "shaders/unary.h"
#include "tests/harness.h"

using namespace stithy;
using namespace stithy::testing;

namespace {

// y = x^2, by the kernel of the real op.
shaders::unary squares(const Node& n, Launch& launch) {
  const Elements e = walk_elements(n.out().shape, {operand(n.in(0))});
  return {.x = launch.in(0),
          .y = launch.out(),
          .push = {.count = e.count, .x_offset = e[0].offset, .shape = e.shape, .x_strides = e[0].strides},
          .spec = {.local_size_x = 64, .DIMS = e.dims, .X_MODE = e[0].mode},
          .variant = shaders::unary::Variant::square};
}

void launch_squares(const Node& n, Launch& launch) {
  const shaders::unary kernel = squares(n, launch);
  launch(kernel, launch.grid(kernel.push.count / 256 + 1));
}

// Fills `count` elements from the start of the output.
void fill(const Node&, Launch& launch, uint32_t count, float value) {
  launch(shaders::fill{.y = launch.out(),
                       .push = {.count = count, .value = std::bit_cast<uint32_t>(value)},
                       .spec = {.local_size_x = 64}},
         launch.grid(count / 256 + 1));
}

uint32_t count_of(const Node& n) { return static_cast<uint32_t>(n.out().shape.numel()); }

std::vector<Tensor> right_gradient(const Backward& b) { return {b.dy() * (b.x() + b.x())}; }
std::vector<Tensor> right_composition(const Node& n) { return {n.in(0) * n.in(0)}; }

const OpDef kRight = {
    .name = "right", .launch = launch_squares, .gradient = right_gradient, .composition = right_composition};

std::vector<Reference> square_reference(std::span<const Reference> xs) {
  Reference y = xs[0];
  for (double& value : y.values) value *= value;
  return {y};
}

Case case_of(const OpDef& op) {
  return {.name = "squares",
          .arguments = {{.shape = {5, 7}}},
          .build = [&op](std::span<const Tensor> xs) -> std::vector<Tensor> {
            return {make_node(op, {}, {xs[0]}, {{xs[0].shape(), DType::f32}})};
          },
          .reference = square_reference};
}

Verdict verdict_of(const OpDef& op, const std::function<void(Case&)>& change = {}) {
  Case test = case_of(op);
  if (change) change(test);
  return run_case(std::string(op.name), test);
}

// True when there are failures and all of them begin with one of `checks`.
bool fails(const Verdict& verdict, std::initializer_list<std::string_view> checks) {
  for (const std::string& failure : verdict.failures) {
    const bool expected = std::ranges::any_of(checks, [&](auto check) { return failure.starts_with(check); });
    if (expected) continue;
    MESSAGE("unexpected: ", failure);
    return false;
  }
  return !verdict.failures.empty();
}

}  // namespace

TEST_SUITE_BEGIN("harness");

TEST_CASE("a right op passes, and its kernels are seen") {
  const Verdict verdict = verdict_of(kRight);
  for (const std::string& failure : verdict.failures) FAIL_CHECK(failure);
  CHECK(verdict.kernels == std::set<std::string>{"unary_square", "binary_add", "binary_mul"});
  CHECK(verdict.forward_error < 2e-7);
  CHECK(verdict.gradient_error < 2e-6);
  const Row row{"right", {case_of(kRight)}};
  CHECK(kernels_of(row) == verdict.kernels);
  CHECK(ops_of(row) == std::set<std::string>{"right", "add", "mul"});
}

TEST_CASE("quick runs judge the same") {
  CHECK(run_case("right", case_of(kRight), true).failures.empty());
  const Verdict wrong = run_case("another", case_of(kRight), true);
  CHECK(fails(wrong, {"op: the graph has no node of another"}));
}

TEST_CASE("a wrong value in four elements") {
  static const OpDef op = {.name = "wrong_value", .launch = [](const Node& n, Launch& launch) {
                             launch_squares(n, launch);
                             fill(n, launch, 4, 0.5f);
                           }};
  const Verdict verdict = verdict_of(op, [](Case& test) { test.gradient = false; });
  CHECK(fails(verdict, {"forward, contiguous", "forward, window", "forward, strided"}));
  CHECK(verdict.failures.size() == 3);
  CHECK(verdict.forward_error > 0.1);
}

TEST_CASE("elements that are not written") {
  static const OpDef op = {.name = "unwritten", .launch = [](const Node& n, Launch& launch) {
                             shaders::unary kernel = squares(n, launch);
                             kernel.push.count -= 4;
                             launch(kernel, launch.grid(1));
                           }};
  const Verdict verdict = verdict_of(op, [](Case& test) { test.gradient = false; });
  CHECK(fails(verdict, {"forward", "repeatability"}));
  CHECK(verdict.failures.at(0).find("memory holds NaN until it is written") != std::string::npos);
}

TEST_CASE("strides and offset ignored") {
  static const OpDef op = {.name = "no_strides", .launch = [](const Node& n, Launch& launch) {
                             shaders::unary kernel = squares(n, launch);
                             kernel.spec.X_MODE = static_cast<uint32_t>(Walk::contiguous);
                             kernel.push.x_offset = 0;
                             launch(kernel, launch.grid(1));
                           }};
  const Verdict verdict = verdict_of(op, [](Case& test) { test.gradient = false; });
  CHECK(fails(verdict, {"forward, window", "forward, strided"}));
  CHECK(verdict_of(op, [](Case& test) { test.gradient = test.strided = false; }).failures.empty());
}

TEST_CASE("a write beyond the output") {
  static const OpDef op = {.name = "overrun", .launch = [](const Node& n, Launch& launch) {
                             fill(n, launch, count_of(n) + 8, 1.0f);
                             launch_squares(n, launch);
                           }};
  const Verdict verdict = verdict_of(op, [](Case& test) { test.gradient = false; });
  CHECK(fails(verdict, {"guard bands"}));
  CHECK(verdict.failures.at(0).find("after output 0 of overrun") != std::string::npos);
}

TEST_CASE("a wrong gradient") {
  static const OpDef op = {.name = "wrong_gradient",
                           .launch = launch_squares,
                           .gradient = [](const Backward& b) { return std::vector<Tensor>{b.dy() * b.x()}; }};
  CHECK(fails(verdict_of(op), {"gradient, contiguous", "gradient, window", "gradient, strided"}));
  static const OpDef slightly = {
      .name = "slightly_wrong", .launch = launch_squares, .gradient = [](const Backward& b) {
        return std::vector<Tensor>{b.dy() * (b.x() + b.x()) * 1.0001f};
      }};
  CHECK(fails(verdict_of(slightly), {"gradient"}));
}

TEST_CASE("a gradient that is missing, or of another shape") {
  static const OpDef missing = {.name = "missing", .launch = launch_squares, .gradient = [](const Backward&) {
                                  return std::vector<Tensor>{Tensor()};
                                }};
  CHECK(fails(verdict_of(missing), {"gradient"}));
  static const OpDef none = {.name = "none", .launch = launch_squares};
  CHECK(fails(verdict_of(none), {"error: gradients: none is not differentiable"}));
  static const OpDef shape = {.name = "shape", .launch = launch_squares, .gradient = [](const Backward& b) {
                                return std::vector<Tensor>{sum(b.dy())};
                              }};
  CHECK(fails(verdict_of(shape), {"error: gradients: the gradient of shape"}));
}

TEST_CASE("a composition that is another function, or another gradient") {
  static const OpDef op = {.name = "wrong_composition",
                           .launch = launch_squares,
                           .gradient = right_gradient,
                           .composition = [](const Node& n) { return std::vector<Tensor>{n.in(0) * 2.0f}; }};
  CHECK(fails(verdict_of(op), {"composition of wrong_composition, output 0",
                               "composition of wrong_composition, gradient of input 0"}));
  static const OpDef gradient = {
      .name = "wrong_composed_gradient",
      .launch = launch_squares,
      .gradient = right_gradient,
      .composition = [](const Node& n) { return std::vector<Tensor>{n.in(0) * stop_gradient(n.in(0))}; }};
  CHECK(fails(verdict_of(gradient), {"composition of wrong_composed_gradient, gradient of input 0"}));
}

TEST_CASE("a candidate that is wrong, forward or in the gradient's own kernels") {
  static const OpDef op = {.name = "wrong_candidate", .launch = [](const Node& n, Launch& launch) {
                             launch_squares(n, launch);
                             if (launch.choose({.key = "any", .labels = {"a", "b", "c"}}) == 2)
                               fill(n, launch, 4, 0.5f);
                           }};
  const Verdict verdict = verdict_of(op, [](Case& test) { test.gradient = false; });
  CHECK(fails(verdict, {"candidate 2", "fused, candidate 2"}));

  static const OpDef backward = {.name = "wrong_backward_candidate_backward",
                                 .launch = [](const Node& n, Launch& launch) {
                                   launch_squares(n, launch);
                                   if (launch.choose({.key = "any", .labels = {"a", "b"}}) == 1)
                                     fill(n, launch, 4, 0.5f);
                                 }};
  static const OpDef forward = {
      .name = "wrong_backward_candidate", .launch = launch_squares, .gradient = [](const Backward& b) {
        const Tensor zero = make_node(backward, {}, {b.x()}, {{b.x().shape(), DType::f32}}) - b.y();
        return std::vector<Tensor>{b.dy() * (b.x() + b.x()) + zero};
      }};
  const Verdict late = verdict_of(forward, [](Case& test) { test.strided = false; });
  CHECK(fails(late, {"candidate 1, contiguous, result 1", "fused"}));
}

TEST_CASE("results that change from run to run") {
  // Below the tolerance: only the comparison of bytes can tell.
  static int builds = 0;
  const Verdict verdict = verdict_of(kRight, [](Case& test) {
    test.build = [](std::span<const Tensor> xs) -> std::vector<Tensor> {
      const Tensor noise = 1.0f + 1.2e-7f * static_cast<float>(++builds);
      return {make_node(kRight, {}, {xs[0] * noise}, {{xs[0].shape(), DType::f32}})};
    };
    test.strided = false;
  });
  CHECK(fails(verdict, {"repeatability"}));
}

TEST_CASE("references that do not fit") {
  const auto with = [](auto reference) {
    return verdict_of(kRight, [&](Case& test) { test.reference = reference, test.gradient = false; });
  };
  using References = std::vector<Reference>;
  CHECK(fails(with([](std::span<const Reference>) { return References{}; }), {"forward: 1 outputs"}));
  CHECK(fails(with([](std::span<const Reference>) {
                return References{Reference({5, 6})};
              }),
              {"forward, contiguous, output 0: the shape is [5, 7], not [5, 6]", "forward"}));
  CHECK(fails(with([](std::span<const Reference> xs) {
                References ys = square_reference(xs);
                ys[0][3] = std::numeric_limits<double>::quiet_NaN();
                return ys;
              }),
              {"forward"}));
  CHECK(fails(with([](std::span<const Reference> xs) {
                References ys = square_reference(xs);
                ys[0][34] *= 1 + 1e-4;
                return ys;
              }),
              {"forward"}));
}

TEST_CASE("results that are not f32 are compared exactly") {
  Case test = {.name = "integers",
               .arguments = {{.shape = {9}, .dtype = DType::i32, .low = -50, .high = 50}},
               .build = [](std::span<const Tensor> xs) -> std::vector<Tensor> { return {add(xs[0], xs[0])}; },
               .reference =
                   [](std::span<const Reference> xs) {
                     Reference y = xs[0];
                     for (double& value : y.values) value *= 2;
                     return std::vector<Reference>{y};
                   }};
  CHECK(run_case("add", test).failures.empty());
  test.reference = [](std::span<const Reference> xs) {
    Reference y = xs[0];
    for (double& value : y.values) value *= 2;
    y[8] += 1;
    return std::vector<Reference>{y};
  };
  CHECK(fails(run_case("add", test), {"forward"}));
}

TEST_CASE("an exception is a failure, not the end") {
  const Verdict verdict = verdict_of(kRight, [](Case& test) {
    test.build = [](std::span<const Tensor>) -> std::vector<Tensor> { throw Error("softmax", "on purpose"); };
  });
  CHECK(fails(verdict, {"error: softmax: on purpose"}));
}

TEST_CASE("arguments keep their promises") {
  std::vector<Reference> seen;
  Case test = case_of(kRight);
  test.gradient = test.strided = false;
  test.arguments = {{.shape = {7, 9}, .low = -1, .high = 1, .avoid = {0, 0.5}, .margin = 0.125},
                    {.shape = {40}, .low = -2, .high = 3, .margin = 0.1, .distinct = true},
                    {.shape = {50}, .dtype = DType::i32, .low = 3, .high = 5},
                    {.shape = {50}, .dtype = DType::boolean},
                    {.shape = {50}, .dtype = DType::bf16}};
  test.reference = [&](std::span<const Reference> xs) {
    seen.assign(xs.begin(), xs.end());
    return square_reference(xs);
  };
  for (const std::string& failure : run_case("right", test).failures) FAIL_CHECK(failure);
  REQUIRE(seen.size() == 5);
  for (double x : seen[0].values) {
    CHECK(std::abs(x) >= 0.1249);
    CHECK(std::abs(x - 0.5) >= 0.1249);
    CHECK(std::abs(x) <= 1);
  }
  std::vector<double> sorted = seen[1].values;
  std::ranges::sort(sorted);
  for (size_t i = 1; i < sorted.size(); ++i) CHECK(sorted[i] - sorted[i - 1] > 0.0999);
  CHECK(std::ranges::min(seen[2].values) == 3);
  CHECK(std::ranges::max(seen[2].values) == 5);
  for (double x : seen[3].values) CHECK((x == 0 || x == 1));
  for (double x : seen[4].values) CHECK(bf16_to_f32(f32_to_bf16(static_cast<float>(x))) == x);
  const std::vector<Reference> first = seen;
  run_case("right", test);
  for (size_t i = 0; i < 5; ++i) CHECK(first[i].values == seen[i].values);
  test.arguments[1].margin = 0.5;
  CHECK(fails(run_case("right", test), {"error: harness: 40 values"}));
}

TEST_CASE("broadcast_at") {
  const Reference x({2, 1}, {10, 20});
  CHECK(broadcast_at(x, {3, 2, 4}, 0) == 10);
  CHECK(broadcast_at(x, {3, 2, 4}, 3) == 10);
  CHECK(broadcast_at(x, {3, 2, 4}, 4) == 20);
  CHECK(broadcast_at(x, {3, 2, 4}, 8) == 10);
  CHECK(broadcast_at(Reference({}, {5}), {3, 2}, 5) == 5);
  CHECK(broadcast_at(Reference({3}, {1, 2, 3}), {2, 3}, 4) == 2);
}

TEST_SUITE_END();

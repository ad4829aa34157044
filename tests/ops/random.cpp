// Rows of the random ops; their distributions are tested in tests/random_test.cpp.
#include "tests/harness.h"

#include <cmath>
#include <numbers>

#include "engine/core/rng.h"
#include "engine/ops.h"

namespace stithy::testing {
namespace {

constexpr uint64_t kSeed = 0x123456789abcdef0u;

// The uniform numbers in [0, 1) that a generator's first random op draws.
Reference drawn(const Shape& shape) {
  Reference u(shape);
  for (int64_t i = 0; i < u.numel(); ++i) {
    const auto words = philox({static_cast<uint32_t>(i / 4), 0, 0, 0},
                              {static_cast<uint32_t>(kSeed), static_cast<uint32_t>(kSeed >> 32)});
    u[i] = static_cast<double>(words[static_cast<size_t>(i % 4)] >> 8) * 0x1p-24;
  }
  return u;
}

using Make = Tensor (*)(const Shape& shape, Generator& generator);
using Transform = void (*)(Reference& u);

Case random_case(const std::string& name, const Shape& shape, Make make, Transform transform,
                 double tolerance) {
  return {.name = name,
          .build =
              [=](auto) {
                Generator generator(kSeed);
                return std::vector{make(shape, generator)};
              },
          .reference =
              [=](auto) {
                Reference u = drawn(shape);
                transform(u);
                return std::vector{u};
              },
          .tolerance = tolerance,
          .gradient = false};
}

std::vector<Case> cases_of(Make make, Transform transform, double tolerance) {
  return {random_case("odd size", {7, 113}, make, transform, tolerance),
          random_case("a scalar", {}, make, transform, tolerance)};
}

const bool kUniformRow =
    add_row({.op = "uniform",
             .cases = cases_of([](const Shape& s, Generator& g) { return uniform(s, 0, 1, g); },
                               [](Reference&) {}, 0)});

const bool kNormalRow =
    add_row({.op = "normal",
             .cases = cases_of([](const Shape& s, Generator& g) { return normal(s, 1, 3, g); },
                               [](Reference& u) {
                                 Reference whole = drawn({(u.numel() + 3) / 4 * 4});
                                 for (int64_t i = 0; i < u.numel(); ++i) {
                                   const double radius = std::sqrt(-2 * std::log(1 - whole[i / 2 * 2]));
                                   const double angle = 2 * std::numbers::pi * whole[i / 2 * 2 + 1];
                                   u[i] = 1 + 3 * radius * (i % 2 ? std::sin(angle) : std::cos(angle));
                                 }
                               },
                               2e-6)});

const bool kBernoulliRow =
    add_row({.op = "bernoulli",
             .cases = cases_of([](const Shape& s, Generator& g) { return bernoulli(s, 0.3f, g); },
                               [](Reference& u) {
                                 for (double& v : u.values) v = v < 0.3f;
                               },
                               0)});

Case dropout_case(const std::string& name, const Shape& shape, float p) {
  return {.name = name,
          .arguments = {{.shape = shape}},
          .build =
              [=](auto xs) {
                Generator generator(kSeed);
                return std::vector{dropout(xs[0], p, generator)};
              },
          .reference =
              [=](auto xs) {
                Reference y = drawn(xs[0].shape);
                for (int64_t i = 0; i < y.numel(); ++i) y[i] = y[i] >= p ? xs[0][i] / (1 - p) : 0;
                return std::vector{y};
              }};
}
const bool kDropoutRow = add_row({.op = "dropout",
                                  .cases = {dropout_case("odd size", {7, 113}, 0.3f),
                                            dropout_case("none", {9}, 0), dropout_case("all", {9}, 1)}});

}  // namespace
}  // namespace stithy::testing

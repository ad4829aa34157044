#include "nn/explain.h"

#include <doctest/doctest.h>

#include <cmath>

#include "engine/core/error.h"
#include "engine/graph/program.h"
#include "nn/nn.h"

using namespace stithy;

namespace {
Array wave(const Shape& shape) {
  Array x(shape, DType::f32);
  for (int64_t i = 0; i < x.numel(); ++i) x.set(i, std::sin(static_cast<double>(i) * 1.3));
  return x;
}
// Smooth, so that central differences are near the gradient; dropout shows that evaluation mode is on.
nn::Sequential net() {
  nn::manual_seed(5);
  return nn::Sequential{nn::Conv2d(1, 3, {3}, {.padding = {1}}), nn::Tanh(), nn::Dropout(0.5f), nn::Flatten(),
                        nn::Linear(3 * 5 * 4, 4)};
}
const std::vector<int32_t> kClasses{2, 0};
}  // namespace

TEST_SUITE("explain") {
  TEST_CASE("the gradient is that of central differences, and the mode comes back") {
    nn::Sequential model = net();
    Array x = wave({2, 1, 5, 4});
    const Array gradient = nn::input_gradient(model, x, kClasses);
    CHECK(model.training());
    CHECK(gradient.shape() == x.shape());
    model.eval();
    const Tensor in = input("x", x.shape());
    Program logits({model(in)});
    const auto logit = [&](int64_t item) {
      const Feed feed{in, &x};
      logits.submit({&feed, 1});
      return logits.read(0).at(item * 4 + kClasses[static_cast<size_t>(item)]);
    };
    for (const int64_t i : {0, 7, 13, 19, 20, 31, 39}) {
      const double value = x.at(i), step = 1.0 / 128;
      x.set(i, value + step);
      const double above = logit(i / 20);
      x.set(i, value - step);
      const double below = logit(i / 20);
      x.set(i, value);
      CHECK(gradient.at(i) == doctest::Approx((above - below) / (2 * step)).epsilon(1e-3));
    }
  }

  TEST_CASE("integrated gradients are complete; of a linear model they are weight times difference") {
    nn::Sequential model = net();
    const Array x = wave({2, 1, 5, 4});
    const nn::Attributions fine = nn::integrated_gradients(model, x, kClasses, 64, 0.25f);
    for (double error : fine.completeness_error) CHECK(error < 1e-3);
    nn::Sequential linear{nn::Flatten(), nn::Linear(4, 3)};
    const Array weight = dynamic_cast<const nn::Linear&>(linear[1]).weight.value();
    const Array y = wave({2, 4});
    const nn::Attributions exact = nn::integrated_gradients(linear, y, kClasses, 1, 0.5f);
    for (int64_t i = 0; i < 8; ++i)
      CHECK(exact.values.at(i) ==
            doctest::Approx((y.at(i) - 0.5) * weight.at(kClasses[static_cast<size_t>(i / 4)] * 4 + i % 4)));
    CHECK(exact.completeness_error[1] < 1e-4);
  }

  TEST_CASE("Grad-CAM before a global mean is the class activation map, resampled") {
    nn::Sequential model{nn::Function("Identity", [](const Tensor& x) { return x * 1.0f; }),
                         nn::AdaptiveAvgPool2d(1), nn::Flatten(), nn::Linear(2, 3)};
    const Array weight = dynamic_cast<const nn::Linear&>(model[3]).weight.value();
    const Array x = wave({2, 2, 4, 4});
    const Array map = nn::grad_cam(model, "0", x, kClasses);
    REQUIRE(map.shape() == Shape{2, 4, 4});
    for (int64_t i = 0; i < 32; ++i) {
      const int64_t item = i / 16, row = kClasses[static_cast<size_t>(item)];
      double sum = 0;
      for (int64_t c = 0; c < 2; ++c) sum += weight.at(row * 2 + c) / 16 * x.at(item * 32 + c * 16 + i % 16);
      CHECK(map.at(i) == doctest::Approx(std::max(sum, 0.0)).epsilon(1e-4));
    }
    nn::Sequential strided{nn::Conv2d(1, 3, {2}, {.stride = {2}}), nn::Flatten(), nn::Linear(12, 3)};
    CHECK(nn::grad_cam(strided, "0", wave({2, 1, 4, 4}), kClasses).shape() == Shape{2, 4, 4});
    CHECK_THROWS_AS(nn::grad_cam(model, "conv", x, kClasses), Error);
    CHECK_THROWS_AS(nn::grad_cam(model, "3", x, kClasses), Error);
  }

  TEST_CASE("occlusion of a linear model: what the hidden elements contributed") {
    nn::Sequential model{nn::Flatten(), nn::Linear(16, 3)};
    const Array weight = dynamic_cast<const nn::Linear&>(model[1]).weight.value();
    const Array x = wave({2, 4, 4});
    const auto part = [&](int64_t i, double fill) {
      return (x.at(i) - fill) * weight.at(kClasses[static_cast<size_t>(i / 16)] * 16 + i % 16);
    };
    const Array single = nn::occlusion(model, x, kClasses, 1, 1, 0.5f);
    const Array blocks = nn::occlusion(model, x, kClasses, 2, 2);
    for (int64_t i = 0; i < 32; ++i) {
      CHECK(single.at(i) == doctest::Approx(part(i, 0.5)).epsilon(1e-3));
      const int64_t corner = i / 16 * 16 + i % 16 / 8 * 8 + i % 4 / 2 * 2;
      const double block = part(corner, 0) + part(corner + 1, 0) + part(corner + 4, 0) + part(corner + 5, 0);
      CHECK(blocks.at(i) == doctest::Approx(block).epsilon(1e-3));
    }
    // Windows of 3, 2 apart: the last one begins at 1, and all elements are covered.
    const Array overlapping = nn::occlusion(model, x, kClasses, 3, 2);
    for (int64_t i = 0; i < 32; ++i) CHECK(std::isfinite(overlapping.at(i)));
    CHECK_THROWS_AS(nn::occlusion(model, x, kClasses, 5), Error);
    CHECK_THROWS_AS(nn::occlusion(model, x, kClasses, 1, 2), Error);
  }

  TEST_CASE("what cannot be explained") {
    nn::Sequential model{nn::Flatten(), nn::Linear(4, 3)};
    const Array x = wave({2, 4});
    CHECK_THROWS_AS(nn::input_gradient(model, x, std::vector<int32_t>{0}), Error);
    CHECK_THROWS_AS(nn::input_gradient(model, x, std::vector<int32_t>{0, 3}), Error);
    CHECK_THROWS_AS(nn::input_gradient(model, Array({2, 4}, DType::u8), kClasses), Error);
    CHECK_THROWS_AS(nn::integrated_gradients(model, x, kClasses, 0), Error);
    CHECK_THROWS_AS(nn::occlusion(model, x, kClasses, 1), Error);
  }
}

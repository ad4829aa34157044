#include "nn/data/mix.h"

#include <doctest/doctest.h>

#include <cmath>

#include "engine/core/error.h"

using namespace stithy;

namespace {
// Image i is filled with `values[i]` and has the label i.
Batch batch_of(std::vector<int> values, int64_t count, DType dtype) {
  const int64_t n = static_cast<int64_t>(values.size());
  Batch batch{{Array({n, 3, 8, 10}, dtype), Array({n}, DType::i32)}, count, 0, 0};
  for (int64_t i = 0; i < batch.columns[0].numel(); ++i)
    batch.columns[0].set(i, values[static_cast<size_t>(i / 240)]);
  for (int64_t i = 0; i < n; ++i) batch.columns[1].set(i, i < count ? static_cast<double>(i) : kIgnoreIndex);
  return batch;
}
}  // namespace

TEST_SUITE("mix") {
  TEST_CASE("Beta: mean, variance and the uniform case") {
    for (const auto& [a, b] : {std::pair(0.2, 0.2), {1.0, 1.0}, {2.0, 5.0}, {0.01, 0.01}}) {
      CAPTURE(a);
      Philox random(17);
      double sum = 0, squares = 0;
      int below = 0;
      for (int i = 0; i < 20000; ++i) {
        const double x = draw_beta(random, a, b);
        REQUIRE(x >= 0);
        REQUIRE(x <= 1);
        sum += x, squares += x * x, below += x < 0.25;
      }
      const double mean = sum / 20000, variance = squares / 20000 - mean * mean;
      CHECK(mean == doctest::Approx(a / (a + b)).epsilon(0.03));
      CHECK(variance == doctest::Approx(a * b / ((a + b) * (a + b) * (a + b + 1))).epsilon(0.04));
      if (a == 1) CHECK(std::abs(below - 5000) < 250);
    }
    Philox random(1);
    for (double wrong : {0.0, -1.0, std::nan(""), HUGE_VAL})
      CHECK_THROWS_AS(draw_beta(random, wrong, 1), Error);
  }

  TEST_CASE("MixUp: pixels and labels by one share; padding stays") {
    for (DType dtype : {DType::u8, DType::f32}) {
      Batch batch = batch_of({10, 110, 210, 77}, 3, dtype);
      Philox random(5), same(5);
      MixUp{.classes = 3, .alpha = 1}(batch, random);
      const double lambda = draw_beta(same, 1, 1);
      REQUIRE(lambda > 0.05);
      REQUIRE(lambda < 0.95);
      CHECK(batch.columns[0].dtype() == dtype);
      CHECK(batch.columns[1].dtype() == DType::f32);
      CHECK(batch.columns[1].shape() == Shape{4, 3});
      const int values[] = {10, 110, 210};
      for (int i = 0; i < 3; ++i) {
        const int other = (i + 2) % 3;
        CHECK(batch.columns[0].at(240 * i) ==
              doctest::Approx(lambda * values[i] + (1 - lambda) * values[other])
                  .epsilon(dtype == DType::u8 ? 0.02 : 1e-6));
        CHECK(batch.columns[0].at(240 * i + 239) == batch.columns[0].at(240 * i));
        CHECK(batch.columns[1].at(3 * i + i) == doctest::Approx(lambda));
        CHECK(batch.columns[1].at(3 * i + other) == doctest::Approx(1 - lambda));
      }
      CHECK(batch.columns[0].at(720) == 77);
      for (int64_t c = 0; c < 3; ++c) CHECK(batch.columns[1].at(9 + c) == 0);
    }
    // One class for both, and a single image.
    Batch lone = batch_of({10}, 1, DType::u8);
    Philox random(2);
    MixUp{.classes = 1}(lone, random);
    CHECK(lone.columns[0].at(0) == 10);
    CHECK(lone.columns[1].at(0) == 1);
  }

  TEST_CASE("CutMix: a rectangle of the other image, and labels by what is left") {
    double largest = 0, smallest = 1;
    for (uint64_t seed = 0; seed < 100; ++seed) {
      Batch batch = batch_of({10, 110, 210, 77}, 3, seed % 2 ? DType::u8 : DType::f32);
      Philox random(seed);
      CutMix{.classes = 5}(batch, random);
      const Array& images = batch.columns[0];
      int64_t cut = 0, left = 10, right = 0, top = 8, bottom = 0;
      for (int64_t y = 0; y < 8; ++y)
        for (int64_t x = 0; x < 10; ++x) {
          const bool other = images.at(y * 10 + x) == 210;
          REQUIRE((other || images.at(y * 10 + x) == 10));
          REQUIRE(images.at(160 + y * 10 + x) == images.at(y * 10 + x));
          REQUIRE(images.at(240 + y * 10 + x) == (other ? 10 : 110));
          REQUIRE(images.at(720 + y * 10 + x) == 77);
          if (!other) continue;
          ++cut;
          left = std::min(left, x), right = std::max(right, x + 1);
          top = std::min(top, y), bottom = std::max(bottom, y + 1);
        }
      if (cut) CHECK(cut == (right - left) * (bottom - top));
      const double own = 1 - static_cast<double>(cut) / 80;
      CHECK(batch.columns[1].at(0) == doctest::Approx(own));
      CHECK(batch.columns[1].at(2) == doctest::Approx(1 - own));
      CHECK(batch.columns[1].at(5 + 1) == doctest::Approx(own));
      CHECK(batch.columns[1].at(15) == 0);
      largest = std::max(largest, 1 - own), smallest = std::min(smallest, 1 - own);
    }
    CHECK(largest > 0.5);
    CHECK(smallest < 0.05);
  }

  TEST_CASE("other columns are refused by name") {
    Philox random(1);
    Batch batch = batch_of({1, 2}, 2, DType::u8);
    CHECK_THROWS_WITH_AS((MixUp{.classes = 1}(batch, random)), doctest::Contains("label 1 is not in 0 to 0"),
                         Error);
    CHECK_THROWS_WITH_AS((CutMix{.classes = 2, .alpha = 0}(batch, random)), doctest::Contains("Beta(0, 0)"),
                         Error);
    batch.columns[1] = Array({2}, DType::f32);
    CHECK_THROWS_WITH_AS((MixUp{.classes = 2}(batch, random)), doctest::Contains("column 1 is f32 [2]"),
                         Error);
    batch.columns.pop_back();
    CHECK_THROWS_WITH_AS((CutMix{.classes = 2}(batch, random)), doctest::Contains("one of labels"), Error);
  }
}

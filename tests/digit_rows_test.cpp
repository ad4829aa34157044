#include "nn/data/digit_rows.h"

#include <doctest/doctest.h>

#include <map>
#include <numeric>

#include "engine/core/error.h"
#include "nn/data/digits.h"

using namespace stithy;

TEST_SUITE("digit_rows") {
  TEST_CASE("each digit's ink stands in its place, from left to right") {
    // Digit d is a full rectangle of brightness 100 + 10 d.
    ImageClasses bars{Array({5, 10, 8}, DType::u8), Array({5}, DType::i32)};
    for (int64_t d = 0; d < 5; ++d) {
      bars.labels.set(d, static_cast<double>(d));
      for (int64_t y = 1; y < 9; ++y)
        for (int64_t x = 2; x < 7; ++x)
          bars.images.set((d * 10 + y) * 8 + x, static_cast<double>(100 + 10 * d));
    }
    const DigitRows rows(bars, 100, {.height = 24, .width = 96, .fewest = 1, .most = 4, .seed = 2});
    const std::vector<Array> all = fetch_all(rows);
    REQUIRE(all[0].shape() == Shape{100, 24, 96});
    std::map<double, int> counts;
    for (int64_t i = 0; i < 100; ++i) {
      const double count = all[2].at(i);
      ++counts[count];
      std::vector<double> mean_x;
      for (int64_t k = 0; k < 4; ++k) {
        const double label = all[1].at(4 * i + k);
        if (static_cast<double>(k) >= count) CHECK(label == 0);
      }
      // The brightness changes from left to right as the labels do.
      std::vector<double> seen;
      for (int64_t x = 0; x < 96; ++x) {
        double brightest = 0;
        for (int64_t y = 0; y < 24; ++y) brightest = std::max(brightest, all[0].at((i * 24 + y) * 96 + x));
        if (brightest >= 100 && (seen.empty() || seen.back() != brightest)) seen.push_back(brightest);
      }
      std::vector<double> expected;
      for (int64_t k = 0; k < static_cast<int64_t>(count); ++k)
        if (const double bright = 100 + 10 * all[1].at(4 * i + k);
            expected.empty() || expected.back() != bright)
          expected.push_back(bright);
      CHECK(seen == expected);
    }
    CHECK(counts.size() == 4);
  }

  TEST_CASE("a number that is too wide becomes narrower, and an image is a function of its index") {
    const ImageClasses digits = draw_digits(DigitsSplit::train, 50);
    const DigitRowsOptions narrow{.height = 32, .width = 64, .fewest = 8, .most = 8, .seed = 1};
    const std::vector<Array> once = fetch_all(DigitRows(digits, 20, narrow));
    CHECK(same_bytes(once[0], fetch_all(DigitRows(digits, 20, narrow))[0]));
    for (int64_t i = 0; i < 20; ++i) CHECK(once[2].at(i) == 8);
    const auto mistake = [&](DigitRowsOptions options) {
      CHECK_THROWS_WITH_AS(DigitRows(digits, 1, options), doctest::Contains("cannot be drawn"), Error);
    };
    mistake({.fewest = 3, .most = 2});
    mistake({.width = 40, .most = 6});
    mistake({.height = 8});
    CHECK_THROWS_AS(DigitRows({Array({2, 3}, DType::u8), Array({2}, DType::i32)}, 1), Error);
    CHECK_THROWS_AS(DigitRows(digits, 1).fetch(1, {}), Error);
  }
}

#include "nn/data/series.h"

#include <doctest/doctest.h>

#include <cmath>

#include "engine/core/error.h"

using namespace stithy;

TEST_SUITE("series") {
  TEST_CASE("windows and what follows them") {
    Array values({10}, DType::f32);
    for (int64_t i = 0; i < 10; ++i) values.set(i, static_cast<double>(i));
    const SeriesWindows windows(values, {.history = 3, .horizon = 2, .stride = 2});
    REQUIRE(windows.size() == 3);
    const std::vector<Array> all = fetch_all(windows);
    CHECK(same_bytes(all[0], Array({3, 3}, {0, 1, 2, 2, 3, 4, 4, 5, 6})));
    CHECK(same_bytes(all[1], Array({3, 2}, {3, 4, 5, 6, 7, 8})));
    CHECK(SeriesWindows(values, {.history = 8, .horizon = 2}).size() == 1);
    CHECK_THROWS_WITH_AS(SeriesWindows(values, {.history = 9, .horizon = 2}), doctest::Contains("too few"),
                         Error);
    CHECK_THROWS_AS(SeriesWindows(values, {.stride = 0}), Error);
    CHECK_THROWS_AS(SeriesWindows(values.reshaped({5, 2}), {.history = 1, .horizon = 1}), Error);
    CHECK_THROWS_AS(windows.fetch(3, {}), Error);
  }

  TEST_CASE("summer is warmer than winter, day than night, and an hour is like the one before") {
    const Array t = draw_temperatures(2 * 8766, 1);
    double summer = 0, winter = 0, day = 0, night = 0, change = 0, spread = 0, all = 0;
    const double n = static_cast<double>(t.numel());
    for (int64_t i = 0; i < t.numel(); ++i) all += t.at(i) / n;
    for (int64_t i = 1; i < t.numel(); ++i) {
      const int64_t month = i % 8766 / 730, hour = i % 24;
      if (month >= 5 && month <= 7) summer += t.at(i) / (n / 4);
      if (month == 11 || month <= 1) winter += t.at(i) / (n / 4);
      if (hour >= 13 && hour < 17) day += t.at(i) / (n / 6);
      if (hour >= 1 && hour < 5) night += t.at(i) / (n / 6);
      change += std::pow(t.at(i) - t.at(i - 1), 2) / n;
      spread += std::pow(t.at(i) - all, 2) / n;
    }
    CHECK(summer - winter > 10);
    CHECK((day - night > 2 && day - night < 10));
    CHECK(change < 0.05 * spread);
    CHECK(same_bytes(t, draw_temperatures(2 * 8766, 1)));
    CHECK(!same_bytes(t, draw_temperatures(2 * 8766, 2)));
    CHECK_THROWS_AS(draw_temperatures(-1), Error);
  }
}

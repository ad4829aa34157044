#include "nn/data/digit_scenes.h"

#include <doctest/doctest.h>

#include <array>

#include "engine/core/error.h"
#include "nn/data/digits.h"

using namespace stithy;

TEST_SUITE("digit_scenes") {
  TEST_CASE("boxes hold ink on each side, labels are those of the digits, few overlap") {
    const DigitScenesOptions options{.size = 64, .most = 4, .seed = 3};
    const DigitScenes scenes(draw_digits(DigitsSplit::train, 100), 60, options);
    const std::vector<Array> all = fetch_all(scenes);
    REQUIRE(all[1].shape() == Shape{60, 4, 4});
    int64_t by_count[5] = {};
    for (int64_t i = 0; i < 60; ++i) {
      std::vector<Box> boxes;
      for (int64_t k = i * 4; k < i * 4 + 4; ++k) {
        const auto corner = [&](int64_t c) { return static_cast<float>(all[1].at(k * 4 + c)); };
        const Box box{corner(0), corner(1), corner(2), corner(3)};
        if (all[2].at(k) == kIgnoreIndex) {
          CHECK(box.area() == 0);
          continue;
        }
        CHECK((all[2].at(k) >= 0 && all[2].at(k) < 10));
        const bool inside = box.x1 >= 0 && box.y1 >= 0 && box.x2 <= 64 && box.y2 <= 64 && box.area() > 10;
        REQUIRE(inside);
        const auto lit = [&](float x1, float y1, float x2, float y2) {
          for (auto y = static_cast<int64_t>(y1); y < static_cast<int64_t>(y2); ++y)
            for (auto x = static_cast<int64_t>(x1); x < static_cast<int64_t>(x2); ++x)
              if (all[0].at((i * 64 + y) * 64 + x) >= 64) return true;
          return false;
        };
        CHECK(lit(box.x1, box.y1, box.x1 + 1, box.y2));
        CHECK(lit(box.x2 - 1, box.y1, box.x2, box.y2));
        CHECK(lit(box.x1, box.y1, box.x2, box.y1 + 1));
        CHECK(lit(box.x1, box.y2 - 1, box.x2, box.y2));
        for (const Box& other : boxes) CHECK(iou(box, other) <= 0.1f);
        boxes.push_back(box);
      }
      ++by_count[boxes.size()];
    }
    CHECK(by_count[0] == 0);
    for (int count = 1; count <= 4; ++count) CHECK(by_count[count] > 0);
    const DigitScenes again(draw_digits(DigitsSplit::train, 100), 60, options);
    CHECK(same_bytes(fetch_all(again)[0], all[0]));
  }

  TEST_CASE("what cannot be drawn") {
    const ImageClasses digits = draw_digits(DigitsSplit::train, 10);
    CHECK_THROWS_AS(DigitScenes(digits, 5, {.size = 20}), Error);
    CHECK_THROWS_AS(DigitScenes(digits, 5, {.most = 0}), Error);
    CHECK_THROWS_AS(DigitScenes({Array({2, 784}, DType::u8), Array({2}, DType::i32)}, 5), Error);
    const DigitScenes scenes(digits, 5);
    std::vector<Array> batch = batch_arrays(scenes, 1);
    CHECK_THROWS_AS(fetch_rows(scenes, std::array<int64_t, 1>{5}, batch), Error);
  }
}

#include "nn/data/shape_scenes.h"

#include <doctest/doctest.h>

#include <array>
#include <set>

#include "engine/core/error.h"

using namespace stithy;

TEST_SUITE("shape_scenes") {
  TEST_CASE("masks hold the classes that were asked for, and are where the image differs from the ground") {
    const ShapeScenesOptions options{.size = 32, .kinds = {2, 5, 0}, .noise = 0, .seed = 4};
    const ShapeScenes scenes(40, options);
    const std::vector<Array> all = fetch_all(scenes);
    REQUIRE(all[0].shape() == Shape{40, 3, 32, 32});
    REQUIRE(all[1].shape() == Shape{40, 32, 32});
    std::set<double> seen;
    for (int64_t i = 0; i < all[1].numel(); ++i) seen.insert(all[1].at(i));
    CHECK(seen == std::set<double>{0, 1, 2, 3});
    // Between the mean colours of ground and shapes is a distance in one channel at least, as the options of
    // textures say; colours of one shape differ less.
    int contrasting = 0;
    for (int64_t scene = 0; scene < 40; ++scene) {
      double largest = 0;
      for (int64_t c = 0; c < 3; ++c) {
        std::array<double, 2> sums{}, counts{};
        for (int64_t p = 0; p < 32 * 32; ++p) {
          const size_t shape = all[1].at(scene * 32 * 32 + p) > 0;
          sums[shape] += all[0].at((scene * 3 + c) * 32 * 32 + p);
          ++counts[shape];
        }
        REQUIRE(counts[1] > 10);
        REQUIRE(counts[0] > 10);
        largest = std::max(largest, std::abs(sums[0] / counts[0] - sums[1] / counts[1]));
      }
      contrasting += largest > 40;
    }
    CHECK(contrasting >= 36);  // several shapes together may have the ground's mean colour
    CHECK(same_bytes(fetch_all(ShapeScenes(40, options))[0], all[0]));
  }

  TEST_CASE("with labels there is one shape, and all classes come") {
    const ShapeScenes scenes(60, {.size = 16, .target = ShapeTarget::label});
    const std::vector<Array> all = fetch_all(scenes);
    REQUIRE(all[1].shape() == Shape{60});
    std::set<double> seen;
    for (int64_t i = 0; i < 60; ++i) seen.insert(all[1].at(i));
    CHECK(seen.size() >= 11);
    CHECK(*seen.rbegin() <= 11);
    // The same scene with its mask: one class, that of the label.
    const ShapeScenes masked(60, {.size = 16, .target = ShapeTarget::mask, .most = 1});
    const Array masks = fetch_all(masked)[1];
    for (int64_t i = 0; i < masks.numel(); ++i)
      if (masks.at(i) > 0) REQUIRE(masks.at(i) == all[1].at(i / 256) + 1);
  }

  TEST_CASE("what cannot be drawn") {
    CHECK_THROWS_AS(ShapeScenes(-1), Error);
    CHECK_THROWS_AS(ShapeScenes(5, {.size = 4}), Error);
    CHECK_THROWS_AS(ShapeScenes(5, {.most = 0}), Error);
    CHECK_THROWS_AS(ShapeScenes(5, {.smallest = 0.4, .largest = 0.3}), Error);
    CHECK_THROWS_AS(ShapeScenes(5, {.noise = -1}), Error);
    CHECK_THROWS_WITH_AS(ShapeScenes(5, {.kinds = {12}}), doctest::Contains("shape 12 is not in 0 to 11"),
                         Error);
    const ShapeScenes scenes(5);
    std::vector<Array> batch = batch_arrays(scenes, 1);
    CHECK_THROWS_AS(fetch_rows(scenes, std::array<int64_t, 1>{5}, batch), Error);
  }
}

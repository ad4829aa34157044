#include "nn/data/digits.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <numeric>
#include <set>
#include <string>

#include "engine/core/error.h"

using namespace stithy;

namespace {
std::string image(const ImageClasses& data, int64_t i) {
  const auto bytes = data.images.bytes().subspan(static_cast<size_t>(i) * 784, 784);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}
}  // namespace

TEST_SUITE("digits") {
  TEST_CASE("an image is a pure function of seed, split and index") {
    const ImageClasses one = draw_digits(DigitsSplit::train, 300, 5, 1),
                       four = draw_digits(DigitsSplit::train, 300, 5, 4);
    CHECK(same_bytes(one.images, four.images));
    CHECK(same_bytes(one.labels, four.labels));
    CHECK(same_bytes(one.images.rows(0, 100), draw_digits(DigitsSplit::train, 100, 5).images));
    CHECK_FALSE(same_bytes(one.images, draw_digits(DigitsSplit::train, 300, 6).images));
    const DigitsDataset dataset(DigitsSplit::train, 300, 5);
    // Drawn first, then kept.
    for (int time = 0; time < 2; ++time) {
      const std::vector<Array> all = fetch_all(dataset);
      CHECK(same_bytes(all[0], one.images));
      CHECK(same_bytes(all[1], one.labels));
    }
    CHECK(dataset.columns()[1].padding == kIgnoreIndex);
  }

  TEST_CASE("the splits share no image, and none comes twice") {
    std::set<std::string> seen;
    for (DigitsSplit split : {DigitsSplit::train, DigitsSplit::validation, DigitsSplit::test}) {
      const ImageClasses data = draw_digits(split, 1500);
      for (int64_t i = 0; i < 1500; ++i) CHECK(seen.insert(image(data, i)).second);
    }
  }

  TEST_CASE("white on black, inside the frame, centred, every class about as often") {
    const ImageClasses data = draw_digits(DigitsSplit::train, 2000);
    std::vector<int> classes(10);
    int touching = 0;
    for (int64_t i = 0; i < 2000; ++i) {
      const int label = static_cast<int>(data.labels.at(i));
      REQUIRE((label >= 0 && label < 10));
      ++classes[static_cast<size_t>(label)];
      double sum = 0, x = 0, y = 0, border = 0, bright = 0;
      const std::string pixels = image(data, i);
      for (size_t p = 0; p < 784; ++p) {
        const double value = static_cast<uint8_t>(pixels[p]);
        const double ink = value > 40 ? value : 0, px = static_cast<double>(p % 28),
                     py = static_cast<double>(p / 28);
        sum += ink, x += ink * px, y += ink * py, bright = std::max(bright, value);
        if (px == 0 || py == 0 || px == 27 || py == 27) border = std::max(border, ink);
      }
      CHECK(bright > 120);
      CHECK(sum / 784 / 255 > 0.01);
      CHECK(sum / 784 / 255 < 0.4);
      CHECK(std::abs(x / sum - 13.5) < 7.5);
      CHECK(std::abs(y / sum - 13.5) < 7.5);
      touching += border > 100;
    }
    CHECK(touching < 40);
    for (int count : classes) CHECK((count > 140 && count < 260));
  }

  TEST_CASE("the nearest class mean is a fair, not a perfect, classifier") {
    const ImageClasses train = draw_digits(DigitsSplit::train, 4000),
                       test = draw_digits(DigitsSplit::test, 1000);
    std::vector<std::vector<double>> mean(10, std::vector<double>(784));
    std::vector<double> count(10);
    for (int64_t i = 0; i < 4000; ++i) {
      const std::string pixels = image(train, i);
      const auto label = static_cast<size_t>(train.labels.at(i));
      ++count[label];
      for (size_t p = 0; p < 784; ++p) mean[label][p] += static_cast<uint8_t>(pixels[p]);
    }
    int correct = 0;
    for (int64_t i = 0; i < 1000; ++i) {
      const std::string pixels = image(test, i);
      std::vector<double> away(10);
      for (size_t c = 0; c < 10; ++c)
        for (size_t p = 0; p < 784; ++p) {
          const double d = mean[c][p] / count[c] - static_cast<uint8_t>(pixels[p]);
          away[c] += d * d;
        }
      correct += std::min_element(away.begin(), away.end()) - away.begin() == test.labels.at(i);
    }
    CAPTURE(correct);
    CHECK(correct > 600);
    CHECK(correct < 950);
  }

  TEST_CASE("bounds") {
    CHECK(draw_digits(DigitsSplit::test, 0).images.shape() == Shape{0, 28, 28});
    CHECK_THROWS_AS(draw_digits(DigitsSplit::test, -1), Error);
    CHECK_THROWS_AS(DigitsDataset(DigitsSplit::test, -1), Error);
    CHECK_THROWS_AS(fetch_rows(DigitsDataset(DigitsSplit::test, 5), std::vector<int64_t>{5},
                               *std::make_unique<std::vector<Array>>(
                                   batch_arrays(DigitsDataset(DigitsSplit::test, 5), 1))),
                    Error);
  }
}

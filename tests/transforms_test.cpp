#include "nn/data/transforms.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>

#include "engine/core/error.h"
#include "nn/data/loader.h"

using namespace stithy;
using nlohmann::json;

namespace {

Array image_of(const json& golden) {
  const std::string& digits = golden["pixels"].get_ref<const std::string&>();
  Array image({golden["shape"][0], golden["shape"][1], golden["shape"][2]}, DType::u8);
  REQUIRE(digits.size() == 2 * image.bytes().size());
  for (size_t i = 0; i < image.bytes().size(); ++i)
    image.values<uint8_t>()[i] =
        static_cast<uint8_t>(std::strtol(digits.substr(2 * i, 2).c_str(), nullptr, 16));
  return image;
}
const json& golden() {
  static const json all = [] {
    std::ifstream file(STITHY_SOURCE_DIR "/tests/golden/transforms.json");
    REQUIRE(file.is_open());
    return json::parse(file);
  }();
  return all;
}
Array input() { return image_of(golden()[0]); }

int largest_difference(const Array& a, const Array& b) {
  REQUIRE(a.shape() == b.shape());
  int largest = 0;
  for (int64_t i = 0; i < a.numel(); ++i)
    largest = std::max(largest, static_cast<int>(std::abs(a.at(i) - b.at(i))));
  return largest;
}

Array bytes(const Shape& shape, std::vector<int> values) {
  Array image(shape, DType::u8);
  REQUIRE(image.numel() == static_cast<int64_t>(values.size()));
  for (size_t i = 0; i < values.size(); ++i) image.set(static_cast<int64_t>(i), values[i]);
  return image;
}
std::vector<int> values(const Array& image) {
  const auto all = image.values<uint8_t>();
  return {all.begin(), all.end()};
}
using V = std::vector<int>;

// [1, height, width], each pixel another (below 16 x 16).
Array numbered(int64_t height, int64_t width) {
  Array image({1, height, width}, DType::u8);
  for (int64_t i = 0; i < image.numel(); ++i) image.set(i, static_cast<double>(i));
  return image;
}

}  // namespace

TEST_SUITE("transforms") {
  TEST_CASE("as Pillow and torchvision make it, to the rounding") {
    std::map<std::string, int> seen;
    for (const json& g : golden()) {
      const std::string name = g["name"];
      CAPTURE(g.dump().substr(0, 120));
      ++seen[name];
      Array made;
      int allowed = 1;
      if (name == "resize") {
        made = resize(input(), g["size"][0], g["size"][1]);
      } else if (name == "affine") {
        made = affine(input(), {.angle = g["angle"],
                                .shift_x = g["translate"][0],
                                .shift_y = g["translate"][1],
                                .scale = g["scale"],
                                .shear_x = g["shear"][0],
                                .shear_y = g["shear"][1]});
      } else if (name == "brightness") {
        made = adjust_brightness(input(), g["factor"]);
      } else if (name == "contrast") {
        made = adjust_contrast(input(), g["factor"]);
        allowed = 2;  // Pillow rounds the mean and truncates the result
      } else if (name == "saturation") {
        made = adjust_saturation(input(), g["factor"]);
        allowed = 2;
      } else if (name == "hue") {
        made = adjust_hue(input(), g["factor"]);
      } else {
        continue;
      }
      CHECK(largest_difference(made, image_of(g)) <= allowed);
      CHECK(largest_difference(made, resize(input(), made.shape()[1], made.shape()[2])) >
            (name == "resize" ? -1 : 20));
    }
    CHECK(seen == std::map<std::string, int>{{"input", 1},
                                             {"resize", 4},
                                             {"affine", 5},
                                             {"brightness", 2},
                                             {"contrast", 2},
                                             {"saturation", 2},
                                             {"hue", 2}});
  }

  TEST_CASE("what changes nothing") {
    const Array image = input();
    CHECK(same_bytes(resize(image, 9, 12), image));
    CHECK(same_bytes(crop(image, 0, 0, 9, 12), image));
    CHECK(same_bytes(pad(image, 0, PadMode::reflect), image));
    CHECK(same_bytes(flip_horizontal(flip_horizontal(image)), image));
    CHECK(same_bytes(flip_vertical(flip_vertical(image)), image));
    CHECK(same_bytes(affine(image, {}), image));
    CHECK(same_bytes(affine(image, {.angle = 360}), image));
    CHECK(same_bytes(adjust_brightness(image, 1), image));
    CHECK(same_bytes(adjust_contrast(image, 1), image));
    CHECK(same_bytes(adjust_saturation(image, 1), image));
    CHECK(same_bytes(adjust_hue(image, 0), image));
    CHECK(same_bytes(adjust_hue(image, 1), image));
    Philox random(1);
    CHECK(same_bytes(RandomAffine{}(image, random), image));
    CHECK(same_bytes(ColorJitter{}(image, random), image));
    CHECK(same_bytes(RandomErasing{.probability = 0}(image, random), image));
    CHECK(same_bytes(RandomHorizontalFlip{0}(image, random), image));
    CHECK(same_bytes(Augment{}(image, random), image));
  }

  TEST_CASE("small cases by hand") {
    const Array image = numbered(2, 3);
    CHECK(values(crop(image, 0, 1, 2, 2)) == V{1, 2, 4, 5});
    CHECK(values(crop(image, -1, 2, 2, 2)) == V{0, 0, 2, 0});
    CHECK(values(crop(image, 5, 5, 1, 2)) == V{0, 0});
    CHECK(values(pad(bytes({1, 1, 1}, {7}), 1, PadMode::zero)) == V{0, 0, 0, 0, 7, 0, 0, 0, 0});
    CHECK(values(pad(image, 1, PadMode::reflect)) ==
          V{4, 3, 4, 5, 4, 1, 0, 1, 2, 1, 4, 3, 4, 5, 4, 1, 0, 1, 2, 1});
    CHECK(values(flip_horizontal(image)) == V{2, 1, 0, 5, 4, 3});
    CHECK(values(flip_vertical(image)) == V{3, 4, 5, 0, 1, 2});
    // Half the size: a triangle over three pixels of four, 3/7 3/7 1/7.
    CHECK(values(resize(bytes({1, 1, 4}, {0, 80, 160, 240}), 1, 2)) == V{57, 183});
    CHECK(values(resize(bytes({1, 1, 2}, {0, 100}), 1, 4)) == V{0, 25, 75, 100});
    CHECK(values(resize(bytes({2, 1, 1}, {9, 200}), 1, 3)) == V{9, 9, 9, 200, 200, 200});
    // A quarter turn, clockwise.
    CHECK(values(affine(numbered(2, 2), {.angle = 90})) == V{2, 0, 3, 1});
    CHECK(values(affine(image, {.shift_x = 1}, 9)) == V{9, 0, 1, 9, 3, 4});
    CHECK(values(affine(image, {.shift_y = -1}, 9)) == V{3, 4, 5, 9, 9, 9});
    CHECK(values(affine(bytes({1, 1, 2}, {100, 200}), {.shift_x = 0.5}, 0)) == V{50, 150});
    CHECK(values(affine(bytes({1, 1, 3}, {0, 100, 200}), {.scale = 2}, 0)) == V{50, 100, 150});
    // Rows slide against each other, to the left above the centre.
    CHECK(values(affine(numbered(3, 3), {.shear_x = 45}, 99)) == V{99, 0, 1, 3, 4, 5, 7, 8, 99});
    CHECK(values(adjust_brightness(bytes({1, 1, 3}, {10, 100, 200}), 1.5)) == V{15, 150, 255});
    CHECK(values(adjust_contrast(bytes({1, 1, 2}, {0, 200}), 0.5)) == V{50, 150});
    CHECK(values(adjust_saturation(bytes({3, 1, 1}, {255, 0, 0}), 0)) == V{76, 76, 76});
    CHECK(values(adjust_saturation(bytes({1, 1, 1}, {9}), 5)) == V{9});
    CHECK(values(adjust_hue(bytes({3, 1, 1}, {255, 0, 0}), 1.0 / 3)) == V{0, 255, 0});
    CHECK(values(adjust_hue(bytes({3, 1, 1}, {255, 0, 0}), 0.5)) == V{0, 255, 255});
    CHECK(values(adjust_hue(bytes({3, 1, 1}, {10, 20, 30}), -1.0 / 3)) == V{20, 30, 10});
    CHECK(values(adjust_hue(bytes({3, 1, 1}, {80, 80, 80}), 0.3)) == V{80, 80, 80});
    const Array normal = normalize(bytes({2, 1, 1}, {255, 51}), {0.5f, 0.2f}, {0.25f, 1});
    CHECK(normal.dtype() == DType::f32);
    CHECK(normal.at(0) == 2);
    CHECK(normal.at(1) == doctest::Approx(0).epsilon(1e-6));
    Philox random(1);
    CHECK(ResizeShorter{4}(numbered(8, 12), random).shape() == Shape{1, 4, 6});
    CHECK(ResizeShorter{4}(numbered(13, 8), random).shape() == Shape{1, 6, 4});
    CHECK(values(CenterCrop{2, 1}(numbered(4, 3), random)) == V{4, 7});
    CHECK(values(CenterCrop{1, 3}(numbered(1, 1), random)) == V{0, 0, 0});
    CHECK(values(Augment{RandomHorizontalFlip{1}, RandomVerticalFlip{1}}(image, random)) ==
          V{5, 4, 3, 2, 1, 0});
  }

  TEST_CASE("what is out of range is refused by name") {
    const Array image = input();
    Philox random(1);
    const auto refused = [&](auto&& call, const char* reason) {
      CHECK_THROWS_WITH_AS(call(), doctest::Contains(reason), Error);
    };
    refused([&] { resize(image, 0, 3); }, "resize to [0, 3]");
    refused([&] { resize(image, 3, 100000); }, "resize to");
    refused([&] { crop(image, 0, 0, 3, -1); }, "cannot cut");
    refused([&] { pad(image, 9, PadMode::reflect); }, "cannot pad [3, 9, 12] by 9");
    refused([&] { affine(image, {.scale = 0}); }, "scale 0");
    refused([&] { affine(image, {.shear_x = 90}); }, "out of range");
    refused([&] { affine(image, {.angle = std::nan("")}); }, "out of range");
    refused([&] { adjust_brightness(image, -1); }, "-1 is not in 0");
    refused([&] { adjust_hue(image, 1.5); }, "1.5 is not in -1 to 1");
    refused([&] { adjust_contrast(Array({2, 2, 2}, DType::u8), 1); }, "2 channels, not 3 or 1");
    refused([&] { normalize(image, {0.5f}, {1}); }, "1 means");
    refused([&] { normalize(image, {0, 0, 0}, {1, 0, 1}); }, "above 0");
    refused([&] { flip_vertical(Array({2, 2}, DType::u8)); }, "cannot change u8 [2, 2]");
    refused([&] { flip_vertical(Array({3, 0, 2}, DType::u8)); }, "cannot change u8 [3, 0, 2]");
    refused(
        [&] {
          Augment{Normalize{{0, 0, 0}, {1, 1, 1}}, RandomVerticalFlip{1}}(image, random);
        },
        "Normalize comes last");
    refused([&] { RandomCrop{10, 4}(image, random); }, "has no part of 10 by 4");
    refused([&] { RandomResizedCrop{4, 4, 0.5, 0.2}(image, random); }, "an area of 0.5 to 0.2");
    refused([&] { RandomHorizontalFlip{1.5}(image, random); }, "a probability of 1.5");
    refused([&] { ColorJitter{.hue = 0.6}(image, random); }, "hue 0.6");
    refused([&] { RandomErasing{.fill = 256}(image, random); }, "a fill of 256");
    refused([&] { RandomAffine{.min_scale = 0}(image, random); }, "a scale of 0 to 1");
  }

  TEST_CASE("random crops reach every place, flips come by their probability") {
    Philox random(3);
    const Array image = numbered(6, 7);
    std::map<std::pair<int, int>, int> places;
    for (int i = 0; i < 3000; ++i) {
      const V part = values(RandomCrop{4, 5}(image, random));
      for (size_t k = 0; k < part.size(); ++k)
        REQUIRE(part[k] == part[0] + static_cast<int>(k / 5) * 7 + static_cast<int>(k % 5));
      ++places[{part[0] / 7, part[0] % 7}];
    }
    CHECK(places.size() == 9);
    for (const auto& [place, count] : places) CHECK(std::abs(count - 333) < 100);
    std::set<int> corners;
    for (int i = 0; i < 300; ++i) {
      const Array padded = RandomCrop{6, 7, 2, PadMode::reflect}(image, random);
      CHECK(padded.shape() == Shape{1, 6, 7});
      corners.insert(values(padded)[0]);
    }
    CHECK(corners.contains(16));  // padded by two at both sides
    int flipped = 0;
    for (int i = 0; i < 2000; ++i) flipped += values(RandomHorizontalFlip{0.3}(image, random))[0] == 6;
    CHECK(std::abs(flipped - 600) < 100);
  }

  TEST_CASE("random resized crop: area and aspect stay in their ranges; the fallback is central") {
    // Ramps tell where a part came from: its first and last pixels, were it not resized.
    Array ramps({2, 200, 200}, DType::u8);
    for (int64_t y = 0; y < 200; ++y)
      for (int64_t x = 0; x < 200; ++x)
        ramps.set(y * 200 + x, double(x)), ramps.set(40000 + y * 200 + x, double(y));
    Philox random(5);
    double least = 1, most = 0, narrow = 9, wide = 0;
    for (int i = 0; i < 500; ++i) {
      const V part = values(RandomResizedCrop{50, 50, 0.2, 0.8, 0.5, 2}(ramps, random));
      // The outermost pixel centres lie half a step within; antialiasing averages around them.
      const double width = (part[49] - part[0]) / 49.0 * 50,
                   height = (part[2500 + 2450] - part[2500]) / 49.0 * 50;
      const double area = width * height / 40000, aspect = width / height;
      least = std::min(least, area), most = std::max(most, area);
      narrow = std::min(narrow, aspect), wide = std::max(wide, aspect);
    }
    CHECK(least > 0.18);
    CHECK(least < 0.25);
    CHECK(most < 0.85);
    CHECK(most > 0.7);
    CHECK(narrow > 0.47);
    CHECK(narrow < 0.6);
    CHECK(wide < 2.15);
    CHECK(wide > 1.7);
    // No part of this strip has an aspect of at most 2 and its whole area.
    CHECK(values(RandomResizedCrop{2, 4, 1, 1, 0.5, 2}(numbered(2, 10), random)) ==
          V{3, 4, 5, 6, 13, 14, 15, 16});
    CHECK(values(RandomResizedCrop{4, 2, 1, 1, 0.5, 2}(numbered(10, 2), random)) ==
          V{6, 7, 8, 9, 10, 11, 12, 13});
  }

  TEST_CASE("random affine, jitter and erasing stay in their ranges and use them") {
    Philox random(7);
    Array dot({1, 41, 41}, DType::u8);
    dot.set(20 * 41 + 20, 255);
    int64_t left = 41, right = 0;
    for (int i = 0; i < 300; ++i) {
      const V moved = values(RandomAffine{.translate_x = 0.25}(dot, random));
      const int64_t at = std::max_element(moved.begin(), moved.end()) - moved.begin();
      CHECK(at / 41 == 20);
      left = std::min(left, at % 41), right = std::max(right, at % 41);
    }
    CHECK(left >= 20 - 11);
    CHECK(left <= 20 - 9);
    CHECK(right <= 20 + 11);
    CHECK(right >= 20 + 9);

    int darkest = 255, brightest = 0;
    for (int i = 0; i < 300; ++i) {
      const int grey = values(ColorJitter{.brightness = 0.4}(bytes({1, 1, 1}, {100}), random))[0];
      darkest = std::min(darkest, grey), brightest = std::max(brightest, grey);
    }
    CHECK(darkest >= 60);
    CHECK(darkest <= 63);
    CHECK(brightest <= 140);
    CHECK(brightest >= 137);

    int erased = 0;
    const Array white = bytes({1, 20, 20}, V(400, 255));
    for (int i = 0; i < 1000; ++i) {
      const V after = values(
          RandomErasing{.probability = 0.6, .min_area = 0.1, .max_area = 0.3, .fill = 3}(white, random));
      const int64_t gone = std::count(after.begin(), after.end(), 3);
      CHECK(gone + std::count(after.begin(), after.end(), 255) == 400);
      if (!gone) continue;
      ++erased;
      CHECK(gone >= 30);
      CHECK(gone <= 135);
    }
    CHECK(std::abs(erased - 590) < 70);
    const V noisy = values(RandomErasing{.probability = 1, .min_area = 0.3, .noise = true}(white, random));
    CHECK(std::set<int>(noisy.begin(), noisy.end()).size() > 50);
  }

  TEST_CASE("a loader gives an item the same bytes whatever the workers, the batch and the place to start") {
    Array images({24, 3, 8, 9}, DType::u8), labels({24}, DType::i32);
    for (int64_t i = 0; i < images.numel(); ++i) images.set(i, static_cast<double>(i * 37 % 251));
    for (int64_t i = 0; i < 24; ++i) labels.set(i, static_cast<double>(i));
    const DatasetPtr data = augmented(image_dataset({images, labels}),
                                      {RandomResizedCrop{6, 6}, RandomHorizontalFlip{},
                                       RandomAffine{.degrees = 20}, ColorJitter{0.3, 0.3, 0.3, 0.1},
                                       RandomErasing{}, Normalize{{0.5f, 0.5f, 0.5f}, {0.2f, 0.2f, 0.2f}}});
    CHECK(data->columns()[0].shape == Shape{3, 6, 6});
    CHECK(data->columns()[0].dtype == DType::f32);
    const auto run = [&](int workers, int64_t batch, LoaderPosition start) {
      DataLoader loader(data, {.batch = batch, .seed = 11, .workers = workers, .start = start});
      std::map<std::pair<int64_t, int>, Array> items;
      while (loader.position().epoch < 2) {
        const Batch& made = loader.next();
        for (int64_t i = 0; i < batch; ++i)
          items[{made.epoch, static_cast<int>(made.columns[1].at(i))}] = made.columns[0].rows(i, i + 1);
      }
      return items;
    };
    const auto expected = run(0, 4, {});
    CHECK(expected.size() == 48);
    CHECK(!same_bytes(expected.at({0, 5}), expected.at({1, 5})));
    for (const auto& [workers, batch] : {std::pair(1, 4), {2, 4}, {5, 4}, {3, 6}, {2, 1}}) {
      const auto items = run(workers, batch, {});
      CHECK(items.size() == 48);
      for (const auto& [key, item] : items) CHECK(same_bytes(item, expected.at(key)));
    }
    for (const auto& [key, item] : run(3, 4, {1, 2})) CHECK(same_bytes(item, expected.at(key)));
    // Without a loader, an item is the same every time.
    CHECK(same_bytes(fetch_all(*data)[0], fetch_all(*data)[0]));
    CHECK(same_bytes(fetch_all(*subset(data, {3}))[0], fetch_all(*data)[0].rows(3, 4)));
  }

  TEST_CASE("augmented: images without channels, other columns, mistakes") {
    const auto arrays = [] {
      return std::make_shared<InMemoryDataset>(std::vector<InMemoryDataset::Source>{
          {"x", Array({2, 1}, {1, 2})}, {"digit", bytes({2, 2, 2}, {1, 2, 3, 4, 5, 6, 7, 8})}});
    };
    const DatasetPtr data = augmented(arrays(), {RandomHorizontalFlip{1}, CenterCrop{2, 4}}, "digit");
    CHECK(data->columns()[1].shape == Shape{2, 4});
    const std::vector<Array> all = fetch_all(*data);
    CHECK(all[0].at(1) == 2);
    CHECK(values(all[1]) == V{0, 2, 1, 0, 0, 4, 3, 0, 0, 6, 5, 0, 0, 8, 7, 0});
    CHECK_THROWS_WITH_AS(augmented(arrays(), {}, "image"), doctest::Contains("no column 'image'"), Error);
    CHECK_THROWS_WITH_AS(augmented(arrays(), {}, "x"), doctest::Contains("f32 [1]"), Error);
    const DatasetPtr uneven = augmented(arrays(), {[](const Array& image, Philox&) {
                                          return image.at(0) == 5 ? crop(image, 0, 0, 1, 2) : image;
                                        }},
                                        "digit");
    CHECK_THROWS_WITH_AS(fetch_all(*uneven), doctest::Contains("item 1 became u8 [1, 2], another u8 [2, 2]"),
                         Error);
  }
}

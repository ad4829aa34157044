#include "nn/run/picture.h"

#include <doctest/doctest.h>

#include <cmath>
#include <cstdlib>

#include "engine/core/error.h"
#include "engine/core/file.h"
#include "nn/data/image.h"
#include "nn/nn.h"
#include "nn/run/session.h"
#include "tests/temporary_folder.h"

using namespace stithy;

namespace {
Array grey(const Shape& shape, std::initializer_list<int> values) {
  Array image(shape, DType::u8);
  int64_t i = 0;
  for (int value : values) image.set(i++, value);
  return image;
}
Colour at(const Array& image, int64_t x, int64_t y) {
  const std::span<const uint8_t> values = image.values<uint8_t>();
  const size_t i = static_cast<size_t>((y * image.shape()[1] + x) * 3);
  return {values[i], values[i + 1], values[i + 2]};
}
bool near(Colour a, Colour b, int tolerance) {
  for (size_t c = 0; c < 3; ++c)
    if (std::abs(a[c] - b[c]) > tolerance) return false;
  return true;
}
int64_t count(const Array& image, Colour colour) {
  int64_t n = 0;
  for (int64_t y = 0; y < image.shape()[0]; ++y)
    for (int64_t x = 0; x < image.shape()[1]; ++x) n += at(image, x, y) == colour;
  return n;
}
}  // namespace

TEST_SUITE("picture") {
  TEST_CASE("enlarged pixels are squares") {
    const Array image = enlarged(grey({1, 2}, {7, 9}), 3);
    CHECK(image.shape() == Shape{3, 6, 3});
    CHECK(count(image, {7, 7, 7}) == 9);
    CHECK(count(image, {9, 9, 9}) == 9);
    CHECK(at(image, 2, 2) == Colour{7, 7, 7});
    CHECK(at(image, 3, 0) == Colour{9, 9, 9});
    CHECK_THROWS_AS(enlarged(image, 0), Error);
  }

  TEST_CASE("a contact sheet: cells, gaps, images of several sizes and kinds") {
    Array red({1, 1, 3}, DType::u8);
    red.set(0, 255);
    const std::vector<Array> images = {grey({3, 3}, {1, 1, 1, 1, 1, 1, 1, 1, 1}), red, grey({1, 2}, {2, 3})};
    const Array sheet = contact_sheet(images, 2, 2, 1, kWhite);
    CHECK(sheet.shape() == Shape{2 * 7 + 1, 2 * 7 + 1, 3});
    CHECK(count(sheet, {1, 1, 1}) == 36);
    CHECK(count(sheet, {255, 0, 0}) == 4);
    CHECK(at(sheet, 1, 1) == Colour{1, 1, 1});
    CHECK(at(sheet, 10, 3) == Colour{255, 0, 0});  // in the middle of its cell
    CHECK(at(sheet, 2, 10) == Colour{2, 2, 2});
    CHECK(at(sheet, 14, 14) == kWhite);
    CHECK(contact_sheet(images, 9, 1, 0).shape() == Shape{3, 9, 3});  // no empty columns
    CHECK_THROWS_AS(contact_sheet({}, 2), Error);
    CHECK_THROWS_AS(contact_sheet(images, 0), Error);
    CHECK_THROWS_AS(contact_sheet(std::vector<Array>{Array({2, 2}, DType::f32)}, 1), Error);
  }

  TEST_CASE("viridis as matplotlib has it, bounds, NaN") {
    const Array heat = heat_map(Array({1, 6}, {0, 1, 2, 3, 4, NAN}));
    CHECK(near(at(heat, 0, 0), {68, 1, 84}, 5));
    CHECK(near(at(heat, 1, 0), {59, 82, 139}, 5));
    CHECK(near(at(heat, 2, 0), {33, 145, 140}, 5));
    CHECK(near(at(heat, 3, 0), {94, 201, 98}, 5));
    CHECK(near(at(heat, 4, 0), {253, 231, 37}, 5));
    CHECK(at(heat, 5, 0) == Colour{128, 128, 128});
    const Array bounded = heat_map(Array({1, 3}, {-5, 4, 90}), 0.0f, 8.0f);
    CHECK(at(bounded, 0, 0) == at(heat, 0, 0));
    CHECK(at(bounded, 1, 0) == at(heat, 2, 0));
    CHECK(at(bounded, 2, 0) == at(heat, 4, 0));
    CHECK(at(heat_map(Array({1, 1}, {3})), 0, 0) == at(heat, 0, 0));
    CHECK_THROWS_AS(heat_map(Array({2}, {1, 2})), Error);
  }

  TEST_CASE("an overlay mixes") {
    const Array heat = enlarged(grey({1, 2}, {200, 0}), 1);
    const Array mixed = overlay(grey({1, 2}, {100, 100}), heat, 0.25);
    CHECK(at(mixed, 0, 0) == Colour{125, 125, 125});
    CHECK(at(mixed, 1, 0) == Colour{75, 75, 75});
    CHECK_THROWS_AS(overlay(grey({2, 1}, {1, 2}), heat), Error);
    CHECK_THROWS_AS(overlay(heat, heat, 1.5), Error);
  }

  TEST_CASE("a box: inside, over the border, far away") {
    Array image = enlarged(Array({10, 12}, DType::u8), 1);
    draw_box(image, {2, 3, 8, 9}, {255, 0, 0});
    CHECK(count(image, {255, 0, 0}) == 20);
    CHECK(at(image, 2, 3) == Colour{255, 0, 0});
    CHECK(at(image, 7, 8) == Colour{255, 0, 0});
    CHECK(at(image, 3, 4) == kBlack);
    draw_box(image, {-5, -5, 4, 2}, {0, 255, 0}, 2);
    CHECK(count(image, {0, 255, 0}) == 8);
    CHECK(at(image, 3, 1) == Colour{0, 255, 0});
    draw_box(image, {-1e30f, -1e30f, 1e30f, 1e30f}, kWhite);
    CHECK(count(image, kWhite) == 0);
    CHECK_THROWS_AS(draw_box(image, {NAN, 0, 1, 1}, kWhite), Error);
    Array flat({4, 4}, DType::u8);
    CHECK_THROWS_AS(draw_box(flat, {0, 0, 1, 1}, kWhite), Error);
  }

  TEST_CASE("text") {
    Array image = enlarged(Array({9, 20}, DType::u8), 1);
    draw_text(image, 1, 1, "1a\x80");
    // Of a 1, the stem and its foot; small letters are drawn as capitals.
    for (int64_t y = 1; y < 8; ++y) CHECK(at(image, 3, y) == kWhite);
    Array capital = enlarged(Array({9, 20}, DType::u8), 1);
    draw_text(capital, 1, 1, "1A");
    CHECK(same_bytes(image, capital));
    const Array label = labelled(Array({20, 20}, DType::u8), "too long a text", kWhite, kBlack);
    CHECK(label.shape() == Shape{30, 20, 3});
    CHECK(count(label, kWhite) > 10);
    Array wide = enlarged(Array({20, 40}, DType::u8), 1);
    draw_text(wide, 0, 0, "I", {9, 9, 9}, 2);
    CHECK(count(wide, {9, 9, 9}) == 4 * (2 + 7 + 2));
  }

  TEST_CASE("a session's figures: files in the run folder, whenever they come") {
    const TemporaryFolder folder;
    const std::string out = folder / "run";
    const Array first = grey({1, 2}, {1, 2}), second = grey({2, 2}, {3, 4, 5, 6});
    nn::Session session("test", "tests figures", {.epochs = 1});
    const char* arguments[] = {"test", "--out", out.c_str(), "--batch", "2"};
    const int status = session.run(5, arguments, [&] {
      session.figure("early", first, "before training");
      CHECK_THROWS_AS(session.figure("../up", first, ""), Error);
      CHECK_THROWS_AS(session.figure("", first, ""), Error);
      auto data = std::make_shared<InMemoryDataset>(
          std::vector<InMemoryDataset::Source>{{"x", Array({2, 1}, {1, 2})}, {"y", Array({2, 1}, {1, 2})}});
      DataLoader loader(data, {.batch = 2});
      nn::Sequential model{nn::Linear(1, 1), nn::Relu()};
      nn::Trainer trainer(model, nn::Mse{}, nn::Sgd());
      session.fit(trainer, loader);
      session.figure("late", first, "after training");
      session.figure("late", second, "replaced");
      session.figure("moving", std::array{first, first}, 0.5, "an animation");
      session.finish({});
    });
    CHECK(status == 0);
    CHECK(session.report().figures.size() == 3);
    CHECK(same_bytes(read_image(out + "/early.png", 1).reshaped({1, 2}), first));
    CHECK(same_bytes(read_image(out + "/late.png", 1).reshaped({2, 2}), second));
    CHECK(read_file(out + "/moving.png").find("acTL") != std::string::npos);
    CHECK(read_file(out + "/report.html").find("replaced") != std::string::npos);
  }
}

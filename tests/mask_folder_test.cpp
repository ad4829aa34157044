#include "nn/data/mask_folder.h"

#include <doctest/doctest.h>

#include <filesystem>

#include "engine/core/error.h"
#include "nn/run/png.h"
#include "tests/temporary_folder.h"

using namespace stithy;
namespace fs = std::filesystem;

namespace {
// u8 [height, width] as a PNG.
std::string grey(const Shape& shape, std::initializer_list<float> values) {
  return encode_png(Array(shape, values).to(DType::u8));
}
void fill(const TemporaryFolder& folder) {
  fs::create_directories(folder / "images");
  fs::create_directories(folder / "masks");
  folder.write("images/b.png", grey({2, 4}, {10, 20, 30, 40, 50, 60, 70, 80}));
  folder.write("masks/b.png", grey({2, 4}, {0, 7, 0, 7, 255, 7, 255, 7}));
  folder.write("images/a.JPG", grey({2, 2}, {1, 2, 3, 4}));  // a PNG, whatever its name
  folder.write("masks/a.png", grey({2, 2}, {0, 0, 0, 7}));
  folder.write("images/.hidden.png", "broken");
  folder.write("masks/notes.txt", "no mask");
}
std::string message(const TemporaryFolder& folder, int64_t size = 2) {
  try {
    fetch_all(MaskFolder(folder.path(), size));
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}
}  // namespace

TEST_SUITE("mask_folder") {
  TEST_CASE("values of masks become classes; masks are resized without mixing them") {
    const TemporaryFolder folder;
    fill(folder);
    const MaskFolder data(folder.path(), 2);
    CHECK(data.size() == 2);
    CHECK(data.classes() == std::vector<int>{0, 7, 255});
    const std::vector<Array> all = fetch_all(data);
    REQUIRE(all[0].shape() == Shape{2, 3, 2, 2});
    REQUIRE(all[1].shape() == Shape{2, 2, 2});
    const std::vector<double> masks{0, 0, 0, 1, 1, 1, 1, 1};  // of b the columns 1 and 3
    for (int64_t i = 0; i < 8; ++i) CHECK(all[1].at(i) == masks[static_cast<size_t>(i)]);
    for (int64_t i = 0; i < 12; ++i) CHECK(all[0].at(i) == i % 4 + 1);
  }

  TEST_CASE("what is wrong with a folder is said") {
    const TemporaryFolder folder;
    CHECK(message(folder).find("images/NAME") == std::string::npos);
    CHECK(message(folder).find("cannot be read") != std::string::npos);
    fill(folder);
    CHECK(message(folder, 0).find("size 0 is not in 1") != std::string::npos);
    fs::remove(folder / "masks/a.png");
    CHECK(message(folder).find("a.JPG: has no mask") != std::string::npos);
    folder.write("masks/a.png", grey({2, 3}, {0, 0, 0, 7, 7, 7}));
    CHECK(message(folder).find("a.png: is 2 x 3 pixels, its image 2 x 2") != std::string::npos);
    folder.write("masks/a.png", "broken");
    CHECK(message(folder).find("a.png") != std::string::npos);
    folder.write("masks/a.png", grey({2, 2}, {0, 0, 0, 7}));
    folder.write("masks/c.png", grey({2, 2}, {0, 0, 0, 7}));
    CHECK(message(folder).find("c.png: is the mask of no image") != std::string::npos);
    fs::remove(folder / "masks/c.png");
    folder.write("images/a.png", grey({2, 2}, {1, 2, 3, 4}));
    CHECK(message(folder).find("has the name of") != std::string::npos);
    fs::remove(folder / "images/a.png");
    Array many({10, 10}, DType::u8);
    for (int64_t i = 0; i < 100; ++i) many.set(i, static_cast<double>(i));
    folder.write("masks/b.png", encode_png(many));
    CHECK(message(folder).find("the masks have 100 different values, not 2 to 64") != std::string::npos);
    folder.write("masks/a.png", grey({2, 2}, {0, 0, 0, 0}));
    folder.write("masks/b.png", grey({2, 4}, {0, 0, 0, 0, 0, 0, 0, 0}));
    CHECK(message(folder).find("the masks have 1 different value") != std::string::npos);
  }
}

#include "nn/data/image_folder.h"

#include <doctest/doctest.h>

#include <atomic>
#include <filesystem>

#include "engine/core/error.h"
#include "nn/data/loader.h"
#include "nn/run/png.h"
#include "tests/temporary_folder.h"

using namespace stithy;
namespace fs = std::filesystem;

namespace {
// A file whose pixels are all `value`.
std::string flat(int value, int64_t height = 6, int64_t width = 8) {
  Array image({height, width, 3}, DType::u8);
  for (uint8_t& byte : image.values<uint8_t>()) byte = static_cast<uint8_t>(value);
  return encode_png(image);
}
void fill(const TemporaryFolder& folder) {
  for (const char* name : {"cat", "ant/deep", "Bee", ".git", "cat/.cache"})
    fs::create_directories(folder / name);
  folder.write("cat/2.png", flat(2));
  folder.write("cat/10.PNG", flat(10, 9, 7));
  folder.write("cat/notes.txt", "no image");
  folder.write("cat/.hidden.png", "broken");
  folder.write("cat/.cache/3.png", "broken");
  folder.write(".git/1.png", "broken");
  folder.write("ant/deep/5.png", flat(5));
  folder.write("ant/7.jpeg", flat(7));  // a PNG, whatever its name
  folder.write("Bee/9.png", flat(9));
}
const ImageFolderOptions kSmall{.prepare = {ResizeShorter{4}}, .transforms = {CenterCrop{4, 4}}};

std::vector<int> first_bytes(const Dataset& data) {
  const std::vector<Array> all = fetch_all(data);
  std::vector<int> result;
  for (int64_t i = 0; i < data.size(); ++i)
    result.push_back(static_cast<int>(all[0].at(i * all[0].numel() / data.size())));
  return result;
}
}  // namespace

TEST_SUITE("image_folder") {
  TEST_CASE("classes and items in the order of their names") {
    TemporaryFolder folder;
    fill(folder);
    const ImageFolder data(folder.path(), kSmall);
    CHECK(data.classes() == std::vector<std::string>{"Bee", "ant", "cat"});
    CHECK(data.size() == 5);
    CHECK(data.columns()[0].shape == Shape{3, 4, 4});
    CHECK(data.columns()[0].dtype == DType::u8);
    CHECK(first_bytes(data) == std::vector<int>{9, 7, 5, 10, 2});
    const Array labels = fetch_all(data)[1];
    for (int64_t i = 0; i < 5; ++i)
      CHECK(labels.at(i) == std::vector<double>{0, 1, 1, 2, 2}[static_cast<size_t>(i)]);
    CHECK(data.path(3) == folder / "cat/10.PNG");
    ImageFolderOptions grey = kSmall;
    grey.channels = 1;
    CHECK(ImageFolder(folder.path(), grey).columns()[0].shape == Shape{1, 4, 4});
  }

  TEST_CASE("a cache of any size changes nothing") {
    TemporaryFolder folder;
    fill(folder);
    ImageFolderOptions options = kSmall;
    options.transforms = {RandomCrop{4, 4, 1}, ColorJitter{.brightness = 0.5}};
    const auto run = [&](uint64_t cache) {
      options.cache_bytes = cache;
      DataLoader loader(std::make_shared<ImageFolder>(folder.path(), options), {.batch = 5, .workers = 3});
      std::vector<Array> batches;
      for (int i = 0; i < 4; ++i) batches.push_back(loader.next().columns[0]);
      return batches;
    };
    const auto expected = run(0);
    CHECK(!same_bytes(expected[0], expected[1]));
    for (uint64_t cache : {1, 150, 1 << 20})
      for (size_t i = 0; i < 4; ++i) CHECK(same_bytes(run(cache)[i], expected[i]));
    // What is cached needs its file no more.
    options.cache_bytes = 1 << 20;
    const ImageFolder data(folder.path(), options);
    const std::vector<Array> before = fetch_all(data);
    fs::remove(folder / "cat/2.png");
    CHECK(same_bytes(fetch_all(data)[0], before[0]));
    options.cache_bytes = 3 * 4 * 5;  // one image
    fill(folder);
    const ImageFolder less(folder.path(), options);
    fetch_all(less);
    fs::remove(folder / "cat/2.png");
    CHECK_THROWS_WITH_AS(fetch_all(less), doctest::Contains("2.png"), Error);
  }

  TEST_CASE("a broken image is fatal when it is fetched, or left out from the beginning") {
    TemporaryFolder folder;
    fill(folder);
    folder.write("cat/4.png", flat(4).substr(0, 60));
    folder.write("ant/6.jpg", "\xff\xd8\xff\xe0");
    const ImageFolder fatal(folder.path(), kSmall);
    CHECK(fatal.size() == 7);
    CHECK_THROWS_WITH_AS(fetch_all(fatal), doctest::Contains("ant/6.jpg: the JPEG is broken"), Error);
    ImageFolderOptions options = kSmall;
    options.skip_broken = true;
    std::atomic<int64_t> most = 0;
    options.progress = [&](int64_t done, int64_t all) {
      CHECK(all == 7);
      most = std::max<int64_t>(most, done);
    };
    const ImageFolder whole(folder.path(), options);
    CHECK(most == 7);
    CHECK(first_bytes(whole) == std::vector<int>{9, 7, 5, 10, 2});
    REQUIRE(whole.skipped().size() == 2);
    CHECK(whole.skipped()[0].find("ant/6.jpg") != std::string::npos);
    CHECK(whole.skipped()[1].find("cat/4.png") != std::string::npos);
    folder.write("Bee/9.png", "broken");
    CHECK_THROWS_WITH_AS(ImageFolder(folder.path(), options),
                         doctest::Contains("Bee: every image of this class"), Error);
    CHECK_THROWS_WITH_AS(ImageFolder(folder.path(), kSmall), doctest::Contains("Bee/9.png"), Error);
  }

  TEST_CASE("folders that are none, and images of several sizes") {
    TemporaryFolder folder;
    CHECK_THROWS_WITH_AS(ImageFolder(folder / "none", kSmall), doctest::Contains("none: cannot be read"),
                         Error);
    CHECK_THROWS_WITH_AS(ImageFolder(folder.path(), kSmall), doctest::Contains("no folder with images"),
                         Error);
    fill(folder);
    ImageFolderOptions uneven = kSmall;
    uneven.transforms = {};
    const ImageFolder data(folder.path(), uneven);
    CHECK_THROWS_WITH_AS(fetch_all(data),
                         doctest::Contains("10.PNG: became u8 [3, 5, 4], the first image u8 [3, 4, 5]"),
                         Error);
    fs::create_directory(folder / "dog");
    CHECK_THROWS_WITH_AS(ImageFolder(folder.path(), kSmall), doctest::Contains("class 'dog' has no"), Error);
  }
}

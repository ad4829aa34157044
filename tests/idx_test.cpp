#include "nn/data/idx.h"

#include <doctest/doctest.h>
#include <zlib.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "engine/core/error.h"
#include "engine/core/file.h"
#include "tests/hostile.h"
#include "tests/temporary_folder.h"

using namespace stithy;

namespace {
std::string idx(int type, std::vector<uint32_t> dims, const std::string& data) {
  std::string bytes = {0, 0, static_cast<char>(type), static_cast<char>(dims.size())};
  for (uint32_t dim : dims)
    for (int shift = 24; shift >= 0; shift -= 8) bytes += static_cast<char>(dim >> shift);
  return bytes + data;
}
void write_mnist(const TemporaryFolder& folder, const std::string& labels = "\x03\x09") {
  folder.write("train-images-idx3-ubyte", idx(8, {2, 2, 3}, "abcdefghijkl"));
  folder.write("train-labels-idx1-ubyte", idx(8, {static_cast<uint32_t>(labels.size())}, labels));
  folder.write("t10k-images.idx3-ubyte", idx(8, {1, 2, 3}, "mnopqr"));
  const std::string packed = folder / "t10k-labels-idx1-ubyte.gz", plain = idx(8, {1}, "\x07");
  gzFile file = gzopen(packed.c_str(), "wb");
  gzwrite(file, plain.data(), static_cast<unsigned>(plain.size()));
  gzclose(file);
}
}  // namespace

TEST_SUITE("idx") {
  TEST_CASE("types and shapes") {
    TemporaryFolder folder;
    const Array bytes = read_idx(folder.write("a", idx(8, {2, 3}, "abcdef")));
    CHECK(bytes.shape() == Shape{2, 3});
    CHECK(bytes.at(5) == 'f');
    const Array integers =
        read_idx(folder.write("a", idx(12, {2}, std::string("\xff\xff\xff\xfe\x00\x00\x01\x02", 8))));
    CHECK(integers.values<int32_t>()[0] == -2);
    CHECK(integers.values<int32_t>()[1] == 258);
    CHECK(read_idx(folder.write("a", idx(13, {1}, std::string("\x3f\xc0\x00\x00", 4)))).at(0) == 1.5);
    CHECK(read_idx(folder.write("a", idx(8, {0, 28, 28}, ""))).numel() == 0);
    CHECK(read_idx(folder.write("a", idx(8, {}, "x"))).shape() == Shape{});
  }

  TEST_CASE("damage") {
    TemporaryFolder folder;
    const auto refused = [&](const std::string& bytes, const char* reason) {
      CHECK_THROWS_WITH_AS(read_idx(folder.write("a", bytes)), doctest::Contains(reason), Error);
    };
    refused("PK\x03\x04", "does not begin");
    refused(idx(9, {1}, "x"), "IDX type 9");
    refused(idx(8, {1, 1, 1, 1, 1, 1, 1}, "x"), "7 dimensions");
    refused(idx(8, {5}, "four"), "do not fill shape [5]");
    refused(idx(8, {3}, "four"), "do not fill shape [3]");
    refused(idx(12, {1}, "12345"), "do not fill");
    refused(idx(8, {~0u, ~0u, ~0u}, "four"), "do not fill");
    refused(idx(13, {1u << 31, 1u << 31, 1u << 30}, ""), "do not fill");
    const std::string valid = idx(12, {2, 3}, std::string(24, 'x'));
    const auto read = [&](std::string_view bytes) { read_idx(folder.write("b", bytes)); };
    CHECK(feed_truncated(valid, read).accepted == 0);
    CHECK(feed_damaged(valid, read).unexpected == "");
  }

  TEST_CASE("load_mnist finds every way of naming the files") {
    TemporaryFolder folder;
    write_mnist(folder);
    const TrainTest data = load_mnist(folder.path());
    CHECK(data.train.images.shape() == Shape{2, 2, 3});
    CHECK(data.train.labels.dtype() == DType::i32);
    CHECK(data.train.labels.at(1) == 9);
    CHECK(data.test.labels.at(0) == 7);
    const DatasetPtr set = image_dataset(data.train);
    CHECK(set->size() == 2);
    CHECK(set->columns()[1].padding == kIgnoreIndex);
  }

  TEST_CASE("load_mnist names what is missing or wrong") {
    TemporaryFolder folder;
    try {
      load_mnist(folder.path());
      FAIL("must throw");
    } catch (const Error& error) {
      CHECK(error.message().find(folder.path()) != std::string::npos);
      CHECK(error.message().find(
                "train-images-idx3-ubyte, train-images-idx3-ubyte.gz, train-images.idx3-ubyte") !=
            std::string::npos);
    }
    write_mnist(folder, "\x03\x0a");
    CHECK_THROWS_WITH_AS(load_mnist(folder.path()), doctest::Contains("label 10 at 1 is not below 10"),
                         Error);
    write_mnist(folder, "\x03\x01\x02");
    CHECK_THROWS_WITH_AS(load_mnist(folder.path()), doctest::Contains("has 3 labels for the 2 images"),
                         Error);
    write_mnist(folder);
    folder.write("train-images-idx3-ubyte", idx(8, {2, 6}, "abcdefghijkl"));
    CHECK_THROWS_WITH_AS(load_mnist(folder.path()), doctest::Contains("expected u8 [n, height, width]"),
                         Error);
  }

  TEST_CASE("the real MNIST") {
    const char* data_folder = std::getenv("STITHY_DATA");
    const std::string folder =
        std::string(data_folder ? data_folder : STITHY_SOURCE_DIR "/../shared/data") + "/mnist";
    if (!std::filesystem::exists(folder)) {
      std::printf("SKIP: the real MNIST: there is no folder %s\n", folder.c_str());
      return;
    }
    const TrainTest data = load_mnist(folder);
    CHECK(data.train.images.shape() == Shape{60000, 28, 28});
    CHECK(data.test.labels.shape() == Shape{10000});
    CHECK(data.test.labels.at(0) == 7);
    CHECK(Normalizer::fit(data.train.images).mean()[0] / 255 == doctest::Approx(0.1307).epsilon(0.001));
    CHECK(Normalizer::fit(data.train.images).std()[0] / 255 == doctest::Approx(0.3081).epsilon(0.001));
  }
}

#include "nn/data/cifar.h"

#include <doctest/doctest.h>

#include <string>

#include "engine/core/error.h"
#include "tests/hostile.h"
#include "tests/temporary_folder.h"

using namespace stithy;

namespace {
// An image whose planes are filled with label, label + 1 and label + 2.
std::string record(std::string labels) {
  const char value = labels.back();
  for (int plane = 0; plane < 3; ++plane) labels.append(1024, static_cast<char>(value + plane));
  return labels;
}
}  // namespace

TEST_SUITE("cifar") {
  TEST_CASE("records become planes and labels") {
    TemporaryFolder folder;
    const ImageClasses ten = read_cifar10(folder.write("a", record("\x03") + record("\x09")));
    CHECK(ten.images.shape() == Shape{2, 3, 32, 32});
    CHECK(ten.images.dtype() == DType::u8);
    CHECK(ten.labels.dtype() == DType::i32);
    CHECK(ten.labels.at(1) == 9);
    CHECK(ten.images.at(0) == 3);
    CHECK(ten.images.at(1023) == 3);
    CHECK(ten.images.at(1024) == 4);
    CHECK(ten.images.at(3072 + 2048) == 11);
    const ImageClasses hundred = read_cifar100(folder.write("a", record("\x13\x63")));
    CHECK(hundred.labels.at(0) == 99);
    CHECK(hundred.images.at(3071) == 101);
    CHECK(image_dataset(ten)->columns()[0].shape == Shape{3, 32, 32});
  }

  TEST_CASE("the files of a folder, by either way of naming them") {
    TemporaryFolder folder;
    folder.write("data_batch_2.bin", record("\x02"));
    folder.write("data_batch_1.bin", record("\x01"));
    folder.write("batches.meta.txt", "airplane");
    CHECK_THROWS_WITH_AS(load_cifar10(folder.path()), doctest::Contains("has no test*.bin or val*.bin"),
                         Error);
    folder.write("test_batch.bin", record("\x05"));
    const TrainTest data = load_cifar10(folder.path());
    CHECK(data.train.labels.numel() == 2);
    CHECK(data.train.labels.at(0) == 1);
    CHECK(data.test.labels.at(0) == 5);
    TemporaryFolder other;
    other.write("train_first4000.bin", record("\x07"));
    other.write("val_last1000.bin", record("\x08"));
    CHECK(load_cifar10(other.path()).test.labels.at(0) == 8);
    CHECK_THROWS_WITH_AS(load_cifar100(other.path()), doctest::Contains("3074"), Error);
    CHECK_THROWS_WITH_AS(load_cifar10(other / "none"), doctest::Contains("data_batch*.bin"), Error);
  }

  TEST_CASE("damage") {
    TemporaryFolder folder;
    CHECK_THROWS_WITH_AS(read_cifar10(folder.write("a", "")), doctest::Contains("0 bytes"), Error);
    CHECK_THROWS_WITH_AS(read_cifar10(folder.write("a", record("\x01") + "x")),
                         doctest::Contains("3074 bytes"), Error);
    CHECK_THROWS_WITH_AS(read_cifar10(folder.write("a", record("\x01") + record("\x0a"))),
                         doctest::Contains("label 10 of image 1 is not below 10"), Error);
    CHECK_THROWS_WITH_AS(read_cifar100(folder.write("a", record("\x01\x64"))),
                         doctest::Contains("label 100 of image 0 is not below 100"), Error);
    const auto read = [&](std::string_view bytes) { read_cifar10(folder.write("b", bytes)); };
    const std::string one = record("\x01");
    const HostileResult cut = feed_truncated(one, read);
    CHECK(cut.accepted == 0);
    CHECK(cut.unexpected == "");
    // Any byte makes a pixel; the label alone can be wrong.
    for (int bit = 0; bit < 8; ++bit) {
      std::string flipped = one;
      flipped[0] = static_cast<char>(flipped[0] ^ (1 << bit));
      if (bit < 4)
        CHECK_NOTHROW(read(flipped));
      else
        CHECK_THROWS_AS(read(flipped), Error);
    }
  }
}

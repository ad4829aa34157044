#include "nn/run/png.h"

#include <doctest/doctest.h>
#include <zlib.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "engine/core/error.h"
#include "nn/data/image.h"

using namespace stithy;

namespace {
uint32_t word(const std::string& bytes, size_t at) {
  uint32_t value = 0;
  for (size_t i = 0; i < 4; ++i) value = value << 8 | static_cast<uint8_t>(bytes[at + i]);
  return value;
}
}  // namespace

TEST_SUITE("png") {
  TEST_CASE("base64 (RFC 4648, section 10)") {
    CHECK(base64("") == "");
    CHECK(base64("f") == "Zg==");
    CHECK(base64("fo") == "Zm8=");
    CHECK(base64("foo") == "Zm9v");
    CHECK(base64("foobar") == "Zm9vYmFy");
    CHECK(base64("\xff\xfe\xfd") == "//79");
  }

  TEST_CASE("chunks, checksums and pixels") {
    for (bool rgb : {false, true}) {
      const Shape shape = rgb ? Shape{3, 5, 3} : Shape{3, 5};
      Array pixels(shape, DType::u8);
      for (int64_t i = 0; i < pixels.numel(); ++i) pixels.set(i, static_cast<double>(i * 37 % 256));
      const std::string png = encode_png(pixels);
      REQUIRE(png.substr(0, 8) == "\x89PNG\r\n\x1a\n");
      std::string types, data;
      for (size_t at = 8; at < png.size();) {
        const size_t size = word(png, at);
        const std::string body = png.substr(at + 4, size + 4);
        types += body.substr(0, 4) + " ";
        CHECK(word(png, at + 8 + size) ==
              crc32(0, reinterpret_cast<const Bytef*>(body.data()), static_cast<uInt>(body.size())));
        if (body.starts_with("IHDR")) {
          CHECK(word(body, 4) == 5);
          CHECK(word(body, 8) == 3);
          CHECK(body.substr(12) ==
                (rgb ? std::string("\x08\x02\0\0\0", 5) : std::string("\x08\x00\0\0\0", 5)));
        }
        if (body.starts_with("IDAT")) data = body.substr(4);
        at += size + 12;
      }
      CHECK(types == "IHDR IDAT IEND ");
      const size_t row = rgb ? 15 : 5, back = rgb ? 3 : 1;
      std::string raw(3 * (row + 1), '\0');
      uLongf length = raw.size();
      REQUIRE(uncompress(reinterpret_cast<Bytef*>(raw.data()), &length,
                         reinterpret_cast<const Bytef*>(data.data()), data.size()) == Z_OK);
      REQUIRE(length == raw.size());
      // Each row is filtered: as it is, or less its left or upper neighbour, their mean or Paeth's choice.
      std::vector<uint8_t> above(row), line(row);
      for (size_t y = 0; y < 3; ++y) {
        const uint8_t filter = static_cast<uint8_t>(raw[y * (row + 1)]);
        REQUIRE(filter <= 4);
        for (size_t i = 0; i < row; ++i) {
          const int a = i < back ? 0 : line[i - back], b = above[i], c = i < back ? 0 : above[i - back];
          const int pa = std::abs(b - c), pb = std::abs(a - c), pc = std::abs(a + b - 2 * c);
          const int paeth = pa <= pb && pa <= pc ? a : pb <= pc ? b : c;
          const int predicted[] = {0, a, b, (a + b) / 2, paeth};
          line[i] = static_cast<uint8_t>(raw[y * (row + 1) + 1 + i] + predicted[filter]);
        }
        CHECK(std::memcmp(line.data(), pixels.bytes().data() + y * row, row) == 0);
        above = line;
      }
    }
  }

  TEST_CASE("animation: chunks in the order of the standard, numbered through; every frame comes back") {
    std::vector<Array> frames;
    for (int f = 0; f < 3; ++f) {
      frames.emplace_back(Shape{4, 6, 3}, DType::u8);
      for (int64_t i = 0; i < frames.back().numel(); ++i)
        frames.back().set(i, double((i * 31 + f * 50) % 256));
    }
    const std::string apng = encode_apng(frames, 0.25);
    // A viewer of stills sees the first frame; libpng checks every checksum.
    CHECK(same_bytes(decode_image(apng, "x"), frames[0]));
    std::string types;
    uint32_t sequence = 0;
    const std::string head = apng.substr(0, 33), tail = apng.substr(apng.size() - 12);
    size_t frame = 0;
    for (size_t at = 8; at < apng.size(); at += word(apng, at) + 12) {
      const size_t size = word(apng, at);
      const std::string type = apng.substr(at + 4, 4), data = apng.substr(at + 8, size);
      types += type + " ";
      CHECK(word(apng, at + 8 + size) ==
            crc32(0, reinterpret_cast<const Bytef*>(apng.data() + at + 4), static_cast<uInt>(size + 4)));
      if (type == "acTL") CHECK(data == std::string("\0\0\0\x03\0\0\0\0", 8));
      if (type == "fcTL") {
        CHECK(word(data, 0) == sequence++);
        CHECK(word(data, 4) == 6);
        CHECK(word(data, 8) == 4);
        CHECK(data.substr(12) == std::string("\0\0\0\0\0\0\0\0\x00\xfa\x03\xe8\0\0", 14));
      }
      if (type == "fdAT") {
        CHECK(word(data, 0) == sequence++);
        // A frame's data is that of a still image.
        std::string body = "IDAT" + data.substr(4), still = head;
        const auto big_endian = [](uint64_t value) {
          return std::string{char(value >> 24), char(value >> 16), char(value >> 8), char(value)};
        };
        still +=
            big_endian(body.size() - 4) + body +
            big_endian(crc32(0, reinterpret_cast<const Bytef*>(body.data()), static_cast<uInt>(body.size())));
        CHECK(same_bytes(decode_image(still + tail, "x"), frames[++frame]));
      }
    }
    CHECK(types == "IHDR acTL fcTL IDAT fcTL fdAT fcTL fdAT IEND ");
    CHECK(frame == 2);
  }

  TEST_CASE("what is no animation is refused") {
    const std::vector<Array> one = {Array({2, 2}, DType::u8)};
    CHECK_THROWS_AS(encode_apng({}, 1), Error);
    CHECK_THROWS_AS(encode_apng(one, 0), Error);
    CHECK_THROWS_AS(encode_apng(one, 66), Error);
    CHECK_THROWS_AS(encode_apng(one, std::nan("")), Error);
    CHECK_THROWS_AS(encode_apng(std::vector<Array>{one[0], Array({2, 3}, DType::u8)}, 1), Error);
    CHECK_THROWS_AS(encode_apng(std::vector<Array>{Array({2, 3}, DType::f32)}, 1), Error);
  }

  TEST_CASE("what is no image is refused") {
    CHECK_THROWS_AS(encode_png(Array({2, 2}, DType::f32)), Error);
    CHECK_THROWS_AS(encode_png(Array({2, 2, 4}, DType::u8)), Error);
    CHECK_THROWS_AS(encode_png(Array({0, 2}, DType::u8)), Error);
    CHECK_THROWS_AS(encode_png(Array({1, 65536}, DType::u8)), Error);
    CHECK(png_data_uri(Array({1, 1}, DType::u8)).starts_with("data:image/png;base64,iVBORw0KGgo"));
  }
}

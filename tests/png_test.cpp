#include "nn/run/png.h"

#include <doctest/doctest.h>
#include <zlib.h>

#include <cstring>

#include "engine/core/error.h"

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
      const size_t row = rgb ? 15 : 5;
      std::string raw(3 * (row + 1), '\0');
      uLongf length = raw.size();
      REQUIRE(uncompress(reinterpret_cast<Bytef*>(raw.data()), &length,
                         reinterpret_cast<const Bytef*>(data.data()), data.size()) == Z_OK);
      REQUIRE(length == raw.size());
      for (size_t y = 0; y < 3; ++y) {
        CHECK(raw[y * (row + 1)] == 0);
        CHECK(std::memcmp(raw.data() + y * (row + 1) + 1, pixels.bytes().data() + y * row, row) == 0);
      }
    }
  }

  TEST_CASE("what is no image is refused") {
    CHECK_THROWS_AS(encode_png(Array({2, 2}, DType::f32)), Error);
    CHECK_THROWS_AS(encode_png(Array({2, 2, 4}, DType::u8)), Error);
    CHECK_THROWS_AS(encode_png(Array({0, 2}, DType::u8)), Error);
    CHECK_THROWS_AS(encode_png(Array({1, 65536}, DType::u8)), Error);
    CHECK(png_data_uri(Array({1, 1}, DType::u8)).starts_with("data:image/png;base64,iVBORw0KGgo"));
  }
}

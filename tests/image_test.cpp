#include "nn/data/image.h"

#include <doctest/doctest.h>
#include <zlib.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <vector>

#include "engine/core/error.h"
#include "nn/run/png.h"
#include "tests/hostile.h"
#include "tests/temporary_folder.h"

using namespace stithy;

namespace {

std::string word(uint32_t value) {
  std::string text;
  for (int shift = 24; shift >= 0; shift -= 8) text += static_cast<char>(value >> shift);
  return text;
}
std::string chunk(const std::string& type, const std::string& data) {
  const std::string body = type + data;
  return word(static_cast<uint32_t>(data.size())) + body +
         word(static_cast<uint32_t>(
             crc32(0, reinterpret_cast<const Bytef*>(body.data()), static_cast<uInt>(body.size()))));
}
// A PNG file around `rows`, each a filter byte (0) and its packed samples.
std::string png(uint32_t width, uint32_t height, int depth, int colour, const std::string& rows,
                bool interlaced = false, const std::string& extra = "") {
  uLongf size = compressBound(rows.size());
  std::string packed(size, '\0');
  REQUIRE(compress(reinterpret_cast<Bytef*>(packed.data()), &size,
                   reinterpret_cast<const Bytef*>(rows.data()), rows.size()) == Z_OK);
  packed.resize(size);
  const std::string header =
      word(width) + word(height) +
      std::string{static_cast<char>(depth), static_cast<char>(colour), 0, 0, interlaced};
  return "\x89PNG\r\n\x1a\n" + chunk("IHDR", header) + extra + chunk("IDAT", packed) + chunk("IEND", "");
}
template <size_t N>
std::string raw(const char (&text)[N]) {
  return {text, N - 1};
}
std::vector<int> pixels(const Array& image) {
  const auto values = image.values<uint8_t>();
  return {values.begin(), values.end()};
}
std::vector<int> decoded(const std::string& file, int channels = 3) {
  return pixels(decode_image(file, "x.png", channels));
}

std::string from_hex(const nlohmann::json& text) {
  const std::string& digits = text.get_ref<const std::string&>();
  std::string bytes;
  for (size_t i = 0; i < digits.size(); i += 2)
    bytes += static_cast<char>(std::strtol(digits.substr(i, 2).c_str(), nullptr, 16));
  return bytes;
}
nlohmann::json jpegs() {
  std::ifstream file(STITHY_SOURCE_DIR "/tests/golden/images.json");
  REQUIRE(file.is_open());
  return nlohmann::json::parse(file);
}
std::string jpeg(const std::string& name) {
  for (const auto& image : jpegs())
    if (image["name"] == name) return from_hex(image["file"]);
  FAIL("no such image: " << name);
  return {};
}
int largest_difference(const Array& image, const std::string& expected) {
  REQUIRE(image.bytes().size() == expected.size());
  int largest = 0;
  for (size_t i = 0; i < expected.size(); ++i)
    largest =
        std::max(largest, std::abs(int{image.values<uint8_t>()[i]} - int{static_cast<uint8_t>(expected[i])}));
  return largest;
}

}  // namespace

TEST_SUITE("image") {
  TEST_CASE("PNG: every kind of pixel") {
    using V = std::vector<int>;
    CHECK(decoded(png(2, 1, 8, 2, raw("\0abcdef"))) == V{'a', 'b', 'c', 'd', 'e', 'f'});
    CHECK(decoded(png(2, 1, 8, 0, raw("\0ab"))) == V{'a', 'a', 'a', 'b', 'b', 'b'});
    CHECK(decoded(png(2, 1, 8, 0, raw("\0ab")), 1) == V{'a', 'b'});
    // Alpha is dropped, not mixed in.
    CHECK(decoded(png(2, 1, 8, 6, raw("\0abc\0def\x80"))) == V{'a', 'b', 'c', 'd', 'e', 'f'});
    CHECK(decoded(png(2, 1, 8, 4, raw("\0a\0b\x80")), 1) == V{'a', 'b'});
    // 0x0180 of 0xffff is nearer to 1 of 255 than to 2, and 0x0181 to 2.
    CHECK(decoded(png(4, 1, 16, 0, raw("\0\xff\xff\0\0\x01\x80\x01\x82")), 1) == V{255, 0, 1, 2});
    CHECK(decoded(png(1, 1, 16, 2, raw("\0\x80\x80\x10\x10\xff\xff"))) == V{128, 16, 255});
    CHECK(decoded(png(9, 1, 1, 0, raw("\0\xa5\x80")), 1) == V{255, 0, 255, 0, 0, 255, 0, 255, 255});
    CHECK(decoded(png(4, 1, 2, 0, raw("\0\x1b")), 1) == V{0, 85, 170, 255});
    CHECK(decoded(png(2, 1, 4, 0, raw("\0\x0f")), 1) == V{0, 255});
    const std::string palette = chunk("PLTE", "abcdef");
    CHECK(decoded(png(3, 1, 1, 3, raw("\0\x40"), false, palette)) ==
          V{'a', 'b', 'c', 'd', 'e', 'f', 'a', 'b', 'c'});
    CHECK(decoded(png(1, 1, 8, 3, raw("\0\1"), false, palette + chunk("tRNS", raw("\0\0")))) ==
          V{'d', 'e', 'f'});
    // Red, green and blue by their weights.
    CHECK(decoded(png(3, 1, 8, 2, raw("\0\xff\0\0\0\xff\0\0\0\xff")), 1) == V{76, 150, 29});
    // Gamma and other notes change nothing.
    CHECK(decoded(
              png(1, 1, 8, 0, raw("\0\x64"), false, chunk("gAMA", word(100000)) + chunk("tEXt", raw("a\0b"))),
              1) == V{100});
  }

  TEST_CASE("PNG: interlaced, by its seven passes") {
    // Of 3 x 3 pixels, passes 1, 5 (twice two), 6 and 7 have (0,0); (0,2); (2,0) (2,2); (0,1) (2,1); row 1.
    const std::string rows = raw("\0a") + raw("\0c") + raw("\0gi") + raw("\0b") + raw("\0h") + raw("\0def");
    CHECK(decoded(png(3, 3, 8, 0, rows, true), 1) ==
          std::vector<int>{'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i'});
  }

  TEST_CASE("what encode_png writes comes back") {
    Array rgb({5, 7, 3}, DType::u8);
    for (int64_t i = 0; i < rgb.numel(); ++i) rgb.set(i, static_cast<double>(i * 89 % 256));
    CHECK(same_bytes(decode_image(encode_png(rgb), "x"), rgb));
    const Array planes = to_planes(rgb);
    CHECK(planes.shape() == Shape{3, 5, 7});
    CHECK(planes.at(35 + 7 + 2) == rgb.at((7 + 2) * 3 + 1));
    CHECK(same_bytes(from_planes(planes), rgb));
    CHECK_THROWS_AS(to_planes(Array({2, 2}, DType::u8)), Error);
  }

  TEST_CASE("JPEG: as Pillow decodes it; upright; grey, progressive, CMYK") {
    for (const auto& image : jpegs()) {
      CAPTURE(image["name"]);
      const std::string file = from_hex(image["file"]);
      const Array rgb = decode_image(file, "x.jpg"), grey = decode_image(file, "x.jpg", 1);
      Shape shape;
      for (const auto& dim : image["shape"]) shape.push_back(dim.get<int64_t>());
      CHECK(rgb.shape() == shape);
      CHECK(grey.shape() == Shape{shape[0], shape[1], 1});
      // Versions of the library round chroma differently.
      CHECK(largest_difference(rgb, from_hex(image["pixels"])) <= 2);
      CHECK(largest_difference(grey, from_hex(image["grey"])) <= 2);
    }
  }

  TEST_CASE("every EXIF orientation") {
    // "ab" over "cd", as a viewer shows it.
    const char* shown[] = {"abcd", "badc", "dcba", "cdab", "acbd", "cadb", "dbca", "bdac"};
    for (int orientation = 1; orientation <= 8; ++orientation)
      for (bool little : {false, true}) {
        const auto number = [&](uint32_t value, size_t bytes) {
          std::string text = word(value).substr(4 - bytes);
          if (little) std::reverse(text.begin(), text.end());
          return text;
        };
        const std::string exif = (little ? "II" : "MM") + number(42, 2) + number(8, 4) + number(1, 2) +
                                 number(0x0112, 2) + number(3, 2) + number(1, 4) +
                                 number(static_cast<uint32_t>(orientation), 2) + number(0, 2) + number(0, 4);
        const std::string file = png(2, 2, 8, 0, raw("\0ab\0cd"), false, chunk("eXIf", exif));
        const auto got = decoded(file, 1);
        CHECK(std::string(got.begin(), got.end()) == shown[orientation - 1]);
      }
  }

  TEST_CASE("what cannot be decoded is named") {
    const auto refused = [](const std::string& bytes, const char* reason) {
      const AllocationLimit bounded(1 << 20);
      CHECK_THROWS_WITH_AS(decode_image(bytes, "a.png"), doctest::Contains(reason), Error);
      CHECK_THROWS_WITH_AS(decode_image(bytes, "a.png"), doctest::Contains("a.png: "), Error);
    };
    refused("", "neither a PNG nor a JPEG");
    refused("GIF89a", "neither a PNG nor a JPEG");
    refused(png(0, 1, 8, 0, raw("\0")), "broken");
    refused(png(60000, 60000, 8, 0, raw("\0")), "60000 by 60000 pixels, more than the limit");
    refused(png(11000, 11000, 8, 0, raw("\0")), "too short for the 11000 by 11000 pixels");
    refused(png(1000001, 1, 1, 0, raw("\0")), "broken: Invalid IHDR");
    refused(png(2, 2, 8, 0, raw("\0ab")), "broken");
    std::string wrong = png(2, 1, 8, 0, raw("\0ab"));
    wrong[wrong.size() - 14] = static_cast<char>(wrong[wrong.size() - 14] ^ 1);
    refused(wrong, "CRC");
    std::string large = jpeg("rgb");
    const size_t frame = large.find(raw("\xff\xc0\x00\x11\x08"));
    REQUIRE(frame != large.npos);
    large.replace(frame + 5, 4, raw("\x27\x10\x27\x10"));
    refused(large, "too short for the 10000 by 10000 pixels");
    CHECK_THROWS_AS(decode_image(jpeg("rgb"), "a.jpg", 2), Error);
    CHECK_THROWS_WITH_AS(decode_image(jpeg("rgb").substr(0, 700), "a.jpg"),
                         doctest::Contains("Premature end of JPEG file"), Error);
    TemporaryFolder folder;
    CHECK_THROWS_WITH_AS(read_image(folder / "none.png"), doctest::Contains("none.png"), Error);
    CHECK(read_image(folder.write("b.png", png(1, 1, 8, 0, raw("\0a")))).shape() == Shape{1, 1, 3});
  }

  TEST_CASE("hostile: truncations, bit flips and absurd numbers") {
    const auto read = [](std::string_view bytes) { decode_image(bytes, "x"); };
    const std::string palette = chunk("PLTE", "abcdef");
    for (const std::string& file :
         {png(5, 3, 8, 2, std::string(48, '\0')), png(5, 3, 16, 0, std::string(33, '\0'), false),
          png(3, 3, 1, 3, std::string(12, '\0'), true, palette), jpeg("subsampled"), jpeg("progressive"),
          jpeg("cmyk"), jpeg("turned")}) {
      const HostileResult cut = feed_truncated(file, read, 4 << 20),
                          damaged = feed_damaged(file, read, 4 << 20);
      // A JPEG may lack its last marker.
      CHECK(cut.accepted <= (file.starts_with("\x89") ? 0 : 2));
      CHECK(cut.unexpected == "");
      CHECK(damaged.unexpected == "");
      CHECK(damaged.refused > 0);
    }
  }
}

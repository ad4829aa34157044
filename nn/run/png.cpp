#include "nn/run/png.h"

#include <zlib.h>

#include "engine/core/error.h"

namespace stithy {
namespace {

std::string big_endian(uint32_t value) {
  return {static_cast<char>(value >> 24), static_cast<char>(value >> 16), static_cast<char>(value >> 8),
          static_cast<char>(value)};
}

std::string chunk(const std::string& type, const std::string& data) {
  const std::string body = type + data;
  const uLong check = crc32(0, reinterpret_cast<const Bytef*>(body.data()), static_cast<uInt>(body.size()));
  return big_endian(static_cast<uint32_t>(data.size())) + body + big_endian(static_cast<uint32_t>(check));
}

}  // namespace

std::string encode_png(const Array& pixels) {
  const Shape& shape = pixels.shape();
  const bool grey = shape.rank() == 2, rgb = shape.rank() == 3 && shape[2] == 3;
  if (pixels.dtype() != DType::u8 || (!grey && !rgb))
    throw Error("png", cat("cannot encode ", pixels.dtype(), " ", shape),
                "pixels are u8, [height, width] or [height, width, 3]");
  if (shape[0] < 1 || shape[1] < 1 || shape[0] > 65535 || shape[1] > 65535)
    throw Error("png", cat("an image of shape ", shape, " is empty or too large"));
  const auto values = pixels.values<uint8_t>();
  const size_t row = static_cast<size_t>(shape[1]) * (rgb ? 3 : 1);
  std::string raw;
  raw.reserve((row + 1) * static_cast<size_t>(shape[0]));
  for (size_t at = 0; at < values.size(); at += row) {
    raw += '\0';  // filter: none
    raw.append(reinterpret_cast<const char*>(values.data() + at), row);
  }
  uLongf size = compressBound(raw.size());
  std::string packed(size, '\0');
  if (compress2(reinterpret_cast<Bytef*>(packed.data()), &size, reinterpret_cast<const Bytef*>(raw.data()),
                raw.size(), 9) != Z_OK)
    throw Error("png", "zlib cannot compress the image");
  packed.resize(size);
  const std::string header = big_endian(static_cast<uint32_t>(shape[1])) +
                             big_endian(static_cast<uint32_t>(shape[0])) +
                             std::string{8, static_cast<char>(rgb ? 2 : 0), 0, 0, 0};
  return "\x89PNG\r\n\x1a\n" + chunk("IHDR", header) + chunk("IDAT", packed) + chunk("IEND", "");
}

std::string base64(std::string_view bytes) {
  constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t word = 0;
    for (size_t k = 0; k < 3; ++k)
      word = word << 8 | (i + k < bytes.size() ? static_cast<uint8_t>(bytes[i + k]) : 0);
    for (size_t k = 0; k < 4; ++k) text += i + k <= bytes.size() ? kDigits[word >> (18 - 6 * k) & 63] : '=';
  }
  return text;
}

std::string png_data_uri(const Array& pixels) {
  return "data:image/png;base64," + base64(encode_png(pixels));
}

}  // namespace stithy

#include "nn/run/png.h"

#include <png.h>

#include <cmath>
#include <csetjmp>
#include <cstdio>
#include <vector>

#include "engine/core/error.h"

// libpng leaves a failing call by longjmp, which must not pass over a destructor: a function that calls
// setjmp holds nothing but pointers and numbers.

namespace stithy {
namespace {

struct Output {
  std::string bytes;
  char message[128] = "";
};

[[noreturn]] void failed(png_structp png, png_const_charp message) {
  auto* output = static_cast<Output*>(png_get_error_ptr(png));
  std::snprintf(output->message, sizeof output->message, "%s", message);
  png_longjmp(png, 1);
}

void put(png_structp png, png_bytep data, size_t size) {
  bool done = true;
  try {
    static_cast<Output*>(png_get_io_ptr(png))->bytes.append(reinterpret_cast<const char*>(data), size);
  } catch (const std::bad_alloc&) {
    done = false;
  }
  if (!done) png_error(png, "out of memory");
}

bool write_image(png_structp png, png_infop info, const Shape* shape, png_bytepp rows) {
  if (setjmp(png_jmpbuf(png))) return false;
  png_set_IHDR(png, info, static_cast<png_uint_32>((*shape)[1]), static_cast<png_uint_32>((*shape)[0]), 8,
               shape->rank() == 3 ? PNG_COLOR_TYPE_RGB : PNG_COLOR_TYPE_GRAY, PNG_INTERLACE_NONE,
               PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
  png_set_compression_level(png, 9);
  png_write_info(png, info);
  png_write_image(png, rows);
  png_write_end(png, nullptr);
  return true;
}

struct Chunk {
  std::string type, data;
};

bool write_chunks(png_structp png, const Chunk* chunks, size_t count) {
  if (setjmp(png_jmpbuf(png))) return false;
  png_write_sig(png);
  for (const Chunk* at = chunks; at < chunks + count; ++at)
    png_write_chunk(png, reinterpret_cast<png_const_bytep>(at->type.data()),
                    reinterpret_cast<png_const_bytep>(at->data.data()), at->data.size());
  return true;
}

// What `write(png, info)` writes.
template <class Write>
std::string encoded(Write write) {
  Output output;
  struct Writer {
    png_structp png = nullptr;
    png_infop info = nullptr;
    ~Writer() { png_destroy_write_struct(&png, &info); }
  } writer;
  writer.png = png_create_write_struct(PNG_LIBPNG_VER_STRING, &output, failed, [](auto...) {});
  if (writer.png) writer.info = png_create_info_struct(writer.png);
  if (!writer.info) throw Error("png", "libpng cannot start");
  png_set_write_fn(writer.png, &output, put, [](png_structp) {});
  if (!write(writer.png, writer.info)) throw Error("png", output.message);
  return std::move(output.bytes);
}

std::string big_endian(uint64_t value, int bytes = 4) {
  std::string text;
  for (int i = bytes - 1; i >= 0; --i) text += static_cast<char>(value >> 8 * i);
  return text;
}

// The chunks of a file that encode_png wrote, those of one type that follow each other joined.
std::vector<Chunk> chunks_of(const std::string& png) {
  std::vector<Chunk> chunks;
  for (size_t at = 8; at < png.size();) {
    const size_t size = png_get_uint_32(reinterpret_cast<png_const_bytep>(png.data() + at));
    const std::string type = png.substr(at + 4, 4);
    if (chunks.empty() || chunks.back().type != type) chunks.push_back({type, {}});
    chunks.back().data += png.substr(at + 8, size);
    at += size + 12;
  }
  return chunks;
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
  std::vector<png_bytep> rows(static_cast<size_t>(shape[0]));
  for (size_t y = 0; y < rows.size(); ++y)
    rows[y] = const_cast<png_bytep>(reinterpret_cast<png_const_bytep>(pixels.bytes().data()) +
                                    y * (pixels.bytes().size() / rows.size()));
  return encoded(
      [&](png_structp png, png_infop info) { return write_image(png, info, &shape, rows.data()); });
}

std::string encode_apng(std::span<const Array> frames, double seconds_per_frame) {
  if (frames.empty()) throw Error("png", "an animation needs a frame");
  if (!(seconds_per_frame >= 0.001 && seconds_per_frame <= 65))
    throw Error("png", cat(seconds_per_frame, " seconds a frame are not in 0.001 to 65"));
  std::vector<Chunk> chunks;
  uint32_t sequence = 0;
  for (const Array& frame : frames) {
    if (frame.shape() != frames[0].shape())
      throw Error("png", cat("frames of shapes ", frames[0].shape(), " and ", frame.shape(),
                             " do not make one animation"));
    std::vector<Chunk> still = chunks_of(encode_png(frame));
    const bool first = chunks.empty();
    if (first) chunks = {std::move(still.front()), {"acTL", big_endian(frames.size()) + big_endian(0)}};
    // Number, width, height, offset, time as a fraction; the frame stays and replaces what was there.
    chunks.push_back(
        {"fcTL", big_endian(sequence++) + chunks[0].data.substr(0, 8) + big_endian(0, 8) +
                     big_endian(static_cast<uint64_t>(std::llround(seconds_per_frame * 1000)), 2) +
                     big_endian(1000, 2) + big_endian(0, 2)});
    for (Chunk& chunk : still)
      if (chunk.type == "IDAT")
        chunks.push_back(
            {first ? "IDAT" : "fdAT", first ? std::move(chunk.data) : big_endian(sequence++) + chunk.data});
  }
  chunks.push_back({"IEND", {}});
  return encoded([&](png_structp png, png_infop) { return write_chunks(png, chunks.data(), chunks.size()); });
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

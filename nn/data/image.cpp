#include "nn/data/image.h"

// jpeglib.h needs size_t and FILE.
#include <cstdio>
//
#include <jerror.h>
#include <jpeglib.h>
#include <png.h>

#include <algorithm>
#include <csetjmp>
#include <cstring>
#include <memory>
#include <vector>

#include "engine/core/error.h"
#include "engine/core/file.h"

// libpng and libjpeg leave a failing call by longjmp, which must not pass over a destructor. So a function
// that calls setjmp holds nothing but pointers and numbers; what has a destructor lives in its caller.

namespace stithy {
namespace {

constexpr char kPngSignature[] = "\x89PNG\r\n\x1a\n";

// Allocates the pixels of an image whose header was read. `most_bytes` is what a file of this size can hold
// in the format's most compact form: a header that claims more is a lie.
Array allocate(const std::string& where, uint64_t width, uint64_t height, int channels, uint64_t bytes,
               uint64_t most_bytes) {
  if (width == 0 || height == 0) throw Error(where, cat("is an image of ", width, " by ", height, " pixels"));
  if (width > static_cast<uint64_t>(kImagePixels) / height)
    throw Error(where, cat("is an image of ", width, " by ", height, " pixels, more than the limit of ",
                           kImagePixels, " in all"));
  if (bytes > most_bytes)
    throw Error(where, cat("is too short for the ", width, " by ", height, " pixels that its header claims"),
                "is the download complete?");
  return Array({static_cast<int64_t>(height), static_cast<int64_t>(width), channels}, DType::u8);
}

// The orientation, 1 to 8, of EXIF data: a TIFF header and a folder of entries. 1, upright, where it has none
// or is broken: a camera's note is no reason to refuse an image.
int orientation(std::string_view tiff) {
  const bool little = tiff.starts_with("II");
  const auto number = [&](size_t at, size_t bytes) -> size_t {
    size_t value = 0;
    for (size_t i = 0; i < bytes && at + bytes <= tiff.size(); ++i)
      value |= size_t{static_cast<uint8_t>(tiff[at + i])} << 8 * (little ? i : bytes - 1 - i);
    return value;
  };
  if ((!little && !tiff.starts_with("MM")) || number(2, 2) != 42) return 1;
  const size_t folder = number(4, 4), entries = number(folder, 2);
  for (size_t i = 0; i < entries; ++i) {
    const size_t entry = folder + 2 + 12 * i;
    if (number(entry, 2) != 0x0112) continue;
    const size_t value = number(entry + 8, 2);
    return number(entry + 2, 2) == 3 && value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
  }
  return 1;
}

Array upright(Array image, int orientation) {
  if (orientation == 1) return image;
  const bool transposed = orientation >= 5;
  const bool flip_y = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  const bool flip_x = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
  const int64_t h = image.shape()[0], w = image.shape()[1], c = image.shape()[2];
  Array result(transposed ? Shape{w, h, c} : Shape{h, w, c}, DType::u8);
  const std::byte* from = image.bytes().data();
  std::byte* to = result.bytes().data();
  for (int64_t y = 0; y < result.shape()[0]; ++y)
    for (int64_t x = 0; x < result.shape()[1]; ++x, to += c) {
      const int64_t v = transposed ? x : y, u = transposed ? y : x;
      std::memcpy(to, from + ((flip_y ? h - 1 - v : v) * w + (flip_x ? w - 1 - u : u)) * c,
                  static_cast<size_t>(c));
    }
  return result;
}

Array with_channels(Array image, int channels) {
  if (image.shape()[2] == channels) return image;
  Array result({image.shape()[0], image.shape()[1], channels}, DType::u8);
  const auto from = image.values<uint8_t>(), to = result.values<uint8_t>();
  for (size_t i = 0, n = std::min(from.size(), to.size()); i < n; ++i)
    if (channels == 3)
      to[3 * i] = to[3 * i + 1] = to[3 * i + 2] = from[i];
    else  // Pillow's weights, in units of 2^-16
      to[i] = static_cast<uint8_t>(
          (19595u * from[3 * i] + 38470u * from[3 * i + 1] + 7471u * from[3 * i + 2] + 0x8000u) >> 16);
  return result;
}

// ---- PNG

struct PngInput {
  std::string_view bytes;
  char message[128] = "";
};

[[noreturn]] void png_failed(png_structp png, png_const_charp message) {
  auto* input = static_cast<PngInput*>(png_get_error_ptr(png));
  std::snprintf(input->message, sizeof input->message, "%s", message);
  png_longjmp(png, 1);
}

void png_take(png_structp png, png_bytep out, size_t size) {
  auto* input = static_cast<PngInput*>(png_get_io_ptr(png));
  if (size > input->bytes.size()) png_error(png, "the file ends early");
  std::memcpy(out, input->bytes.data(), size);
  input->bytes.remove_prefix(size);
}

bool png_begin(png_structp png, png_infop info) {
  // Chunks that may unpack to megabytes and that nobody here reads.
  static const png_byte kSkipped[] = "iCCP\0iTXt\0sPLT\0tEXt\0zTXt";
  if (setjmp(png_jmpbuf(png))) return false;
  png_set_keep_unknown_chunks(png, PNG_HANDLE_CHUNK_NEVER, kSkipped, 5);
  png_read_info(png, info);
  png_set_expand(png);
  png_set_scale_16(png);
  png_set_strip_alpha(png);
  png_set_interlace_handling(png);
  return true;
}

bool png_finish(png_structp png, png_infop info, png_bytepp rows) {
  if (setjmp(png_jmpbuf(png))) return false;
  png_read_image(png, rows);
  png_read_end(png, info);
  return true;
}

bool png_update(png_structp png, png_infop info) {
  if (setjmp(png_jmpbuf(png))) return false;
  png_read_update_info(png, info);
  return true;
}

Array decode_png(std::string_view bytes, const std::string& where) {
  PngInput input{bytes};
  struct Reader {
    png_structp png = nullptr;
    png_infop info = nullptr;
    ~Reader() { png_destroy_read_struct(&png, &info, nullptr); }
  } reader;
  reader.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &input, png_failed, [](auto...) {});
  if (reader.png) reader.info = png_create_info_struct(reader.png);
  if (!reader.info) throw Error(where, "libpng cannot start");
  png_set_read_fn(reader.png, &input, png_take);
  const auto check = [&](bool ok) {
    if (!ok) throw Error(where, cat("the PNG is broken: ", input.message));
  };
  check(png_begin(reader.png, reader.info));
  const uint64_t width = png_get_image_width(reader.png, reader.info),
                 height = png_get_image_height(reader.png, reader.info);
  const int colour = png_get_color_type(reader.png, reader.info);
  const uint64_t packed_row = png_get_rowbytes(reader.png, reader.info);
  // Deflate packs at most 1032 bytes into one (258 into 2 bits).
  Array image = allocate(where, width, height, colour & PNG_COLOR_MASK_COLOR ? 3 : 1, packed_row * height,
                         1032 * bytes.size());
  check(png_update(reader.png, reader.info));
  const size_t row = png_get_rowbytes(reader.png, reader.info);
  if (row * height != image.bytes().size()) throw Error(where, "the PNG has rows of an unknown form");
  std::vector<png_bytep> rows(height);
  for (size_t y = 0; y < rows.size(); ++y)
    rows[y] = reinterpret_cast<png_bytep>(image.bytes().data() + y * row);
  check(png_finish(reader.png, reader.info, rows.data()));
  png_bytep exif = nullptr;
  png_uint_32 exif_size = 0;
  if (!png_get_eXIf_1(reader.png, reader.info, &exif_size, &exif)) return image;
  return upright(std::move(image), orientation({reinterpret_cast<const char*>(exif), exif_size}));
}

// ---- JPEG

struct JpegReader {
  jpeg_decompress_struct info{};
  jpeg_error_mgr errors{};
  jpeg_progress_mgr progress{};
  std::jmp_buf jump;
  char message[JMSG_LENGTH_MAX] = "";
  ~JpegReader() { jpeg_destroy_decompress(&info); }
};

[[noreturn]] void jpeg_failed(j_common_ptr info) {
  auto* reader = static_cast<JpegReader*>(info->client_data);
  info->err->format_message(info, reader->message);
  std::longjmp(reader->jump, 1);
}

void jpeg_warned(j_common_ptr info, int level) {
  if (level >= 0) return;
  // These mean that pixels are lost; others, such as stray bytes between markers, are common and harmless.
  for (int lost : {JWRN_JPEG_EOF, JWRN_HIT_MARKER, JWRN_HUFF_BAD_CODE, JWRN_MUST_RESYNC})
    if (info->err->msg_code == lost) jpeg_failed(info);
}

// A few hundred bytes can hold thousands of scans, each of which costs a pass over the whole image.
void jpeg_watch(j_common_ptr info) {
  constexpr int kScans = 500;
  auto* reader = static_cast<JpegReader*>(info->client_data);
  if (reader->info.input_scan_number <= kScans) return;
  std::snprintf(reader->message, sizeof reader->message, "more than %d scans", kScans);
  std::longjmp(reader->jump, 1);
}

bool jpeg_begin(JpegReader* reader, const unsigned char* bytes, size_t size) {
  if (setjmp(reader->jump)) return false;
  jpeg_decompress_struct* info = &reader->info;
  info->err = jpeg_std_error(&reader->errors);
  reader->errors.error_exit = jpeg_failed;
  reader->errors.emit_message = jpeg_warned;
  info->client_data = reader;
  jpeg_create_decompress(info);
  jpeg_mem_src(info, bytes, static_cast<unsigned long>(size));
  jpeg_save_markers(info, JPEG_APP0 + 1, 0xffff);
  jpeg_read_header(info, TRUE);
  const J_COLOR_SPACE space = info->jpeg_color_space;
  info->out_color_space = space == JCS_GRAYSCALE                   ? JCS_GRAYSCALE
                          : space == JCS_CMYK || space == JCS_YCCK ? JCS_CMYK
                                                                   : JCS_RGB;
  jpeg_calc_output_dimensions(info);
  reader->progress.progress_monitor = jpeg_watch;
  info->progress = &reader->progress;
  return true;
}

bool jpeg_finish(JpegReader* reader, unsigned char* pixels, size_t row) {
  if (setjmp(reader->jump)) return false;
  jpeg_decompress_struct* info = &reader->info;
  jpeg_start_decompress(info);
  while (info->output_scanline < info->output_height) {
    JSAMPROW at = pixels + info->output_scanline * row;
    jpeg_read_scanlines(info, &at, 1);
  }
  jpeg_finish_decompress(info);
  return true;
}

// Adobe's files hold 255 - ink.
Array from_cmyk(const Array& cmyk, bool inverted) {
  Array rgb({cmyk.shape()[0], cmyk.shape()[1], 3}, DType::u8);
  const auto from = cmyk.values<uint8_t>();
  const auto to = rgb.values<uint8_t>();
  for (size_t i = 0; i < to.size(); ++i) {
    const unsigned ink = from[i / 3 * 4 + i % 3], black = from[i / 3 * 4 + 3];
    const unsigned product = inverted ? ink * black : (255 - ink) * (255 - black);
    to[i] = static_cast<uint8_t>((product + 127) / 255);
  }
  return rgb;
}

Array decode_jpeg(std::string_view bytes, const std::string& where) {
  const auto reader = std::make_unique<JpegReader>();
  const auto check = [&](bool ok) {
    if (!ok) throw Error(where, cat("the JPEG is broken: ", reader->message));
  };
  check(jpeg_begin(reader.get(), reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size()));
  const jpeg_decompress_struct& info = reader->info;
  const uint64_t width = info.output_width, height = info.output_height;
  const int channels = info.out_color_components;
  if (channels != 1 && channels != 3 && channels != 4)
    throw Error(where, cat("is a JPEG of ", channels, " channels"));
  // Huffman coding takes at least one bit for every block of 64 pixels.
  Array image = allocate(where, width, height, channels, width * height, 512 * bytes.size());
  // Finishing gives the markers back.
  const bool inverted = info.saw_Adobe_marker;
  int turn = 1;
  for (jpeg_saved_marker_ptr marker = info.marker_list; marker && turn == 1; marker = marker->next) {
    const std::string_view data(reinterpret_cast<const char*>(marker->data), marker->data_length);
    constexpr std::string_view kExif("Exif\0\0", 6);
    if (data.starts_with(kExif)) turn = orientation(data.substr(kExif.size()));
  }
  const size_t row = static_cast<size_t>(channels) * width;
  check(jpeg_finish(reader.get(), reinterpret_cast<unsigned char*>(image.bytes().data()), row));
  return upright(channels == 4 ? from_cmyk(image, inverted) : std::move(image), turn);
}

// [a, b, c] to [c, a, b] where `planes`, [a, b, c] to [b, c, a] otherwise.
Array rotate_axes(const Array& image, bool planes) {
  const Shape& shape = image.shape();
  if (shape.rank() != 3 || image.dtype() != DType::u8)
    throw Error("image", cat("is ", image.dtype(), " ", shape, ", expected u8 of three dimensions"));
  Array result(planes ? Shape{shape[2], shape[0], shape[1]} : Shape{shape[1], shape[2], shape[0]}, DType::u8);
  const auto from = image.values<uint8_t>();
  const auto to = result.values<uint8_t>();
  // Seen as matrices, both are a transposition.
  const size_t columns = static_cast<size_t>(planes ? shape[2] : shape[1] * shape[2]);
  const size_t rows = columns ? from.size() / columns : 0;
  for (size_t r = 0; r < rows; ++r)
    for (size_t c = 0; c < columns; ++c) to[c * rows + r] = from[r * columns + c];
  return result;
}

}  // namespace

Array decode_image(std::string_view bytes, const std::string& where, int channels) {
  if (channels != 1 && channels != 3)
    throw Error(where, cat("cannot give ", channels, " channels, but 1 or 3"));
  if (bytes.starts_with(kPngSignature)) return with_channels(decode_png(bytes, where), channels);
  if (bytes.starts_with("\xff\xd8\xff")) return with_channels(decode_jpeg(bytes, where), channels);
  throw Error(where, "is neither a PNG nor a JPEG file", "convert it to one of them");
}

Array read_image(const std::string& path, int channels) {
  return decode_image(read_file(path), path, channels);
}

Array to_planes(const Array& image) { return rotate_axes(image, true); }
Array from_planes(const Array& image) { return rotate_axes(image, false); }

}  // namespace stithy

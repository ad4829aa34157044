#include "nn/data/digit_rows.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "engine/core/error.h"
#include "nn/data/transforms.h"

namespace stithy {
namespace {

constexpr double kInk = 64;  // a pixel this bright belongs to the digit
constexpr int64_t kSmallest = 8;

// The rows and columns of an image [height, width] that hold ink; the whole image where none does.
Array cut_to_ink(const Array& image) {
  const int64_t height = image.shape()[0], width = image.shape()[1];
  int64_t top = height, bottom = -1, left = width, right = -1;
  for (int64_t y = 0; y < height; ++y)
    for (int64_t x = 0; x < width; ++x)
      if (image.at(y * width + x) >= kInk) {
        top = std::min(top, y), bottom = std::max(bottom, y);
        left = std::min(left, x), right = std::max(right, x);
      }
  if (bottom < 0) return image;
  Array cut({bottom - top + 1, right - left + 1}, DType::u8);
  for (int64_t y = top; y <= bottom; ++y)
    std::memcpy(cut.values<uint8_t>().data() + (y - top) * cut.shape()[1],
                image.values<uint8_t>().data() + y * width + left, static_cast<size_t>(cut.shape()[1]));
  return cut;
}

Array scaled(const Array& image, int64_t height, double width) {
  const Shape& s = image.shape();
  const int64_t columns = std::max<int64_t>(1, std::llround(width));
  return resize(image.reshaped({1, s[0], s[1]}), height, columns).reshaped({height, columns});
}

}  // namespace

DigitRows::DigitRows(ImageClasses digits, int64_t count, const DigitRowsOptions& options)
    : digits_(std::move(digits)), count_(count), options_(options) {
  const Shape& s = digits_.images.shape();
  if (digits_.images.dtype() != DType::u8 || s.rank() != 3 || digits_.images.numel() == 0 ||
      digits_.labels.numel() != s[0])
    throw Error("digit rows",
                cat("expected digits u8 [n, height, width] with a label each, got ", digits_.images.dtype(),
                    " ", s, " and ", digits_.labels.numel(), " labels"));
  const DigitRowsOptions& o = options_;
  if (count < 0 || o.fewest < 1 || o.most < o.fewest || o.most > 1000 || o.height < 2 * kSmallest ||
      o.height > 4096 || o.width < o.most * kSmallest || o.width > 65536)
    throw Error("digit rows", cat(count, " images of ", o.height, " x ", o.width, " pixels with ", o.fewest,
                                  " to ", o.most, " digits cannot be drawn"));
  columns_ = {
      {"image", {o.height, o.width}, DType::u8}, {"labels", {o.most}, DType::i32}, {"count", {}, DType::i32}};
}

void DigitRows::fetch(int64_t index, std::span<const std::span<std::byte>> out) const {
  if (index < 0 || index >= count_)
    throw Error("digit rows", cat("item ", index, " is out of range for ", count_, " items"));
  const DigitRowsOptions& o = options_;
  Philox random(o.seed, static_cast<uint64_t>(index));
  const auto below = [&](int64_t bound) {
    return static_cast<int64_t>(random.below(static_cast<uint64_t>(bound)));
  };
  struct Part {
    Array ink;
    int64_t height;
    double width, gap;  // gap: before it
  };
  std::vector<Part> parts;
  std::vector<int32_t> labels(static_cast<size_t>(o.most));
  const int64_t count = o.fewest + below(o.most - o.fewest + 1);
  double total = 0;
  for (int64_t d = 0; d < count; ++d) {
    const int64_t digit = below(digits_.labels.numel());
    const Shape& s = digits_.images.shape();
    Part part{cut_to_ink(digits_.images.rows(digit, digit + 1).reshaped({s[1], s[2]})), 0, 0, 0};
    part.height = std::llround((0.6 + 0.3 * random.uniform()) * static_cast<double>(o.height));
    part.width =
        static_cast<double>(part.height * part.ink.shape()[1]) / static_cast<double>(part.ink.shape()[0]);
    part.gap = d == 0 ? 0 : (0.3 * random.uniform() - 0.02) * static_cast<double>(o.height);
    total += part.width + part.gap;
    labels[static_cast<size_t>(d)] = static_cast<int32_t>(digits_.labels.at(digit));
    parts.push_back(std::move(part));
  }
  const double room = static_cast<double>(o.width - 2 * count), narrower = std::min(1.0, room / total);
  auto* canvas = reinterpret_cast<uint8_t*>(out[0].data());
  std::memset(canvas, 0, out[0].size());
  double x = random.uniform() * (room - narrower * total) + static_cast<double>(count);
  for (const Part& part : parts) {
    x += narrower * part.gap;
    const Array digit = scaled(part.ink, part.height, narrower * part.width);
    const int64_t width = digit.shape()[1], top = below(o.height - part.height + 1);
    const int64_t left = std::clamp<int64_t>(std::llround(x), 0, o.width - width);
    for (int64_t row = 0; row < part.height; ++row)
      for (int64_t column = 0; column < width; ++column) {
        uint8_t& pixel = canvas[(top + row) * o.width + left + column];
        pixel = std::max(pixel, static_cast<uint8_t>(digit.at(row * width + column)));
      }
    x += narrower * part.width;
  }
  std::memcpy(out[1].data(), labels.data(), out[1].size());
  const auto written = static_cast<int32_t>(count);
  std::memcpy(out[2].data(), &written, sizeof written);
}

}  // namespace stithy

#include "nn/data/digit_scenes.h"

#include <algorithm>
#include <cstring>

#include "engine/core/error.h"
#include "nn/data/transforms.h"

namespace stithy {
namespace {

constexpr double kInk = 64;           // a pixel this bright belongs to the digit
constexpr float kMostOverlap = 0.1f;  // intersection over union
constexpr int kTries = 20;

// The pixels of ink, as a box; empty where there are none.
Box ink_box(const Array& image) {
  const int64_t height = image.shape()[1], width = image.shape()[2];
  Box box{static_cast<float>(width), static_cast<float>(height), 0, 0};
  for (int64_t y = 0; y < height; ++y)
    for (int64_t x = 0; x < width; ++x)
      if (image.at(y * width + x) >= kInk) {
        box.x1 = std::min(box.x1, static_cast<float>(x)),
        box.x2 = std::max(box.x2, static_cast<float>(x + 1));
        box.y1 = std::min(box.y1, static_cast<float>(y)),
        box.y2 = std::max(box.y2, static_cast<float>(y + 1));
      }
  return box;
}

}  // namespace

DigitScenes::DigitScenes(ImageClasses digits, int64_t count, const DigitScenesOptions& options)
    : digits_(std::move(digits)), count_(count), options_(options) {
  const Shape& s = digits_.images.shape();
  if (digits_.images.dtype() != DType::u8 || s.rank() != 3 || digits_.images.numel() == 0 ||
      digits_.labels.numel() != s[0])
    throw Error("digit scenes",
                cat("expected digits u8 [n, height, width] with a label each, got ", digits_.images.dtype(),
                    " ", s, " and ", digits_.labels.numel(), " labels"));
  const DigitScenesOptions& o = options_;
  if (count < 0 || o.most < 1 || o.most > 1000 || o.smallest < 4 || o.largest < o.smallest ||
      o.size < o.largest || o.size > 4096)
    throw Error("digit scenes", cat(count, " scenes of ", o.size, " pixels with 1 to ", o.most, " digits of ",
                                    o.smallest, " to ", o.largest, " pixels cannot be drawn"));
  columns_ = {{"image", {o.size, o.size}, DType::u8},
              {"boxes", {o.most, 4}, DType::f32},
              {"labels", {o.most}, DType::i32, kIgnoreIndex}};
}

void DigitScenes::fetch(int64_t index, std::span<const std::span<std::byte>> out) const {
  if (index < 0 || index >= count_)
    throw Error("digit scenes", cat("item ", index, " is out of range for ", count_, " items"));
  const DigitScenesOptions& o = options_;
  Philox random(o.seed, static_cast<uint64_t>(index));
  const auto below = [&](int64_t bound) {
    return static_cast<int64_t>(random.below(static_cast<uint64_t>(bound)));
  };
  auto* canvas = reinterpret_cast<uint8_t*>(out[0].data());
  std::memset(canvas, 0, out[0].size());
  std::vector<Box> boxes;
  std::vector<int32_t> labels;
  const int64_t wanted = 1 + below(o.most);
  for (int64_t d = 0; d < wanted; ++d) {
    const int64_t digit = below(digits_.labels.numel()),
                  side = o.smallest + below(o.largest - o.smallest + 1);
    const Shape& s = digits_.images.shape();
    const Array small = resize(digits_.images.rows(digit, digit + 1).reshaped({1, s[1], s[2]}), side, side);
    const Box ink = ink_box(small);
    for (int tries = 0; tries < kTries && ink.area() > 0; ++tries) {
      const int64_t left = below(o.size - side + 1), top = below(o.size - side + 1);
      const float x = static_cast<float>(left), y = static_cast<float>(top);
      const Box box{ink.x1 + x, ink.y1 + y, ink.x2 + x, ink.y2 + y};
      if (std::any_of(boxes.begin(), boxes.end(), [&](const Box& b) { return iou(b, box) > kMostOverlap; }))
        continue;
      for (int64_t row = 0; row < side; ++row)
        for (int64_t column = 0; column < side; ++column) {
          uint8_t& pixel = canvas[(top + row) * o.size + left + column];
          pixel = std::max(pixel, static_cast<uint8_t>(small.at(row * side + column)));
        }
      boxes.push_back(box);
      labels.push_back(static_cast<int32_t>(digits_.labels.at(digit)));
      break;
    }
  }
  labels.resize(static_cast<size_t>(o.most), kIgnoreIndex);
  boxes.resize(labels.size());
  std::memcpy(out[1].data(), boxes.data(), out[1].size());
  std::memcpy(out[2].data(), labels.data(), out[2].size());
}

}  // namespace stithy

#include "nn/run/picture.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "engine/core/error.h"

namespace stithy {
namespace {

// The glyphs of ASCII 32 to 95, five columns each, the lowest bit on top: the classic 5 x 7 font of character
// displays.
constexpr uint8_t kFont[64][5] = {
    {0x00, 0x00, 0x00, 0x00, 0x00}, {0x00, 0x00, 0x5f, 0x00, 0x00}, {0x00, 0x07, 0x00, 0x07, 0x00},
    {0x14, 0x7f, 0x14, 0x7f, 0x14}, {0x24, 0x2a, 0x7f, 0x2a, 0x12}, {0x23, 0x13, 0x08, 0x64, 0x62},
    {0x36, 0x49, 0x55, 0x22, 0x50}, {0x00, 0x05, 0x03, 0x00, 0x00}, {0x00, 0x1c, 0x22, 0x41, 0x00},
    {0x00, 0x41, 0x22, 0x1c, 0x00}, {0x14, 0x08, 0x3e, 0x08, 0x14}, {0x08, 0x08, 0x3e, 0x08, 0x08},
    {0x00, 0x50, 0x30, 0x00, 0x00}, {0x08, 0x08, 0x08, 0x08, 0x08}, {0x00, 0x60, 0x60, 0x00, 0x00},
    {0x20, 0x10, 0x08, 0x04, 0x02}, {0x3e, 0x51, 0x49, 0x45, 0x3e}, {0x00, 0x42, 0x7f, 0x40, 0x00},
    {0x42, 0x61, 0x51, 0x49, 0x46}, {0x21, 0x41, 0x45, 0x4b, 0x31}, {0x18, 0x14, 0x12, 0x7f, 0x10},
    {0x27, 0x45, 0x45, 0x45, 0x39}, {0x3c, 0x4a, 0x49, 0x49, 0x30}, {0x01, 0x71, 0x09, 0x05, 0x03},
    {0x36, 0x49, 0x49, 0x49, 0x36}, {0x06, 0x49, 0x49, 0x29, 0x1e}, {0x00, 0x36, 0x36, 0x00, 0x00},
    {0x00, 0x56, 0x36, 0x00, 0x00}, {0x08, 0x14, 0x22, 0x41, 0x00}, {0x14, 0x14, 0x14, 0x14, 0x14},
    {0x00, 0x41, 0x22, 0x14, 0x08}, {0x02, 0x01, 0x51, 0x09, 0x06}, {0x32, 0x49, 0x79, 0x41, 0x3e},
    {0x7e, 0x11, 0x11, 0x11, 0x7e}, {0x7f, 0x49, 0x49, 0x49, 0x36}, {0x3e, 0x41, 0x41, 0x41, 0x22},
    {0x7f, 0x41, 0x41, 0x22, 0x1c}, {0x7f, 0x49, 0x49, 0x49, 0x41}, {0x7f, 0x09, 0x09, 0x09, 0x01},
    {0x3e, 0x41, 0x49, 0x49, 0x7a}, {0x7f, 0x08, 0x08, 0x08, 0x7f}, {0x00, 0x41, 0x7f, 0x41, 0x00},
    {0x20, 0x40, 0x41, 0x3f, 0x01}, {0x7f, 0x08, 0x14, 0x22, 0x41}, {0x7f, 0x40, 0x40, 0x40, 0x40},
    {0x7f, 0x02, 0x0c, 0x02, 0x7f}, {0x7f, 0x04, 0x08, 0x10, 0x7f}, {0x3e, 0x41, 0x41, 0x41, 0x3e},
    {0x7f, 0x09, 0x09, 0x09, 0x06}, {0x3e, 0x41, 0x51, 0x21, 0x5e}, {0x7f, 0x09, 0x19, 0x29, 0x46},
    {0x46, 0x49, 0x49, 0x49, 0x31}, {0x01, 0x01, 0x7f, 0x01, 0x01}, {0x3f, 0x40, 0x40, 0x40, 0x3f},
    {0x1f, 0x20, 0x40, 0x20, 0x1f}, {0x3f, 0x40, 0x38, 0x40, 0x3f}, {0x63, 0x14, 0x08, 0x14, 0x63},
    {0x07, 0x08, 0x70, 0x08, 0x07}, {0x61, 0x51, 0x49, 0x45, 0x43}, {0x00, 0x7f, 0x41, 0x41, 0x00},
    {0x02, 0x04, 0x08, 0x10, 0x20}, {0x00, 0x41, 0x41, 0x7f, 0x00}, {0x04, 0x02, 0x01, 0x02, 0x04},
    {0x40, 0x40, 0x40, 0x40, 0x40}};

void check(const char* where, const Array& image) {
  const Shape& s = image.shape();
  if (image.dtype() != DType::u8 || (s.rank() != 2 && !(s.rank() == 3 && s[2] == 3)))
    throw Error(where, cat("expected an image, got ", image.dtype(), " ", s),
                "an image is u8, [height, width] or [height, width, 3]");
  if (s[0] < 1 || s[1] < 1) throw Error(where, cat("an image of shape ", s, " is empty"));
}

void check_rgb(const char* where, const Array& image) {
  check(where, image);
  if (image.shape().rank() == 2)
    throw Error(where, cat("draws into [height, width, 3], not into ", image.shape()),
                "enlarged(image, 1) has three channels");
}

void put(Array& image, int64_t x, int64_t y, Colour colour) {
  const Shape& s = image.shape();
  if (x < 0 || y < 0 || x >= s[1] || y >= s[0]) return;
  std::memcpy(image.bytes().data() + (y * s[1] + x) * 3, colour.data(), 3);
}

Colour pixel(const Array& image, int64_t x, int64_t y) {
  const int64_t at = y * image.shape()[1] + x;
  const std::span<const uint8_t> values = image.values<uint8_t>();
  if (image.shape().rank() == 2) return {values[at], values[at], values[at]};
  return {values[3 * at], values[3 * at + 1], values[3 * at + 2]};
}

Array filled(int64_t height, int64_t width, Colour colour) {
  Array image({height, width, 3}, DType::u8);
  for (int64_t i = 0; i < height * width; ++i) std::memcpy(image.bytes().data() + 3 * i, colour.data(), 3);
  return image;
}

void paste(Array& image, const Array& part, int64_t left, int64_t top) {
  for (int64_t y = 0; y < part.shape()[0]; ++y)
    for (int64_t x = 0; x < part.shape()[1]; ++x) put(image, left + x, top + y, pixel(part, x, y));
}

uint8_t byte(double value) { return static_cast<uint8_t>(std::lround(std::clamp(value, 0.0, 1.0) * 255)); }

// Viridis by polynomials of degree 6, at most 0.02 away from the table (Matt Zucker 2019, public domain:
// https://www.shadertoy.com/view/WlfXRN).
Colour viridis(double t) {
  constexpr double kPowers[7][3] = {{0.2777273272234177, 0.005407344544966578, 0.3340998053353061},
                                    {0.1050930431085774, 1.404613529898575, 1.384590162594685},
                                    {-0.3308618287255563, 0.214847559468213, 0.09509516302823659},
                                    {-4.634230498983486, -5.799100973351585, -19.33244095627987},
                                    {6.228269936347081, 14.17993336680509, 56.69055260068105},
                                    {4.776384997670288, -13.74514537774601, -65.35303263337234},
                                    {-5.435455855934631, 4.645852612178535, 26.3124352495832}};
  Colour colour;
  for (size_t c = 0; c < 3; ++c) {
    double value = 0;
    for (size_t power = 7; power-- > 0;) value = value * t + kPowers[power][c];
    colour[c] = byte(value);
  }
  return colour;
}

}  // namespace

Array enlarged(const Array& image, int64_t scale) {
  check("enlarged", image);
  if (scale < 1 || scale > 1024) throw Error("enlarged", cat("scale ", scale, " is not in 1 to 1024"));
  const int64_t height = image.shape()[0], width = image.shape()[1];
  Array result({height * scale, width * scale, 3}, DType::u8);
  for (int64_t y = 0; y < height * scale; ++y)
    for (int64_t x = 0; x < width * scale; ++x) put(result, x, y, pixel(image, x / scale, y / scale));
  return result;
}

Array contact_sheet(std::span<const Array> images, int64_t columns, int64_t scale, int64_t gap,
                    Colour background) {
  if (images.empty()) throw Error("contact_sheet", "there is no image");
  if (columns < 1 || gap < 0)
    throw Error("contact_sheet", cat(columns, " columns with a gap of ", gap, " cannot be"));
  int64_t height = 0, width = 0;
  for (const Array& image : images) {
    check("contact_sheet", image);
    height = std::max(height, image.shape()[0] * scale);
    width = std::max(width, image.shape()[1] * scale);
  }
  const int64_t count = static_cast<int64_t>(images.size()), rows = (count + columns - 1) / columns;
  columns = std::min(columns, count);
  Array sheet = filled(rows * (height + gap) + gap, columns * (width + gap) + gap, background);
  for (int64_t i = 0; i < count; ++i) {
    const Array part = enlarged(images[static_cast<size_t>(i)], scale);
    paste(sheet, part, gap + i % columns * (width + gap) + (width - part.shape()[1]) / 2,
          gap + i / columns * (height + gap) + (height - part.shape()[0]) / 2);
  }
  return sheet;
}

Array heat_map(const Array& values, std::optional<float> low, std::optional<float> high) {
  const Shape& s = values.shape();
  if (values.dtype() != DType::f32 || s.rank() != 2 || values.numel() < 1)
    throw Error("heat_map", cat("expected f32 [height, width], got ", values.dtype(), " ", s));
  float least = INFINITY, largest = -INFINITY;
  for (const float value : values.values<float>())
    if (std::isfinite(value)) least = std::min(least, value), largest = std::max(largest, value);
  const double from = low.value_or(least), range = high.value_or(largest) - from;
  Array image({s[0], s[1], 3}, DType::u8);
  for (int64_t i = 0; i < values.numel(); ++i) {
    const double value = values.at(i);
    const double t = range > 0 ? std::clamp((value - from) / range, 0.0, 1.0) : 0;
    put(image, i % s[1], i / s[1], std::isnan(value) ? Colour{128, 128, 128} : viridis(t));
  }
  return image;
}

Array overlay(const Array& image, const Array& heat, double alpha) {
  check("overlay", image), check("overlay", heat);
  const int64_t height = image.shape()[0], width = image.shape()[1];
  if (heat.shape()[0] != height || heat.shape()[1] != width)
    throw Error("overlay", cat("images of shapes ", image.shape(), " and ", heat.shape(), " do not fit"));
  if (!(alpha >= 0 && alpha <= 1)) throw Error("overlay", cat("alpha ", alpha, " is not in 0 to 1"));
  Array result({height, width, 3}, DType::u8);
  for (int64_t y = 0; y < height; ++y)
    for (int64_t x = 0; x < width; ++x) {
      const Colour under = pixel(image, x, y), over = pixel(heat, x, y);
      Colour mixed;
      for (size_t c = 0; c < 3; ++c) mixed[c] = byte(((1 - alpha) * under[c] + alpha * over[c]) / 255);
      put(result, x, y, mixed);
    }
  return result;
}

void draw_box(Array& image, const Box& box, Colour colour, int64_t thickness) {
  check_rgb("draw_box", image);
  const auto bounded = [](float value, int64_t size) {
    if (std::isnan(value)) throw Error("draw_box", "a corner is NaN");
    // One pixel beyond the image is as good as any.
    return std::lround(std::clamp(value, -1.0f, static_cast<float>(size) + 1));
  };
  const int64_t x1 = bounded(box.x1, image.shape()[1]), x2 = bounded(box.x2, image.shape()[1]);
  const int64_t y1 = bounded(box.y1, image.shape()[0]), y2 = bounded(box.y2, image.shape()[0]);
  for (int64_t y = y1; y < y2; ++y)
    for (int64_t x = x1; x < x2; ++x)
      if (x - x1 < thickness || x2 - x <= thickness || y - y1 < thickness || y2 - y <= thickness)
        put(image, x, y, colour);
}

void draw_text(Array& image, int64_t x, int64_t y, std::string_view text, Colour colour, int64_t scale) {
  check_rgb("draw_text", image);
  for (const char letter : text) {
    const int code = letter >= 'a' && letter <= 'z' ? letter - 'a' + 'A' : letter;
    if (code >= 32 && code < 96)
      for (int64_t i = 0; i < 5 * scale; ++i)
        for (int64_t j = 0; j < kTextHeight * scale; ++j)
          if (kFont[code - 32][i / scale] >> j / scale & 1) put(image, x + i, y + j, colour);
    x += kTextWidth * scale;
  }
}

Array labelled(const Array& image, std::string_view text, Colour colour, Colour background) {
  check("labelled", image);
  const int64_t height = image.shape()[0], width = image.shape()[1], line = kTextHeight + 3;
  Array result = filled(height + line, width, background);
  text = text.substr(0, static_cast<size_t>((width + 1) / kTextWidth));
  const int64_t length = static_cast<int64_t>(text.size()) * kTextWidth - 1;
  draw_text(result, (width - length) / 2, 1, text, colour);
  paste(result, image, 0, line);
  return result;
}

}  // namespace stithy

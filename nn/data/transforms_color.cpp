// The transforms that change each pixel's colour and leave it in its place.
#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "engine/core/error.h"
#include "nn/data/image_size.h"
#include "nn/data/transforms.h"

namespace stithy {
namespace {

uint8_t to_byte(float value) { return static_cast<uint8_t>(std::clamp(value + 0.5f, 0.0f, 255.0f)); }

ImageSize colour_size(const char* name, const Array& image, double factor, double least, double most) {
  const ImageSize size = image_size(name, image);
  if (size.channels != 3 && size.channels != 1)
    throw Error(name,
                cat("an image of shape ", image.shape(), " has ", size.channels, " channels, not 3 or 1"));
  if (!(factor >= least && factor <= most))
    throw Error(name, cat(factor, " is not in ", least, " to ", most));
  return size;
}
constexpr double kMostFactor = 1e6;

// Of ITU-R BT.601.
float luma(float r, float g, float b) { return 0.299f * r + 0.587f * g + 0.114f * b; }

// Every pixel becomes change(r, g, b), in place.
template <class Change>
Array each_pixel(const Array& image, Change change) {
  Array result = image;
  const auto values = result.values<uint8_t>();
  const size_t plane = values.size() / 3;
  for (size_t i = 0; i < plane; ++i) {
    std::array<float, 3> rgb;
    for (size_t c = 0; c < 3; ++c) rgb[c] = static_cast<float>(values[c * plane + i]);
    change(rgb);
    for (size_t c = 0; c < 3; ++c) values[c * plane + i] = to_byte(rgb[c]);
  }
  return result;
}

// What a table says of every byte.
template <class Value>
Array by_table(const Array& image, Value value) {
  std::array<uint8_t, 256> table;
  for (size_t i = 0; i < table.size(); ++i) table[i] = to_byte(value(static_cast<float>(i)));
  Array result = image;
  for (uint8_t& byte : result.values<uint8_t>()) byte = table[byte];
  return result;
}

}  // namespace

Array adjust_brightness(const Array& image, double factor) {
  colour_size("adjust_brightness", image, factor, 0, kMostFactor);
  return by_table(image, [f = static_cast<float>(factor)](float x) { return f * x; });
}

Array adjust_contrast(const Array& image, double factor) {
  const ImageSize size = colour_size("adjust_contrast", image, factor, 0, kMostFactor);
  const auto values = image.values<uint8_t>();
  const size_t plane = static_cast<size_t>(size.height * size.width);
  // Exact sums: the mean must not depend on the order.
  std::array<uint64_t, 3> sums{};
  for (size_t i = 0; i < values.size(); ++i) sums[i / plane] += values[i];
  const auto mean = [&](size_t c) {
    return static_cast<float>(static_cast<double>(sums[c]) / static_cast<double>(plane));
  };
  const float grey = size.channels == 1 ? mean(0) : luma(mean(0), mean(1), mean(2));
  return by_table(image, [f = static_cast<float>(factor), grey](float x) { return f * x + (1 - f) * grey; });
}

Array adjust_saturation(const Array& image, double factor) {
  if (colour_size("adjust_saturation", image, factor, 0, kMostFactor).channels == 1) return image;
  return each_pixel(image, [f = static_cast<float>(factor)](std::array<float, 3>& rgb) {
    const float grey = luma(rgb[0], rgb[1], rgb[2]);
    for (float& x : rgb) x = f * x + (1 - f) * grey;
  });
}

Array adjust_hue(const Array& image, double turn) {
  if (colour_size("adjust_hue", image, turn, -1, 1).channels == 1 || turn == 0) return image;
  return each_pixel(image, [turn = static_cast<float>(turn)](std::array<float, 3>& rgb) {
    const auto [r, g, b] = rgb;
    const float value = std::max({r, g, b}), chroma = value - std::min({r, g, b});
    if (chroma == 0) return;
    // In sixths of the circle.
    float hue = value == r ? (g - b) / chroma : value == g ? (b - r) / chroma + 2 : (r - g) / chroma + 4;
    hue += 6 * turn;
    for (size_t c = 0; c < 3; ++c) {
      // Smith 1978: red is full within a sixth of 0, green of 2 and blue of 4, and each is none opposite.
      const float distance = std::abs(std::fmod(hue - 2 * static_cast<float>(c) + 15, 6.0f) - 3);
      rgb[c] = value - chroma * std::clamp(distance - 1, 0.0f, 1.0f);
    }
  });
}

Array ColorJitter::operator()(const Array& image, Philox& random) const {
  if (!(brightness >= 0 && contrast >= 0 && saturation >= 0 && hue >= 0 && hue <= 0.5))
    throw Error("color_jitter",
                cat("brightness ", brightness, ", contrast ", contrast, ", saturation ", saturation,
                    " or hue ", hue, " is out of range"),
                "none is below 0, and hue is at most 0.5");
  std::array<int, 4> order = {0, 1, 2, 3};
  for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random.below(i)]);
  const auto factor = [&](double range) {
    const double low = std::max(0.0, 1 - range);
    return low + (1 + range - low) * random.uniform();
  };
  Array result = image;
  for (int step : order) {
    if (step == 0 && brightness > 0) result = adjust_brightness(result, factor(brightness));
    if (step == 1 && contrast > 0) result = adjust_contrast(result, factor(contrast));
    if (step == 2 && saturation > 0) result = adjust_saturation(result, factor(saturation));
    if (step == 3 && hue > 0) result = adjust_hue(result, hue * (2 * random.uniform() - 1));
  }
  return result;
}

}  // namespace stithy

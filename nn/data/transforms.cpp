#include "nn/data/transforms.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numbers>

#include "engine/core/error.h"
#include "nn/data/image_size.h"

namespace stithy {
namespace {

double uniform(Philox& random, double low, double high) { return low + (high - low) * random.uniform(); }

void check_range(const char* name, const char* what, double low, double high, double least, double most) {
  if (!(low >= least && low <= high && high <= most))
    throw Error(name, cat(what, " of ", low, " to ", high, " is no range within ", least, " to ", most));
}

void check_probability(const char* name, double probability) {
  check_range(name, "a probability", probability, probability, 0, 1);
}

// The weights with which input pixels make an output pixel.
struct Taps {
  int64_t begin;
  std::vector<float> weights;
};

std::vector<Taps> taps(int64_t in, int64_t out) {
  const double scale = static_cast<double>(in) / static_cast<double>(out), width = std::max(scale, 1.0);
  std::vector<Taps> result(static_cast<size_t>(out));
  for (int64_t i = 0; i < out; ++i) {
    const double centre = (static_cast<double>(i) + 0.5) * scale;
    const int64_t begin = std::max<int64_t>(static_cast<int64_t>(centre - width + 0.5), 0);
    const int64_t end = std::min<int64_t>(static_cast<int64_t>(centre + width + 0.5), in);
    std::vector<double> weights;
    double sum = 0;
    for (int64_t k = begin; k < end; ++k) {
      weights.push_back(std::max(0.0, 1 - std::abs((static_cast<double>(k) - centre + 0.5) / width)));
      sum += weights.back();
    }
    Taps& to = result[static_cast<size_t>(i)];
    to.begin = begin;
    for (double weight : weights) to.weights.push_back(static_cast<float>(weight / sum));
  }
  return result;
}

struct Box {
  int64_t top, left, height, width;
};

// A rectangle of random area, aspect and place within `size`. False when ten draws do not fit.
bool random_box(const ImageSize& size, double min_area, double max_area, double min_aspect, double max_aspect,
                Philox& random, Box& box) {
  for (int attempt = 0; attempt < 10; ++attempt) {
    const double area = static_cast<double>(size.height * size.width) * uniform(random, min_area, max_area);
    const double aspect = std::exp(uniform(random, std::log(min_aspect), std::log(max_aspect)));
    box.width = std::llround(std::sqrt(area * aspect));
    box.height = std::llround(std::sqrt(area / aspect));
    if (box.width < 1 || box.height < 1 || box.width > size.width || box.height > size.height) continue;
    box.top = static_cast<int64_t>(random.below(static_cast<uint64_t>(size.height - box.height + 1)));
    box.left = static_cast<int64_t>(random.below(static_cast<uint64_t>(size.width - box.width + 1)));
    return true;
  }
  return false;
}

}  // namespace

ImageSize image_size(const char* name, const Array& image) {
  const Shape& shape = image.shape();
  if (image.dtype() != DType::u8 || shape.rank() != 3 || image.numel() == 0)
    throw Error(name, cat("cannot change ", image.dtype(), " ", shape),
                image.dtype() == DType::f32 ? "images are u8 [channels, height, width]; Normalize comes last"
                                            : "images are u8 [channels, height, width]");
  return {shape[0], shape[1], shape[2]};
}

Array resize(const Array& image, int64_t height, int64_t width) {
  const ImageSize size = image_size("resize", image);
  if (height < 1 || width < 1 || height > kImageSide || width > kImageSide)
    throw Error("resize", cat("cannot resize to [", height, ", ", width, "]"));
  if (height == size.height && width == size.width) return image;
  const std::vector<Taps> across = taps(size.width, width), down = taps(size.height, height);
  Array result({size.channels, height, width}, DType::u8);
  // Rows first; f32 in between keeps what rounding to bytes would lose.
  std::vector<float> rows(static_cast<size_t>(size.height * width)), line(static_cast<size_t>(width));
  const uint8_t* from = image.values<uint8_t>().data();
  uint8_t* to = result.values<uint8_t>().data();
  for (int64_t c = 0; c < size.channels; ++c) {
    for (int64_t y = 0; y < size.height; ++y, from += size.width)
      for (int64_t x = 0; x < width; ++x) {
        const Taps& tap = across[static_cast<size_t>(x)];
        float sum = 0;
        for (size_t k = 0; k < tap.weights.size(); ++k)
          sum += tap.weights[k] * static_cast<float>(from[tap.begin + static_cast<int64_t>(k)]);
        rows[static_cast<size_t>(y * width + x)] = sum;
      }
    for (const Taps& tap : down) {
      std::fill(line.begin(), line.end(), 0.5f);
      for (size_t k = 0; k < tap.weights.size(); ++k) {
        const float* row = rows.data() + (tap.begin + static_cast<int64_t>(k)) * width;
        for (size_t x = 0; x < line.size(); ++x) line[x] += tap.weights[k] * row[x];
      }
      for (float value : line) *to++ = static_cast<uint8_t>(std::min(value, 255.0f));
    }
  }
  return result;
}

Array crop(const Array& image, int64_t top, int64_t left, int64_t height, int64_t width) {
  const ImageSize size = image_size("crop", image);
  if (height < 1 || width < 1 || height > kImageSide || width > kImageSide || std::abs(top) > kImageSide ||
      std::abs(left) > kImageSide)
    throw Error("crop", cat("cannot cut [", height, ", ", width, "] at [", top, ", ", left, "]"));
  Array result({size.channels, height, width}, DType::u8);
  const int64_t first = std::max<int64_t>(left, 0), end = std::min(left + width, size.width);
  for (int64_t c = 0; c < size.channels && first < end; ++c)
    for (int64_t y = std::max<int64_t>(top, 0); y < std::min(top + height, size.height); ++y)
      std::memcpy(result.bytes().data() + (c * height + y - top) * width + first - left,
                  image.bytes().data() + (c * size.height + y) * size.width + first,
                  static_cast<size_t>(end - first));
  return result;
}

Array pad(const Array& image, int64_t padding, PadMode mode) {
  const ImageSize size = image_size("pad", image);
  if (padding < 0 || padding > kImageSide ||
      (mode == PadMode::reflect && padding >= std::min(size.height, size.width)))
    throw Error("pad", cat("cannot pad ", image.shape(), " by ", padding));
  if (padding == 0) return image;
  Array result = crop(image, -padding, -padding, size.height + 2 * padding, size.width + 2 * padding);
  if (mode == PadMode::zero) return result;
  const auto from = image.values<uint8_t>();
  const auto to = result.values<uint8_t>();
  const auto mirrored = [](int64_t i, int64_t n) { return i < 0 ? -i : i >= n ? 2 * n - 2 - i : i; };
  size_t at = 0;
  for (int64_t c = 0; c < size.channels; ++c)
    for (int64_t y = -padding; y < size.height + padding; ++y)
      for (int64_t x = -padding; x < size.width + padding; ++x)
        to[at++] = from[static_cast<size_t>((c * size.height + mirrored(y, size.height)) * size.width +
                                            mirrored(x, size.width))];
  return result;
}

Array flip_horizontal(const Array& image) {
  const ImageSize size = image_size("flip_horizontal", image);
  Array result = image;
  const auto values = result.values<uint8_t>();
  for (auto row = values.begin(); row != values.end(); row += size.width) std::reverse(row, row + size.width);
  return result;
}

Array flip_vertical(const Array& image) {
  const ImageSize size = image_size("flip_vertical", image);
  Array result = image;
  const size_t width = static_cast<size_t>(size.width);
  for (int64_t c = 0; c < size.channels; ++c)
    for (int64_t y = 0; y < size.height; ++y)
      std::memcpy(result.bytes().data() + (c * size.height + y) * size.width,
                  image.bytes().data() + (c * size.height + size.height - 1 - y) * size.width, width);
  return result;
}

Array affine(const Array& image, const AffineMap& map, double fill) {
  const ImageSize size = image_size("affine", image);
  if (!(map.scale > 0) || !(fill >= 0 && fill <= 255) || !(std::abs(map.shear_x) < 90) ||
      !(std::abs(map.shear_y) < 90) || !std::isfinite(map.angle + map.shift_x + map.shift_y + map.scale))
    throw Error("affine",
                cat("scale ", map.scale, ", shear ", map.shear_x, " and ", map.shear_y, ", fill ", fill,
                    ", angle ", map.angle, " or shift is out of range"),
                "scale is above 0, shears are below 90 degrees and fill is in 0 to 255");
  constexpr double kDegree = std::numbers::pi / 180;
  const double turn = map.angle * kDegree, sx = map.shear_x * kDegree, sy = map.shear_y * kDegree;
  // Of turn * shear_y * shear_x without the scale, whose determinant is 1; where an output pixel comes from
  // is its inverse.
  const double a = std::cos(turn - sy) / std::cos(sy),
               b = -std::cos(turn - sy) * std::tan(sx) / std::cos(sy) - std::sin(turn),
               c = std::sin(turn - sy) / std::cos(sy),
               d = -std::sin(turn - sy) * std::tan(sx) / std::cos(sy) + std::cos(turn);
  const double centre_x = 0.5 * static_cast<double>(size.width - 1),
               centre_y = 0.5 * static_cast<double>(size.height - 1);
  Array result(image.shape(), DType::u8);
  const auto from = image.values<uint8_t>();
  const auto to = result.values<uint8_t>();
  const int64_t plane = size.height * size.width;
  for (int64_t y = 0; y < size.height; ++y)
    for (int64_t x = 0; x < size.width; ++x) {
      const double ox = static_cast<double>(x) - centre_x - map.shift_x,
                   oy = static_cast<double>(y) - centre_y - map.shift_y;
      // Beyond the image by more than a pixel all is fill; the bounds also keep the numbers in int64_t.
      const double u = std::clamp((d * ox - b * oy) / map.scale + centre_x, -2.0,
                                  static_cast<double>(size.width) + 1),
                   v = std::clamp((a * oy - c * ox) / map.scale + centre_y, -2.0,
                                  static_cast<double>(size.height) + 1);
      const int64_t left = static_cast<int64_t>(std::floor(u)), top = static_cast<int64_t>(std::floor(v));
      const double wx = u - static_cast<double>(left), wy = v - static_cast<double>(top);
      for (int64_t channel = 0; channel < size.channels; ++channel) {
        const auto pixel = [&](int64_t py, int64_t px) -> double {
          if (px < 0 || py < 0 || px >= size.width || py >= size.height) return fill;
          return from[static_cast<size_t>(channel * plane + py * size.width + px)];
        };
        const double upper = pixel(top, left) * (1 - wx) + pixel(top, left + 1) * wx,
                     lower = pixel(top + 1, left) * (1 - wx) + pixel(top + 1, left + 1) * wx;
        to[static_cast<size_t>(channel * plane + y * size.width + x)] =
            static_cast<uint8_t>(upper * (1 - wy) + lower * wy + 0.5);
      }
    }
  return result;
}

Array normalize(const Array& image, const std::vector<float>& mean, const std::vector<float>& std) {
  const ImageSize size = image_size("normalize", image);
  if (static_cast<int64_t>(mean.size()) != size.channels || mean.size() != std.size() ||
      std::any_of(std.begin(), std.end(), [](float s) { return !(s > 0); }))
    throw Error(
        "normalize",
        cat("has ", mean.size(), " means and ", std.size(), " standard deviations for ", image.shape()),
        "each channel needs one of both, and a standard deviation is above 0");
  Array result(image.shape(), DType::f32);
  const auto from = image.values<uint8_t>();
  const auto to = result.values<float>();
  const size_t plane = static_cast<size_t>(size.height * size.width);
  for (size_t i = 0; i < to.size(); ++i)
    to[i] = (static_cast<float>(from[i]) / 255 - mean[i / plane]) / std[i / plane];
  return result;
}

Array ResizeShorter::operator()(const Array& image, Philox&) const {
  const ImageSize from = image_size("resize", image);
  const int64_t shorter = std::min(from.height, from.width);
  return resize(image, from.height == shorter ? size : from.height * size / shorter,
                from.width == shorter ? size : from.width * size / shorter);
}

Array CenterCrop::operator()(const Array& image, Philox&) const {
  const ImageSize size = image_size("crop", image);
  const auto start = [](int64_t all, int64_t part) {
    return std::llround(static_cast<double>(all - part) / 2);
  };
  return crop(image, start(size.height, height), start(size.width, width), height, width);
}

Array RandomCrop::operator()(const Array& image, Philox& random) const {
  const Array padded = pad(image, padding, mode);
  const ImageSize size = image_size("crop", padded);
  if (height > size.height || width > size.width)
    throw Error(
        "crop",
        cat("an image of ", size.height, " by ", size.width, " has no part of ", height, " by ", width),
        "resize it before, or pad it more");
  const int64_t top = static_cast<int64_t>(random.below(static_cast<uint64_t>(size.height - height + 1)));
  const int64_t left = static_cast<int64_t>(random.below(static_cast<uint64_t>(size.width - width + 1)));
  return crop(padded, top, left, height, width);
}

Array RandomResizedCrop::operator()(const Array& image, Philox& random) const {
  check_range("crop", "an area", min_area, max_area, 0, 1);
  check_range("crop", "an aspect", min_aspect, max_aspect, 1e-3, 1e3);
  const ImageSize size = image_size("crop", image);
  Box box;
  if (!random_box(size, min_area, max_area, min_aspect, max_aspect, random, box)) {
    const double aspect = static_cast<double>(size.width) / static_cast<double>(size.height);
    const double within = std::clamp(aspect, min_aspect, max_aspect);
    box.width = aspect > within ? std::llround(static_cast<double>(size.height) * within) : size.width;
    box.height = aspect < within ? std::llround(static_cast<double>(size.width) / within) : size.height;
    box.width = std::max<int64_t>(box.width, 1), box.height = std::max<int64_t>(box.height, 1);
    box.top = (size.height - box.height) / 2, box.left = (size.width - box.width) / 2;
  }
  return resize(crop(image, box.top, box.left, box.height, box.width), height, width);
}

Array RandomHorizontalFlip::operator()(const Array& image, Philox& random) const {
  check_probability("flip_horizontal", probability);
  return random.uniform() < probability ? flip_horizontal(image) : image;
}

Array RandomVerticalFlip::operator()(const Array& image, Philox& random) const {
  check_probability("flip_vertical", probability);
  return random.uniform() < probability ? flip_vertical(image) : image;
}

Array RandomAffine::operator()(const Array& image, Philox& random) const {
  const ImageSize size = image_size("affine", image);
  check_range("affine", "a scale", min_scale, max_scale, 1e-6, 1e6);
  const auto either = [&](double most) { return uniform(random, -most, most); };
  AffineMap map;
  map.angle = either(degrees);
  map.shift_x = either(translate_x * static_cast<double>(size.width));
  map.shift_y = either(translate_y * static_cast<double>(size.height));
  map.scale = uniform(random, min_scale, max_scale);
  map.shear_x = either(shear_x);
  map.shear_y = either(shear_y);
  return affine(image, map, fill);
}

Array RandomErasing::operator()(const Array& image, Philox& random) const {
  check_probability("erasing", probability);
  check_range("erasing", "an area", min_area, max_area, 0, 1);
  check_range("erasing", "an aspect", min_aspect, max_aspect, 1e-3, 1e3);
  check_range("erasing", "a fill", fill, fill, 0, 255);
  const ImageSize size = image_size("erasing", image);
  Box box;
  if (random.uniform() >= probability ||
      !random_box(size, min_area, max_area, min_aspect, max_aspect, random, box))
    return image;
  Array result = image;
  const auto values = result.values<uint8_t>();
  for (int64_t c = 0; c < size.channels; ++c)
    for (int64_t y = box.top; y < box.top + box.height; ++y)
      for (int64_t x = box.left; x < box.left + box.width; ++x)
        values[static_cast<size_t>((c * size.height + y) * size.width + x)] =
            static_cast<uint8_t>(noise ? random.bits() >> 24 : static_cast<uint32_t>(std::lround(fill)));
  return result;
}

Array Augment::operator()(Array image, Philox& random) const {
  for (const Transform& transform : list_) image = transform(image, random);
  return image;
}

namespace {
class Augmented : public Dataset {
 public:
  Augmented(DatasetPtr dataset, Augment augment, const std::string& column)
      : dataset_(std::move(dataset)), augment_(std::move(augment)), columns_(dataset_->columns()) {
    while (changed_ < columns_.size() && columns_[changed_].name != column) ++changed_;
    if (changed_ == columns_.size())
      throw Error("augmented", cat("the dataset has no column '", column, "'"));
    before_ = columns_[changed_];
    if (before_.dtype != DType::u8 || before_.shape.rank() < 2 || before_.shape.rank() > 3)
      throw Error("augmented", cat("column '", column, "' is ", before_.dtype, " ", before_.shape),
                  "images are u8, [channels, height, width] or [height, width]");
    // What the transforms make of an image, any one can tell.
    Philox random(0);
    const Array sample = change(Array(before_.shape, DType::u8), random);
    columns_[changed_].shape = sample.shape();
    columns_[changed_].dtype = sample.dtype();
  }
  int64_t size() const override { return dataset_->size(); }
  const std::vector<Column>& columns() const override { return columns_; }
  void fetch(int64_t index, std::span<const std::span<std::byte>> out) const override {
    Philox random(0, static_cast<uint64_t>(index));
    fetch_random(index, random, out);
  }
  void fetch_random(int64_t index, Philox& random, std::span<const std::span<std::byte>> out) const override {
    Array image(before_.shape, DType::u8);
    std::vector<std::span<std::byte>> inner(out.begin(), out.end());
    inner[changed_] = image.bytes();
    dataset_->fetch_random(index, random, inner);
    image = change(image, random);
    const Column& after = columns_[changed_];
    if (image.shape() != after.shape || image.dtype() != after.dtype)
      throw Error("augmented",
                  cat("item ", index, " became ", image.dtype(), " ", image.shape(), ", another ",
                      after.dtype, " ", after.shape),
                  "end the transforms with a crop or a resize to a fixed size");
    std::memcpy(out[changed_].data(), image.bytes().data(), image.bytes().size());
  }

 private:
  Array change(const Array& image, Philox& random) const {
    const Shape& shape = image.shape();
    if (shape.rank() == 3) return augment_(image, random);
    Array result = augment_(image.reshaped({1, shape[0], shape[1]}), random);
    // A grey image that became a coloured one keeps its channels.
    return result.shape()[0] == 1 ? result.reshaped({result.shape()[1], result.shape()[2]}) : result;
  }

  DatasetPtr dataset_;
  Augment augment_;
  std::vector<Column> columns_;
  Column before_;
  size_t changed_ = 0;
};
}  // namespace

DatasetPtr augmented(DatasetPtr dataset, Augment augment, const std::string& column) {
  return std::make_shared<Augmented>(std::move(dataset), std::move(augment), column);
}

}  // namespace stithy

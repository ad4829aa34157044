// Transforms of images and their random versions, with the names, the parameters and (to the rounding) the
// results of torchvision. An image is u8 [channels, height, width]; it stays u8 until Normalize.
#pragma once

#include <functional>
#include <initializer_list>
#include <string>
#include <vector>

#include "engine/core/rng.h"
#include "nn/data/dataset.h"

namespace stithy {

// ---- Functions. Each throws Error, named after itself, for what is no u8 [channels, height, width] (not
// empty) and for numbers out of range.

// Bilinear, to exactly [height, width]; where it shrinks, every pixel counts (antialiased, Pillow's triangle
// filter).
Array resize(const Array& image, int64_t height, int64_t width);
// The part that begins at (top, left). It may reach beyond the image, where it is 0.
Array crop(const Array& image, int64_t top, int64_t left, int64_t height, int64_t width);
enum class PadMode {
  zero,
  reflect,  // mirrored at the border pixels, which are not repeated; needs padding below the image's sides
};
// `padding` pixels at each of the four sides.
Array pad(const Array& image, int64_t padding, PadMode mode);
Array flip_horizontal(const Array& image);
Array flip_vertical(const Array& image);

struct AffineMap {
  double angle = 0;                 // degrees, clockwise
  double shift_x = 0, shift_y = 0;  // pixels, to the right and down
  double scale = 1;                 // above 1 zooms in
  double shear_x = 0, shear_y = 0;  // degrees
};
// Turned, sheared and scaled about the centre, then moved, in one bilinear warp. What lies outside of the
// image is `fill` (0 to 255).
Array affine(const Array& image, const AffineMap& map, double fill = 0);

// factor 0 gives black, grey of the mean, or grey; 1 changes nothing; more than 1 exaggerates. Images of 3 or
// 1 channels; one of 1 channel has no saturation and no hue.
Array adjust_brightness(const Array& image, double factor);
Array adjust_contrast(const Array& image, double factor);
Array adjust_saturation(const Array& image, double factor);
// Turns the hue, in HSV, by `turn` of a whole circle.
Array adjust_hue(const Array& image, double turn);

// f32: (x / 255 - mean[channel]) / std[channel].
Array normalize(const Array& image, const std::vector<float>& mean, const std::vector<float>& std);

// ---- Transforms of one image. What is random is drawn from `random` alone, so the result is a pure function
// of the image and of its stream.
using Transform = std::function<Array(const Array& image, Philox& random)>;

struct Resize {
  int64_t height, width;
  Array operator()(const Array& image, Philox&) const { return resize(image, height, width); }
};
// Keeps the aspect: the shorter side becomes `size`.
struct ResizeShorter {
  int64_t size;
  Array operator()(const Array& image, Philox&) const;
};
// Where the image is smaller, it is surrounded by 0.
struct CenterCrop {
  int64_t height, width;
  Array operator()(const Array& image, Philox&) const;
};
// After padding all sides. Throws Error when the padded image is smaller.
struct RandomCrop {
  int64_t height, width;
  int64_t padding = 0;
  PadMode mode = PadMode::zero;
  Array operator()(const Array& image, Philox& random) const;
};
// A part of random area (a fraction of the image's) and aspect (width / height, uniform in its logarithm),
// resized. After ten draws that do not fit, the largest centred part of an allowed aspect (Szegedy et al.
// 2015).
struct RandomResizedCrop {
  int64_t height, width;
  double min_area = 0.08, max_area = 1;
  double min_aspect = 3.0 / 4, max_aspect = 4.0 / 3;
  Array operator()(const Array& image, Philox& random) const;
};
struct RandomHorizontalFlip {
  double probability = 0.5;
  Array operator()(const Array& image, Philox& random) const;
};
struct RandomVerticalFlip {
  double probability = 0.5;
  Array operator()(const Array& image, Philox& random) const;
};
// Each number is uniform in its range; all act in one warp.
struct RandomAffine {
  double degrees = 0;                       // turned by -degrees to degrees
  double translate_x = 0, translate_y = 0;  // moved by up to these fractions of width and height
  double min_scale = 1, max_scale = 1;
  double shear_x = 0, shear_y = 0;  // sheared by up to these angles, degrees
  double fill = 0;
  Array operator()(const Array& image, Philox& random) const;
};
// In random order: brightness, contrast and saturation by a factor in [max(0, 1 - value), 1 + value], hue by
// -hue to hue of a circle (at most 0.5).
struct ColorJitter {
  double brightness = 0, contrast = 0, saturation = 0, hue = 0;
  Array operator()(const Array& image, Philox& random) const;
};
// Overwrites a rectangle of random area (a fraction of the image's), aspect and place, by `fill` or, where
// `noise` is set, by random bytes (Zhong et al. 2017). After ten draws that do not fit, nothing is erased.
struct RandomErasing {
  double probability = 0.5;
  double min_area = 0.02, max_area = 1.0 / 3;
  double min_aspect = 0.3, max_aspect = 3.3;
  double fill = 0;
  bool noise = false;
  Array operator()(const Array& image, Philox& random) const;
};
// The last of a list: what follows would no longer find bytes. The device can do the same for a quarter of
// the upload: nn::FromBytes, and a normalisation in the model.
struct Normalize {
  std::vector<float> mean, std;
  Array operator()(const Array& image, Philox&) const { return normalize(image, mean, std); }
};

// Transforms, one after another.
class Augment {
 public:
  Augment() = default;
  Augment(std::initializer_list<Transform> list) : list_(list) {}
  explicit Augment(std::vector<Transform> list) : list_(std::move(list)) {}
  Array operator()(Array image, Philox& random) const;

 private:
  std::vector<Transform> list_;
};

// The items of `dataset` with one column changed: u8 [channels, height, width], or [height, width], which
// counts as one channel. DataLoader gives each item a stream of its own in each epoch
// (Dataset::fetch_random); fetch() draws the same for an item every time. Throws Error where there is no such
// column, and in fetching where an item gets another shape than the first.
DatasetPtr augmented(DatasetPtr dataset, Augment augment, const std::string& column = "image");

}  // namespace stithy

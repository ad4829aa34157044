// Scenes of digits for object detection: a canvas with several digits of random size at random places.
// Scene i is a pure function of the digits, the options and i.
#pragma once

#include <vector>

#include "nn/box.h"
#include "nn/data/dataset.h"

namespace stithy {

struct DigitScenesOptions {
  int64_t size = 64;                    // of the canvas, which is square, in pixels
  int64_t most = 4;                     // digits in a scene; each has 1 to so many
  int64_t smallest = 18, largest = 32;  // of the square that a digit is scaled to
  uint64_t seed = 0;
};

// Columns "image" (u8 [size, size]), "boxes" (f32 [most, 4]: x1, y1, x2, y2 of the ink) and "labels"
// (i32 [most]), of which those that are not there are 0 and kIgnoreIndex. Boxes overlap by at most a tenth of
// their union; a digit for which no place was found is left out.
class DigitScenes : public Dataset {
 public:
  // Throws Error for options out of range and for digits that are not u8 [n, height, width].
  DigitScenes(ImageClasses digits, int64_t count, const DigitScenesOptions& options = {});
  int64_t size() const override { return count_; }
  const std::vector<Column>& columns() const override { return columns_; }
  void fetch(int64_t index, std::span<const std::span<std::byte>> out) const override;

 private:
  ImageClasses digits_;
  int64_t count_;
  DigitScenesOptions options_;
  std::vector<Column> columns_;
};

}  // namespace stithy

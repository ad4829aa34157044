// Numbers of several handwritten digits, side by side in one image. Image i is a pure function of the digits,
// the options and i.
#pragma once

#include <vector>

#include "nn/data/dataset.h"

namespace stithy {

struct DigitRowsOptions {
  int64_t height = 24, width = 96;  // of the image, in pixels
  int64_t fewest = 2, most = 6;     // digits of a number
  uint64_t seed = 0;
};

// Columns "image" (u8 [height, width], white on black), "labels" (i32 [most]: the digits from left to right,
// then zeros) and "count" (i32 []: how many they are). Digits are cut to their ink, scaled to different
// heights and set at different distances, some touching; a number that would not fit is drawn narrower.
class DigitRows : public Dataset {
 public:
  // Throws Error for options out of range and for digits that are not u8 [n, height, width] with a label
  // each.
  DigitRows(ImageClasses digits, int64_t count, const DigitRowsOptions& options = {});
  int64_t size() const override { return count_; }
  const std::vector<Column>& columns() const override { return columns_; }
  void fetch(int64_t index, std::span<const std::span<std::byte>> out) const override;

 private:
  ImageClasses digits_;
  int64_t count_;
  DigitRowsOptions options_;
  std::vector<Column> columns_;
};

}  // namespace stithy

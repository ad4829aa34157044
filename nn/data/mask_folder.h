// MaskFolder: images with masks that tell the class of each pixel, for segmentation.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "nn/data/dataset.h"

namespace stithy {

// Columns "image" (u8 [3, size, size]) and "mask" (i32 [size, size], padded by kIgnoreIndex).
class MaskFolder : public Dataset {
 public:
  // FOLDER/images/NAME.png, .jpg or .jpeg and FOLDER/masks/NAME.png, in the order of the names' bytes; names
  // that begin with a dot are passed over. The grey values that occur in any mask are the classes, in rising
  // order: 0, 1, 2 ... as well as 0 and 255 do; of colours the luma counts. Both are resized to size x size
  // pixels, masks by the nearest pixel. Every mask is read here, by all cores. Throws Error when a folder is
  // missing or has no image, an image has no mask, a mask no image or another size, and when there are fewer
  // than 2 classes or more than 64.
  MaskFolder(const std::string& folder, int64_t size);
  int64_t size() const override { return static_cast<int64_t>(files_.size()); }
  const std::vector<Column>& columns() const override { return columns_; }
  void fetch(int64_t index, std::span<const std::span<std::byte>> out) const override;

  // The grey value of each class.
  const std::vector<int>& classes() const { return classes_; }

 private:
  struct File {
    std::string image, mask;
  };
  std::vector<File> files_;
  std::vector<int> classes_;
  std::array<int32_t, 256> class_of_{};
  std::vector<Column> columns_;
};

}  // namespace stithy

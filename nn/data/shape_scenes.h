// Shapes with textures on a ground with a texture, drawn rather than downloaded: what samples of segmentation
// and of transfer learn from where there is no data. Scene i is a pure function of the options and i.
#pragma once

#include <array>
#include <vector>

#include "nn/data/dataset.h"

namespace stithy {

inline constexpr std::array<const char*, 12> kShapeNames = {"disc",      "ring", "square", "frame",
                                                            "triangle",  "star", "cross",  "bar",
                                                            "hourglass", "half", "heart",  "crescent"};

enum class ShapeTarget : uint8_t {
  mask,   // column "mask", i32 [size, size]: 0 is the ground, 1 + c a shape of class c
  label,  // column "label", i32 [], padded by kIgnoreIndex: the class of the scene's only shape
};
struct ShapeScenesOptions {
  int64_t size = 64;                // height and width, in pixels
  std::vector<int32_t> kinds = {};  // class c is kShapeNames[kinds[c]]; empty: all of them
  ShapeTarget target = ShapeTarget::mask;
  int64_t most = 4;                        // shapes in a scene; each has 1 to so many, with a label one
  double smallest = 0.14, largest = 0.28;  // radius, of the size
  double noise = 10;                       // standard deviation, of 255
  uint64_t seed = 0;
};

// Columns "image", u8 [3, size, size], and what the target says. Shapes are turned and stretched at random;
// one may cover a part of another.
class ShapeScenes : public Dataset {
 public:
  // Throws Error for options out of range.
  ShapeScenes(int64_t count, ShapeScenesOptions options = {});
  int64_t size() const override { return count_; }
  const std::vector<Column>& columns() const override { return columns_; }
  void fetch(int64_t index, std::span<const std::span<std::byte>> out) const override;

 private:
  int64_t count_;
  ShapeScenesOptions options_;
  std::vector<Column> columns_;
};

}  // namespace stithy

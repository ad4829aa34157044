// Boxes of object detection.
#pragma once

#include <algorithm>
#include <cstdint>

namespace stithy {

// [x1, x2) x [y1, y2), in pixels.
struct Box {
  float x1 = 0, y1 = 0, x2 = 0, y2 = 0;
  float area() const { return std::max(x2 - x1, 0.0f) * std::max(y2 - y1, 0.0f); }
};

struct LabelledBox {
  Box box;
  int32_t label = 0;
};

struct Detection {
  Box box;
  int32_t label = 0;
  float score = 0;  // of a higher one the detector is surer
};

// The area of the intersection over that of the union, 0 to 1; 0 where the union is empty.
inline float iou(const Box& a, const Box& b) {
  const Box common{std::max(a.x1, b.x1), std::max(a.y1, b.y1), std::min(a.x2, b.x2), std::min(a.y2, b.y2)};
  const float both = common.area(), either = a.area() + b.area() - both;
  return either > 0 ? both / either : 0;
}

}  // namespace stithy

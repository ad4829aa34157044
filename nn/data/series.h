// Series of measurements at equal intervals, cut into windows for forecasts.
#pragma once

#include <cstdint>

#include "nn/data/dataset.h"

namespace stithy {

struct SeriesOptions {
  int64_t history = 72, horizon = 24;  // steps that are known, and steps to tell
  int64_t stride = 1;                  // from the start of a window to that of the next one
};

// Columns "x" (f32 [history]) and "y" (f32 [horizon]), the steps that follow.
class SeriesWindows : public Dataset {
 public:
  // values: f32 [t]. Throws Error for options below 1 and for a series that is shorter than a window.
  SeriesWindows(const Array& values, const SeriesOptions& options);
  int64_t size() const override { return size_; }
  const std::vector<Column>& columns() const override { return columns_; }
  void fetch(int64_t index, std::span<const std::span<std::byte>> out) const override;

 private:
  Array values_;
  SeriesOptions options_;
  std::vector<Column> columns_;
  int64_t size_ = 0;
};

// Air temperatures, in degrees Celsius, of so many hours from a midnight in January on, f32 [hours]: winter
// and summer, night and day, fronts that bring other air for days, and clouds, on whose days and nights
// differ less. A pure function of its arguments.
Array draw_temperatures(int64_t hours, uint64_t seed = 0);

}  // namespace stithy

#include "nn/data/series.h"

#include <cmath>
#include <cstring>
#include <numbers>

#include "engine/core/error.h"

namespace stithy {

SeriesWindows::SeriesWindows(const Array& values, const SeriesOptions& options)
    : values_(values), options_(options) {
  const auto& [history, horizon, stride] = options_;
  if (history < 1 || horizon < 1 || stride < 1)
    throw Error("series", cat("windows of ", history, " and ", horizon, " steps, ", stride, " apart"),
                "all are at least 1");
  if (values_.dtype() != DType::f32 || values_.shape().rank() != 1)
    throw Error("series", cat("values are f32 [t], got ", values_.dtype(), " ", values_.shape()));
  const int64_t spare = values_.numel() - history - horizon;
  if (spare < 0)
    throw Error("series", cat(values_.numel(), " values are too few for a window of ", history, " and ",
                              horizon, " steps"));
  size_ = spare / stride + 1;
  columns_ = {{"x", {history}}, {"y", {horizon}}};
}

void SeriesWindows::fetch(int64_t index, std::span<const std::span<std::byte>> out) const {
  if (index < 0 || index >= size_)
    throw Error("series", cat("item ", index, " is out of range for ", size_, " items"));
  const float* start = values_.values<float>().data() + index * options_.stride;
  std::memcpy(out[0].data(), start, out[0].size());
  std::memcpy(out[1].data(), start + options_.history, out[1].size());
}

Array draw_temperatures(int64_t hours, uint64_t seed) {
  if (hours < 0) throw Error("series", cat("cannot draw ", hours, " hours"));
  constexpr double kYear = 365.25 * 24, kTurn = 2 * std::numbers::pi;
  // First-order autoregressions: this hour's value is nearly that of the hour before.
  constexpr double kFrontsLast = 0.99, kFronts = 4.5, kCloudsLast = 0.95, kNoise = 0.3;
  const auto next = [](double before, double keeps, double noise) {
    return keeps * before + std::sqrt(1 - keeps * keeps) * noise;
  };
  Philox random(seed);
  Array temperatures({hours}, DType::f32);
  double front = random.normal(), cloud = random.normal();
  for (int64_t hour = 0; hour < hours; ++hour) {
    const double t = static_cast<double>(hour);
    const double summer = -std::cos(kTurn * (t / kYear - 0.05)), day = -std::cos(kTurn * (t - 3) / 24);
    front = next(front, kFrontsLast, random.normal());
    cloud = next(cloud, kCloudsLast, random.normal());
    const double sun = (4 + 2 * summer) / (1 + std::exp(1.5 * cloud - 1));
    temperatures.set(hour, 9.5 + 9 * summer + kFronts * front + sun * day + kNoise * random.normal());
  }
  return temperatures;
}

}  // namespace stithy

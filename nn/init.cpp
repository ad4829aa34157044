#include "nn/init.h"

#include <cmath>
#include <vector>

#include "engine/core/error.h"
#include "engine/ops.h"
#include "nn/init_blank.h"

namespace stithy::nn {

namespace {
uint64_t init_seed = 0, init_stream = 0;
thread_local int blanks = 0;

template <class Draw>
Array fill(const Shape& shape, Draw draw) {
  Array values(shape, DType::f32);
  if (blanks > 0) return values;
  for (float& value : values.values<float>()) value = static_cast<float>(draw());
  return values;
}
}  // namespace

void manual_seed(uint64_t seed) {
  init_seed = seed;
  init_stream = 0;
  default_generator().seed(seed);
}

namespace init {

Blank::Blank() { ++blanks; }
Blank::~Blank() { --blanks; }

Philox next_stream() {
  // The high half of the stream number keeps initial values apart from other users of the same seed.
  return Philox(init_seed, (uint64_t{0x1717} << 32) | init_stream++);
}

Fans fans(const Shape& shape) {
  if (shape.rank() < 2)
    throw Error("init", cat("a weight of shape ", shape, " has no fan-in and fan-out"),
                "weights are [out, in, kernel...]; use uniform, normal or constant for vectors");
  int64_t kernel = 1;
  for (int i = 2; i < shape.rank(); ++i) kernel *= shape[i];
  return {shape[1] * kernel, shape[0] * kernel};
}

double gain(std::string_view nonlinearity, double slope) {
  if (nonlinearity == "linear" || nonlinearity == "conv" || nonlinearity == "sigmoid") return 1;
  if (nonlinearity == "tanh") return 5.0 / 3;
  if (nonlinearity == "relu") return std::sqrt(2.0);
  if (nonlinearity == "leaky_relu") return std::sqrt(2 / (1 + slope * slope));
  if (nonlinearity == "selu") return 0.75;
  throw Error("init", cat("no gain is known for \"", nonlinearity, "\""),
              "one of linear, conv, sigmoid, tanh, relu, leaky_relu, selu");
}

Array constant(const Shape& shape, float value) {
  return fill(shape, [&] { return value; });
}

Array uniform(const Shape& shape, double low, double high, Philox random) {
  if (!(low <= high)) throw Error("init", cat("uniform needs low <= high, got ", low, " and ", high));
  return fill(shape, [&] { return low + (high - low) * random.uniform(); });
}

Array normal(const Shape& shape, double mean, double deviation, Philox random) {
  if (!(deviation >= 0)) throw Error("init", cat("normal needs a deviation of at least 0, got ", deviation));
  return fill(shape, [&] { return mean + deviation * random.normal(); });
}

Array truncated_normal(const Shape& shape, double mean, double deviation, double low, double high,
                       Philox random) {
  if (!(deviation > 0) || !(low < high) || low > mean + 2 * deviation || high < mean - 2 * deviation)
    throw Error("init",
                cat("truncated_normal cannot draw from [", low, ", ", high, "] with mean ", mean,
                    " and deviation ", deviation),
                "the interval must reach within two deviations of the mean");
  return fill(shape, [&] {
    for (;;) {
      const double value = mean + deviation * random.normal();
      if (value >= low && value <= high) return value;
    }
  });
}

namespace {
double xavier_deviation(const Shape& shape, double gain) {
  const Fans fan = fans(shape);
  return gain * std::sqrt(2.0 / static_cast<double>(fan.in + fan.out));
}
double kaiming_deviation(const Shape& shape, double slope, Fan fan) {
  const Fans both = fans(shape);
  return gain("leaky_relu", slope) / std::sqrt(static_cast<double>(fan == Fan::in ? both.in : both.out));
}
// A uniform distribution of this deviation reaches sqrt(3) deviations to either side.
Array uniform_of_deviation(const Shape& shape, double deviation, const Philox& random) {
  const double bound = std::sqrt(3.0) * deviation;
  return uniform(shape, -bound, bound, random);
}
}  // namespace

Array xavier_uniform(const Shape& shape, double gain, Philox random) {
  return uniform_of_deviation(shape, xavier_deviation(shape, gain), random);
}
Array xavier_normal(const Shape& shape, double gain, Philox random) {
  return normal(shape, 0, xavier_deviation(shape, gain), random);
}
Array kaiming_uniform(const Shape& shape, double slope, Fan fan, Philox random) {
  return uniform_of_deviation(shape, kaiming_deviation(shape, slope, fan), random);
}
Array kaiming_normal(const Shape& shape, double slope, Fan fan, Philox random) {
  return normal(shape, 0, kaiming_deviation(shape, slope, fan), random);
}

Array orthogonal(const Shape& shape, double gain, Philox random) {
  if (shape.rank() < 2)
    throw Error("init", cat("orthogonal needs at least two dimensions, the shape is ", shape));
  if (blanks > 0) return {shape, DType::f32};
  const int64_t rows = shape[0], columns = rows ? shape.numel() / rows : 0;
  const bool tall = rows > columns;
  const size_t count = static_cast<size_t>(tall ? columns : rows);
  const size_t length = static_cast<size_t>(tall ? rows : columns);
  // Gram and Schmidt on `count` random vectors, twice each: once is not enough in floating point
  // (Giraud, Langou and Rozloznik 2005).
  std::vector<std::vector<double>> basis;
  while (basis.size() < count) {
    std::vector<double> v(length);
    for (double& x : v) x = random.normal();
    for (int pass = 0; pass < 2; ++pass)
      for (const auto& u : basis) {
        double dot = 0;
        for (size_t i = 0; i < length; ++i) dot += u[i] * v[i];
        for (size_t i = 0; i < length; ++i) v[i] -= dot * u[i];
      }
    double square = 0;
    for (const double x : v) square += x * x;
    if (square < 1e-20) continue;
    for (double& x : v) x /= std::sqrt(square);
    basis.push_back(std::move(v));
  }
  Array values(shape, DType::f32);
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < columns; ++j)
      values.set(i * columns + j, gain * (tall ? basis[static_cast<size_t>(j)][static_cast<size_t>(i)]
                                               : basis[static_cast<size_t>(i)][static_cast<size_t>(j)]));
  return values;
}

}  // namespace init
}  // namespace stithy::nn

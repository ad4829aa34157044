// Initial values of parameters. Deterministic: draws come from Philox, one stream for each call, in the order
// of the calls since manual_seed().
#pragma once

#include "engine/core/array.h"
#include "engine/core/rng.h"

namespace stithy::nn {

// Seeds the initialisers and the default generator of the random ops. Without it the seed is 0.
void manual_seed(uint64_t seed);

namespace init {

// The stream of the next call.
Philox next_stream();

enum class Fan : uint8_t { in, out };
struct Fans {
  int64_t in, out;
};
// Of a weight [out, in, kernel...]. Throws Error below rank 2.
Fans fans(const Shape& shape);

// The factor that keeps the variance through a nonlinearity: "linear", "conv", "sigmoid" 1, "tanh" 5/3,
// "relu" sqrt(2), "leaky_relu" sqrt(2 / (1 + slope^2)), "selu" 3/4. Throws Error for another name.
double gain(std::string_view nonlinearity, double slope = 0.01);

Array constant(const Shape& shape, float value);
Array uniform(const Shape& shape, double low, double high, Philox random = next_stream());
Array normal(const Shape& shape, double mean, double deviation, Philox random = next_stream());
// Normal values, drawn again while outside [low, high].
Array truncated_normal(const Shape& shape, double mean, double deviation, double low, double high,
                       Philox random = next_stream());
// Glorot and Bengio 2010.
Array xavier_uniform(const Shape& shape, double gain = 1, Philox random = next_stream());
Array xavier_normal(const Shape& shape, double gain = 1, Philox random = next_stream());
// He et al. 2015; `slope` is that of the leaky ReLU that follows.
Array kaiming_uniform(const Shape& shape, double slope = 0, Fan fan = Fan::in, Philox random = next_stream());
Array kaiming_normal(const Shape& shape, double slope = 0, Fan fan = Fan::in, Philox random = next_stream());
// Saxe et al. 2013: as a matrix [shape[0], rest], orthonormal rows or columns, whichever are fewer.
Array orthogonal(const Shape& shape, double gain = 1, Philox random = next_stream());

}  // namespace init
}  // namespace stithy::nn

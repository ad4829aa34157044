#include "tests/golden_values.h"

#include <cmath>

#include "nn/init.h"

namespace stithy::testing {

Array values(const std::string& name, const Shape& shape) {
  uint32_t start = 2166136261u;  // FNV-1a
  for (const char c : name) start = (start ^ static_cast<uint8_t>(c)) * 16777619u;
  Array out(shape, DType::f32);
  uint32_t i = 0;
  for (float& value : out.values<float>()) {
    uint32_t x = i++ * 0x9E3779B1u + start;
    x = (x ^ (x >> 15)) * 0x2C1B3C6Du;
    x = (x ^ (x >> 12)) * 0x297A2D39u;
    x ^= x >> 15;
    value = static_cast<float>(x >> 8) * 0x1p-23f - 1;
  }
  return out;
}

Array numbers(const std::string& name, const Shape& shape, int64_t count) {
  const Array x = values(name, shape);
  Array out(shape, DType::i32);
  for (int64_t i = 0; i < x.numel(); ++i)
    out.set(i, std::floor((x.at(i) + 1) / 2 * static_cast<double>(count)));
  return out;
}

std::vector<nn::NamedVariable> state_of(const nn::Module& model) {
  std::vector<nn::NamedVariable> state = model.named_parameters();
  for (nn::NamedVariable& buffer : model.named_buffers()) state.push_back(std::move(buffer));
  return state;
}

void fill(const nn::Module& model) {
  for (auto& [name, variable] : state_of(model)) {
    if (name.ends_with("num_batches_tracked")) continue;
    const Shape& shape = variable.shape();
    double mean = 0, factor = 0.125;
    if (shape.rank() > 1)
      factor = std::sqrt(6 / static_cast<double>(nn::init::fans(shape).in));
    else if (name.ends_with("running_var"))
      mean = 1, factor = 0.5;
    else if (name.ends_with("weight"))
      mean = 1, factor = 0.25;
    Array array = values(name, shape);
    for (float& value : array.values<float>()) value = static_cast<float>(mean + factor * value);
    variable.set(array);
  }
}

}  // namespace stithy::testing

// Weights and inputs by a formula, which scripts in tests/golden compute too (golden_models.py).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/core/array.h"
#include "nn/module.h"

namespace stithy::testing {

// Uniform in [-1, 1): a hash of the name and of the element's index, exact in fp32.
Array values(const std::string& name, const Shape& shape);
// The same as numbers from 0 to count - 1, i32.
Array numbers(const std::string& name, const Shape& shape, int64_t count);
// Parameters, then buffers.
std::vector<nn::NamedVariable> state_of(const nn::Module& model);
// Gives every parameter and buffer its values.
void fill(const nn::Module& model);

}  // namespace stithy::testing

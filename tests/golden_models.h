// Models against PyTorch: scripts in tests/golden wrote names, shapes and, in double precision, outputs,
// losses and samples of gradients. Weights and inputs come from a formula.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "tests/golden_values.h"

namespace stithy::testing {

struct Run {
  Tensor output, loss;
};
// The output and the sum of its elements, each times a number of its own.
Run weighted(const Tensor& output);
using RunModel = std::function<Run(nn::Module& model, const Array& x)>;

// Relative to the largest value.
struct Tolerance {
  double output, gradient;
};

// What differs from the model `name` in tests/golden/models_FAMILY.json, a line each; empty where nothing
// does. check_model() looks at names, shapes, outputs, loss and gradients in training and in evaluation.
std::string check_names(const std::string& family, const std::string& name, const nn::Module& model);
std::string check_model(const std::string& family, const std::string& name, nn::Module& model,
                        const Tolerance& tolerance, const RunModel& run = {});

}  // namespace stithy::testing

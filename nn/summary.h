// A table of a model's layers: output shape, parameters, floating-point operations and memory.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "nn/module.h"

namespace stithy::nn {

struct LayerSummary {
  std::string name = {};   // "encoder.0"
  std::string layer = {};  // "Linear(784, 256)"
  Shape output = {};       // of the last call; empty when the layer is not called
  int64_t parameters = 0;
  double flops = 0;           // forward
  uint64_t output_bytes = 0;  // of the tensors that the layer makes (views make none)
};

struct Summary {
  std::vector<LayerSummary> layers;  // in the order of registration
  int64_t parameters = 0;            // shared ones once
  double flops = 0;
  uint64_t parameter_bytes = 0, output_bytes = 0;
  std::string table() const;
};

// Builds model(x), in the mode the model is in, and runs nothing. `x` is an input() of the wanted shape.
Summary summarize(Module& model, const Tensor& x);
// The same for what `build` makes of the model; operations outside the layers count in the totals alone.
Summary summarize(const Module& model, const std::function<Tensor()>& build);

// 421642 -> "421,642"; 1.5e9 -> "1.50 G".
std::string format_count(int64_t count);
std::string format_flops(double flops);

}  // namespace stithy::nn

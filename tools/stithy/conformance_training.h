// The short training runs of `stithy conformance`: real layers and optimizers, batches and weights by a
// formula, loss curves that PyTorch computed in double precision (tests/golden/make_conformance_golden.py).
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace stithy::certify {

// conformance_curves.json, which is a part of the program.
std::string_view curves();

struct TrainingRun {
  std::string name, about;  // "mlp", "Linear, ReLU; Adam"
  std::vector<double> reference;
  // Largest deviation() that passes. Where it comes from is said in the script that made the curves.
  double tolerance = 0;
};
// Throws Error where `text`, in the form of curves(), lacks a run, or has one without a curve.
std::vector<TrainingRun> read_training_runs(std::string_view text);
const std::vector<TrainingRun>& training_runs();

// Trains on the default device; the loss of each step, before its update.
std::vector<double> train(const std::string& name);

// The largest |loss - reference| relative to the larger of 1 and |reference|; infinite for a loss that is not
// finite, and where the curves differ in length.
double deviation(std::span<const double> losses, std::span<const double> reference);

}  // namespace stithy::certify

// What `stithy bench` measures: a table of ops with their shapes, and one of training steps.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/graph/tensor.h"
#include "nn/trainer.h"
#include "tools/stithy/bench_blas.h"

namespace stithy::measure {

struct Graph {
  std::vector<Tensor> fetches, updates;
};

struct OpCase {
  std::string op, shape;         // "matmul_nt", "128x256x784"
  std::function<Graph()> build;  // its operands are variables, so that a run uploads nothing
  bool quick = false;            // part of --quick
  std::optional<Gemm> gemm = {};
  std::optional<double> bytes = {};  // moved, where the kernels' bindings do not tell: tables read in part
};
std::vector<OpCase> op_cases();

// A training step with its shapes, which are a contract with the PyTorch script of the same names.
struct Training {
  std::unique_ptr<nn::Module> model;
  std::unique_ptr<nn::Trainer> trainer;
  std::vector<Array> batch;
};
struct Workload {
  std::string name, shape;  // of the batch
  int64_t items = 0;        // a step
  std::string unit;         // of items: "img", "tok"
  std::function<Training()> make;
  bool quick = false;
  bool large = false;  // takes seconds a step: measured only where it is named
};
std::vector<Workload> workloads();

Array random_values(const Shape& shape);  // uniform in [-1, 1)
Array random_classes(const Shape& shape, int64_t classes);
std::string text_of(const Shape& shape);  // "64x3x32x32"

}  // namespace stithy::measure

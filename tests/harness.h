// The op harness: a row states an op's cases and a few lines of double-precision reference; the harness
// checks the rest on the device at hand. For every case:
//   forward       against the reference, with contiguous inputs and with strided views of larger tensors;
//   gradient      of sum(random weights * outputs) against central differences of the reference in double;
//   composition   the fused op against its composition, where it has one, forward and gradient;
//   poison        all memory is filled with NaN beforehand, so an element that is not written shows;
//   guard bands   around every tensor stay intact;
//   repeatability a second run gives the same bytes;
//   candidates    every way to run the op that tuning may choose passes the forward checks, too.
// It also records which kernels ran, so that a kernel that no row launches is found.
#pragma once

#include <functional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "engine/graph/plan.h"
#include "engine/vk/device_info.h"

namespace stithy::testing {

// A dense row-major array of doubles: what a reference computes with.
struct Reference {
  Shape shape;
  std::vector<double> values;
  Reference() = default;
  explicit Reference(const Shape& s) : shape(s), values(static_cast<size_t>(s.numel())) {}
  Reference(const Shape& s, std::vector<double> v) : shape(s), values(std::move(v)) {}
  double& operator[](int64_t i) { return values[static_cast<size_t>(i)]; }
  double operator[](int64_t i) const { return values[static_cast<size_t>(i)]; }
  int64_t numel() const { return static_cast<int64_t>(values.size()); }
};

// The element of `x`, broadcast to `shape`, at row-major position i of `shape`.
double broadcast_at(const Reference& x, const Shape& shape, int64_t i);

// A random input: uniform in [low, high], integers for i32 and u8, 0 or 1 for bool.
struct Argument {
  Shape shape;
  DType dtype = DType::f32;
  double low = -2, high = 2;
  // Values within `margin` of one of `avoid` are moved away: a central difference may not straddle a kink.
  std::vector<double> avoid = {};
  double margin = 0.05;
  bool distinct = false;       // all elements differ by at least margin: for max, argmax, ...
  bool differentiable = true;  // check the gradient with respect to it (f32 only)
};

struct Case {
  std::string name;  // "odd sizes", "axis 1 of 3"
  std::vector<Argument> arguments;
  // Builds the graph; outputs of f32 are checked with the tolerance, others exactly. It is called for every
  // run, so that each starts with fresh variables and generators: make those inside it.
  std::function<std::vector<Tensor>(std::span<const Tensor> xs)> build;
  // The same outputs in double precision.
  std::function<std::vector<Reference>(std::span<const Reference> xs)> reference;
  // Largest |device - reference| allowed, relative to max(1, largest |reference|) of that output.
  double tolerance = 2e-6;
  double gradient_tolerance = 2e-5;
  bool gradient = true;
  bool strided = true;  // also run with strided views as inputs
};

struct Row {
  std::string op;  // OpDef::name
  std::vector<Case> cases;
};

// Registers a row; at namespace scope: const bool kSoftmaxRow = add_row({...});
bool add_row(Row row);
const std::vector<Row>& rows();

struct Verdict {
  std::string op, name;
  // Empty: passed. Each says which check, where, device value and reference.
  std::vector<std::string> failures;
  double forward_error = 0, gradient_error = 0;  // as tolerance measures them
  int gradient_checks = 0;                       // arguments whose gradient was compared
  // Launched by nodes of the row's op and by those that its gradient built.
  std::set<std::string> kernels;
};
// Runs one case on the default device. `quick` leaves out strided inputs and repeatability (stithy doctor).
Verdict run_case(const std::string& op, const Case& test, bool quick = false);

// True under GPU-assisted validation, which puts so much into each kernel that a CPU driver compiles it for
// seconds: what only makes more kernels of the same sources is left out then.
bool is_instrumented();

// What Vulkan 1.2 promises at least, with subgroups of 8: for planning without a device.
vk::DeviceInfo modest_device();
// What the row's graphs, forward and backward, would run on `device`.
std::vector<Plan> plans_of(const Row& row, const vk::DeviceInfo& device);
// Calls `take` with a plan, without fusion, for each candidate of the choices in these graphs.
void each_variant(const Row& row, const vk::DeviceInfo& device, const std::function<void(const Plan&)>& take);
// Kernels that the row's graphs, forward and backward, would launch on `device`; nothing runs.
std::set<std::string> kernels_of(const Row& row, const vk::DeviceInfo& device = modest_device());
// The ops of these graphs: the row's own and those that its gradient builds.
std::set<std::string> ops_of(const Row& row);

}  // namespace stithy::testing

// The graphs of a test row: an op's case with random inputs, in several layouts, and its gradient.
#pragma once

#include <cstdint>
#include <functional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/graph/plan.h"
#include "tests/harness.h"

namespace stithy::testing {

// How arguments reach the op: as they are; as a window with an odd offset whose rows stay contiguous; or
// with its axes in reverse order and every other element along the first.
enum class Layout : uint8_t { contiguous, window, strided };
constexpr std::string_view kLayoutNames[] = {"contiguous", "window", "strided"};

// An argument as a part of a larger tensor.
struct Cut {
  Shape shape, storage, strides;
  int64_t offset = 0;

  Cut(Layout layout, const Shape& x);
  // The larger tensor, in which all other elements are NaN or the like: reading one shows.
  Array embed(const Array& array) const;
};

struct Graph {
  std::vector<Tensor> inputs;  // by argument: what is fed
  std::vector<Tensor> xs;      // the views of them that the op sees
  std::vector<Tensor> ys, dxs;
  std::vector<int> differentiated;     // the argument of each of dxs
  uint64_t forward = 0, backward = 0;  // nodes with these ids and above belong to build() and its gradient
};

// What one case needs in all of its runs.
struct Setup {
  const std::string& op;
  const Case& test;
  uint64_t seed;
  std::vector<Array> arguments;

  Setup(const std::string& op_name, const Case& test_case);
  Array weights(size_t output, const Shape& shape) const;
  // d sum(weights * ys) / d x for the x of f32; `which` receives their places among xs.
  std::vector<Tensor> differentiate(std::span<const Tensor> ys, std::span<const Tensor> xs,
                                    std::vector<int>* which) const;
  // `between`: pointwise ops stand before and after the op and its gradient, for fusion.
  Graph build(Layout layout, bool between = false) const;
};

// Every node that these need, each once.
void visit(const std::vector<Tensor>& from, const std::function<void(const Node&)>& f);
std::vector<Tensor> fetches_of(const Graph& graph);
// The nodes of the op, and those that its gradient built, in the order of building.
std::vector<const Node*> nodes_of(const std::string& op, const Graph& graph);
// The kernels that these nodes launch.
void collect(const Plan& plan, const std::string& op, const Graph& graph, std::set<std::string>& kernels);
std::vector<Layout> layouts_of(const Case& test, bool quick);
// The most ways in which a node can run.
size_t candidates_of(std::span<const PlannedChoice> choices);
// Candidate `i` wherever there is one.
Chooser force(size_t i);

}  // namespace stithy::testing

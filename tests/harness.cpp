#include "tests/harness.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <numeric>

#include "engine/core/error.h"
#include "engine/core/rng.h"
#include "engine/graph/autograd.h"
#include "engine/graph/device.h"
#include "engine/graph/op.h"
#include "engine/graph/program.h"
#include "engine/ops.h"
#include "tests/variants.h"

namespace stithy::testing {

double broadcast_at(const Reference& x, const Shape& shape, int64_t i) {
  const int skipped = shape.rank() - x.shape.rank();
  int64_t position = 0, stride = 1;
  for (int axis = shape.rank() - 1; axis >= skipped; --axis) {
    const int64_t dim = x.shape[axis - skipped];
    if (dim != 1) position += i % shape[axis] * stride;
    stride *= dim;
    i /= shape[axis];
  }
  return x[position];
}

namespace {

std::vector<Row>& registry() {
  static std::vector<Row> rows;
  return rows;
}

// FNV-1a, so that the values of a case depend on nothing but its names.
uint64_t seed_of(const std::string& op, const std::string& name) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (char c : op + '/' + name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return hash;
}

bool is_float(DType dtype) { return dtype == DType::f32 || dtype == DType::f16 || dtype == DType::bf16; }

Array draw(const Argument& argument, Philox& random) {
  Array array(argument.shape, argument.dtype);
  const int64_t n = array.numel();
  const bool integral = !is_float(argument.dtype);
  const double low = argument.dtype == DType::boolean ? 0 : argument.low;
  const double high = argument.dtype == DType::boolean ? 1 : argument.high;
  const auto allowed = [&](double value) {
    return std::ranges::all_of(argument.avoid,
                               [&](double a) { return std::abs(value - a) >= argument.margin; });
  };
  if (argument.distinct) {
    const double step = integral ? std::max(1.0, std::ceil(argument.margin)) : argument.margin;
    std::vector<double> values;
    for (int64_t k = 0; low + static_cast<double>(k) * step <= high; ++k)
      if (const double value = low + static_cast<double>(k) * step; allowed(value)) values.push_back(value);
    if (static_cast<int64_t>(values.size()) < n)
      throw Error("harness",
                  cat(n, " values at least ", step, " apart do not fit in [", low, ", ", high, "]"),
                  "widen the range or lower the margin");
    for (int64_t i = 0; i < n; ++i) {
      const auto k = static_cast<size_t>(i);
      std::swap(values[k], values[k + random.below(values.size() - k)]);
      array.set(i, values[k]);
    }
    return array;
  }
  for (int64_t i = 0; i < n; ++i) {
    double value = 0;
    int tries = 0;
    do {
      if (++tries > 1000)
        throw Error("harness", cat("nothing is left of [", low, ", ", high, "] by the values to avoid"));
      value = integral ? low + static_cast<double>(random.below(static_cast<uint64_t>(high - low) + 1))
                       : low + (high - low) * random.uniform();
    } while (!allowed(value));
    array.set(i, value);
  }
  return array;
}

Reference reference_of(const Array& array) {
  Reference result(array.shape());
  for (int64_t i = 0; i < result.numel(); ++i) result[i] = array.at(i);
  return result;
}

std::string position(const Shape& shape, int64_t i) {
  Shape index = shape;
  for (int axis = shape.rank() - 1; axis >= 0; --axis) {
    index[axis] = i % shape[axis];
    i /= shape[axis];
  }
  return cat(index);
}

// How arguments reach the op: as they are; as a window with an odd offset whose rows stay contiguous; or
// with its axes in reverse order and every other element along the first.
enum class Layout : uint8_t { contiguous, window, strided };
constexpr std::string_view kLayoutNames[] = {"contiguous", "window", "strided"};

const OpDef kCut = {.name = "harness_cut"};

// An argument as a part of a larger tensor.
struct Cut {
  Shape shape, storage, strides;
  int64_t offset = 0;

  Cut(Layout layout, const Shape& x) : shape(x), storage(x), strides(x) {
    if (layout == Layout::contiguous) {
      strides = contiguous_strides(x);
      return;
    }
    if (x.empty()) {
      storage = {3};
      offset = 1;
      return;
    }
    const auto axis_in_storage = [&](int axis) {
      return layout == Layout::strided ? x.rank() - 1 - axis : axis;
    };
    const auto step = [&](int axis) { return layout == Layout::strided && axis == 0 ? 2 : 1; };
    for (int axis = 0; axis < x.rank(); ++axis) storage[axis_in_storage(axis)] = x[axis] * step(axis) + 1;
    const Shape storage_strides = contiguous_strides(storage);
    for (int axis = 0; axis < x.rank(); ++axis) {
      strides[axis] = storage_strides[axis_in_storage(axis)] * step(axis);
      offset += storage_strides[axis_in_storage(axis)];
    }
  }

  // The larger tensor, in which all other elements are NaN or the like: reading one shows.
  Array embed(const Array& array) const {
    Array result(storage, array.dtype());
    for (int64_t i = 0; i < result.numel(); ++i)
      result.set(i, is_float(array.dtype()) ? std::numeric_limits<double>::quiet_NaN() : 1e9);
    for (int64_t i = 0; i < array.numel(); ++i) {
      int64_t rest = i, at = offset;
      for (int axis = shape.rank() - 1; axis >= 0; --axis) {
        at += rest % shape[axis] * strides[axis];
        rest /= shape[axis];
      }
      result.set(at, array.at(i));
    }
    return result;
  }
};

// An op that stands for sum(weights * outputs): its gradient is the weights themselves, so differentiating
// launches no kernels but those under test. It never runs.
std::vector<Tensor> weights_as_gradient(const Backward& b) { return b.attrs<std::vector<Tensor>>(); }
const OpDef kWeightedSum = {.name = "harness", .gradient = weights_as_gradient};

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

  Setup(const std::string& op_name, const Case& test_case)
      : op(op_name), test(test_case), seed(seed_of(op_name, test_case.name)) {
    for (const Argument& argument : test.arguments) {
      Philox random(seed, arguments.size());
      arguments.push_back(draw(argument, random));
    }
  }

  Array weights(size_t output, const Shape& shape) const {
    Philox random(seed, 1000 + output);
    return draw({.shape = shape, .low = -1, .high = 1}, random);
  }

  // d sum(weights * ys) / d x for the x of f32; `which` receives their places among xs.
  std::vector<Tensor> differentiate(std::span<const Tensor> ys, std::span<const Tensor> xs,
                                    std::vector<int>* which) const {
    std::vector<Tensor> summed, weight_tensors, wanted;
    for (size_t i = 0; i < ys.size(); ++i) {
      if (ys[i].dtype() != DType::f32) continue;
      summed.push_back(ys[i]);
      weight_tensors.emplace_back(weights(i, ys[i].shape()));
    }
    for (const int i : *which) wanted.push_back(xs[static_cast<size_t>(i)]);
    if (summed.empty() || wanted.empty()) {
      which->clear();
      return {};
    }
    const Tensor total = make_node(kWeightedSum, weight_tensors, summed, {{Shape{}, DType::f32}});
    return gradients(total, wanted, Unreached::zero, 1.0f);
  }

  // `between`: pointwise ops stand before and after the op and its gradient, for fusion.
  Graph build(Layout layout, bool between = false) const {
    Graph graph;
    const auto wrap = [&](std::vector<Tensor>& tensors) {
      for (Tensor& x : tensors)
        if (between && x.dtype() == DType::f32) x = neg(neg(x));
    };
    for (size_t i = 0; i < arguments.size(); ++i) {
      const Cut cut(layout, arguments[i].shape());
      const Tensor& whole = graph.inputs.emplace_back(input(cat("x", i), cut.storage, arguments[i].dtype()));
      graph.xs.push_back(layout == Layout::contiguous
                             ? whole
                             : make_view(kCut, {}, whole, cut.shape, cut.strides, cut.offset));
      if (test.gradient && test.arguments[i].differentiable && arguments[i].dtype() == DType::f32)
        graph.differentiated.push_back(static_cast<int>(i));
    }
    wrap(graph.xs);
    graph.forward = input("mark", {}).node()->id;
    graph.ys = test.build(graph.xs);
    graph.backward = input("mark", {}).node()->id;
    wrap(graph.ys);
    graph.dxs = differentiate(graph.ys, graph.xs, &graph.differentiated);
    wrap(graph.dxs);
    return graph;
  }
};

void visit(const std::vector<Tensor>& from, const std::function<void(const Node&)>& f) {
  std::set<const Node*> seen;
  std::vector<const Node*> open;
  const auto push = [&](const Tensor& t) {
    if (seen.insert(t.node().get()).second) open.push_back(t.node().get());
  };
  for (const Tensor& t : from) push(t);
  while (!open.empty()) {
    const Node* node = open.back();
    open.pop_back();
    f(*node);
    for (const Tensor& t : node->inputs) push(t);
  }
}

std::vector<Tensor> fetches_of(const Graph& graph) {
  std::vector<Tensor> fetches = graph.ys;
  fetches.insert(fetches.end(), graph.dxs.begin(), graph.dxs.end());
  return fetches;
}

// True for nodes of the op, and those that its gradient built.
bool belongs(const Node& node, const std::string& op, const Graph& graph) {
  return node.op && node.id > graph.forward && (node.id > graph.backward || node.op->name == op);
}

// These nodes, in the order of building.
std::vector<const Node*> nodes_of(const std::string& op, const Graph& graph) {
  std::vector<const Node*> nodes;
  visit(fetches_of(graph), [&](const Node& node) {
    if (belongs(node, op, graph)) nodes.push_back(&node);
  });
  std::ranges::sort(nodes, {}, &Node::id);
  return nodes;
}

void collect(const Plan& plan, const std::string& op, const Graph& graph, std::set<std::string>& kernels) {
  for (const auto& dispatch : plan.dispatches)
    if (belongs(*dispatch.node, op, graph)) kernels.emplace(dispatch.call.kernel->name);
}

std::vector<Layout> layouts_of(const Case& test, bool quick) {
  const bool contiguous = quick || !test.strided || test.arguments.empty() ||
                          std::ranges::any_of(test.arguments, [](auto& a) { return a.shape.numel() == 0; });
  if (contiguous) return {Layout::contiguous};
  return {Layout::contiguous, Layout::window, Layout::strided};
}

// The most ways in which a node can run.
size_t candidates_of(std::span<const PlannedChoice> choices) {
  size_t count = 1;
  for (const PlannedChoice& planned : choices) count = std::max(count, planned.choice.labels.size());
  return count;
}

// Candidate `i` wherever there is one.
Chooser force(size_t i) {
  return [i](const Choice&) { return i; };
}

struct Checker {
  Setup setup;
  Verdict& verdict;
  std::vector<PlannedChoice> choices;  // of the latest run

  void fail(const std::string& text) { verdict.failures.push_back(text); }

  // Compares `device` with `expected` at `positions` (all: empty); returns the largest error.
  double compare(const std::string& check, const Array& device, const Reference& expected, double tolerance,
                 std::span<const int64_t> positions = {}) {
    if (device.shape() != expected.shape) {
      fail(cat(check, ": the shape is ", device.shape(), ", not ", expected.shape));
      return std::numeric_limits<double>::infinity();
    }
    const bool exact = device.dtype() != DType::f32;
    const int64_t n = positions.empty() ? expected.numel() : static_cast<int64_t>(positions.size());
    const auto at = [&](int64_t k) { return positions.empty() ? k : positions[static_cast<size_t>(k)]; };
    Array rounded({}, device.dtype());
    double scale = 1, largest = 0;
    if (!exact)
      for (int64_t k = 0; k < n; ++k)
        if (std::isfinite(expected[at(k)])) scale = std::max(scale, std::abs(expected[at(k)]));
    int64_t worst = 0, wrong = 0;
    for (int64_t k = 0; k < n; ++k) {
      double want = expected[at(k)];
      const double got = device.at(at(k));
      if (exact) {
        rounded.set(0, want);
        want = rounded.item();
      }
      double error = 0;
      if (std::isnan(want) || std::isnan(got))
        error = std::isnan(want) && std::isnan(got) ? 0 : std::numeric_limits<double>::infinity();
      else if (want != got)
        error = exact || std::isinf(want) ? std::numeric_limits<double>::infinity()
                                          : std::abs(got - want) / scale;
      wrong += error > (exact ? 0 : tolerance);
      if (error > largest) largest = error, worst = at(k);
    }
    if (wrong)
      fail(cat(check, ": at ", position(expected.shape, worst), " the device gives ", device.at(worst),
               std::isnan(device.at(worst)) ? " (memory holds NaN until it is written)" : "",
               ", the reference ", expected[worst], "; ", wrong, " of ", n, " elements are off by more than ",
               exact ? 0 : tolerance, ", at most ", largest));
    return largest;
  }

  void same(const std::string& check, const Array& a, const Array& b) {
    if (same_bytes(a, b)) return;
    for (int64_t i = 0; i < a.numel(); ++i) {
      const auto size = static_cast<std::ptrdiff_t>(size_of(a.dtype())),
                 at = static_cast<std::ptrdiff_t>(i) * size;
      if (std::equal(a.bytes().begin() + at, a.bytes().begin() + at + size, b.bytes().begin() + at)) continue;
      return fail(cat(check, ": at ", position(a.shape(), i), " first ", a.at(i), ", then ", b.at(i)));
    }
  }

  // Runs the program and reads its fetches; throws what check_guards() throws.
  std::vector<Array> run(Program& program, size_t fetches, std::span<const Feed> feeds) {
    program.submit(feeds);
    std::vector<Array> results;
    for (size_t i = 0; i < fetches; ++i) results.push_back(program.read(i));
    return results;
  }

  std::vector<Array> run(const Graph& graph, Layout layout, const std::vector<Tensor>& fetches, bool guard,
                         bool twice = false, const Chooser& choose = {}, bool fuse = false) {
    std::vector<Array> values;
    for (const Array& argument : setup.arguments)
      values.push_back(Cut(layout, argument.shape()).embed(argument));
    // Only what the program reads may be fed.
    std::set<const Node*> used;
    visit(fetches, [&](const Node& node) { used.insert(&node); });
    std::vector<Feed> feeds;
    for (size_t i = 0; i < values.size(); ++i)
      if (used.contains(graph.inputs[i].node().get())) feeds.push_back({graph.inputs[i], &values[i]});
    ProgramOptions options = ProgramOptions::from_environment();
    options.name = cat(setup.op, " ", setup.test.name);
    options.guard = guard;
    options.choose = choose;
    options.fuse = options.fuse && fuse;
    Program program(fetches, {}, options);
    choices = program.plan().choices;
    std::vector<Array> results = run(program, fetches.size(), feeds);
    if (guard) {
      if (!options.fuse) collect(program.plan(), setup.op, graph, verdict.kernels);
      try {
        program.check_guards();
      } catch (const Error& error) {
        fail(cat("guard bands, ", kLayoutNames[static_cast<size_t>(layout)], ": ", error.what()));
      }
    }
    // A variable moves on with every run, so a second run need not give the same.
    const bool replayable = std::ranges::none_of(used, [](auto* n) { return n->kind == NodeKind::variable; });
    if (twice && replayable) {
      const std::vector<Array> again = run(program, fetches.size(), feeds);
      for (size_t i = 0; i < results.size(); ++i)
        same(cat("repeatability, result ", i), results[i], again[i]);
    }
    return results;
  }

  // Central differences of fourth order of sum(weights * reference) at some positions of argument `which`.
  std::vector<int64_t> sample(int which, int64_t outputs) const {
    const int64_t n = setup.arguments[static_cast<size_t>(which)].numel();
    const int64_t limit = n + outputs > 20000 ? 50 : 200;
    std::vector<int64_t> positions(static_cast<size_t>(std::min(n, limit)));
    std::iota(positions.begin(), positions.end(), 0);
    Philox random(setup.seed, 2000 + static_cast<uint64_t>(which));
    if (n > limit)
      for (int64_t& p : positions) p = static_cast<int64_t>(random.below(static_cast<uint64_t>(n)));
    return positions;
  }
  Reference numeric_gradient(std::vector<Reference> xs, int which, std::span<const int64_t> positions,
                             std::span<const Array> weights) const {
    Reference& x = xs[static_cast<size_t>(which)];
    Reference result(x.shape);
    for (const int64_t p : positions) {
      const double center = x[p], h = 1e-4 * std::max(1.0, std::abs(center));
      double total = 0;
      for (const auto& [distance, factor] : {std::pair{1, 8.0}, {-1, -8.0}, {2, -1.0}, {-2, 1.0}}) {
        x[p] = center + distance * h;
        const std::vector<Reference> ys = setup.test.reference(xs);
        for (size_t i = 0; i < weights.size(); ++i)
          for (int64_t k = 0; k < weights[i].numel(); ++k) total += factor * weights[i].at(k) * ys[i][k];
      }
      x[p] = center;
      result[p] = total / (12 * h);
    }
    return result;
  }

  // One node of each fused op in the graph, forward and backward, against its composition.
  void check_composition() {
    const Graph fused = setup.build(Layout::contiguous), composed = setup.build(Layout::contiguous);
    const std::vector<const Node*> nodes = nodes_of(setup.op, fused), twins = nodes_of(setup.op, composed);
    std::set<const OpDef*> done;
    for (size_t k = 0; k < nodes.size(); ++k)
      if (nodes[k]->op->composition && done.insert(nodes[k]->op).second)
        check_composition(fused, *nodes[k], composed, *twins[k]);
  }

  // In graphs of their own: the node may update a variable that its composition reads.
  void check_composition(const Graph& fused, const Node& node, const Graph& composed, const Node& twin) {
    std::vector<int> which, twin_which;
    for (size_t i = 0; setup.test.gradient && i < node.inputs.size(); ++i)
      if (node.inputs[i].dtype() == DType::f32 &&
          std::ranges::find(node.inputs, node.inputs[i]) - node.inputs.begin() == static_cast<ptrdiff_t>(i))
        which.push_back(static_cast<int>(i));
    twin_which = which;
    std::vector<Tensor> ys, twin_ys = node.op->composition(twin);
    const std::string label = cat("composition of ", node.op->name);
    if (twin_ys.size() != node.outputs.size())
      return fail(cat(label, ": ", twin_ys.size(), " outputs instead of ", node.outputs.size()));
    for (size_t i = 0; i < node.outputs.size(); ++i)
      if (twin_ys[i].defined()) ys.push_back(node.tensor(static_cast<int>(i)));
    std::erase_if(twin_ys, [](const Tensor& y) { return !y.defined(); });
    const std::vector<Tensor> dxs = setup.differentiate(ys, node.inputs, &which);
    const std::vector<Tensor> twin_dxs = setup.differentiate(twin_ys, twin.inputs, &twin_which);
    const size_t outputs = ys.size();
    ys.insert(ys.end(), dxs.begin(), dxs.end());
    twin_ys.insert(twin_ys.end(), twin_dxs.begin(), twin_dxs.end());
    const std::vector<Array> a = run(fused, Layout::contiguous, ys, true);
    const std::vector<Array> b = run(composed, Layout::contiguous, twin_ys, true);
    for (size_t i = 0; i < a.size(); ++i)
      compare(
          i < outputs ? cat(label, ", output ", i) : cat(label, ", gradient of input ", which[i - outputs]),
          a[i], reference_of(b[i]), 4 * (i < outputs ? setup.test.tolerance : setup.test.gradient_tolerance));
  }

  // What tuning may take instead: outputs against the reference, and, where backward has choices of its own,
  // gradients against those of the first candidates, which are checked against the reference.
  void check_candidates(Layout layout, const std::vector<Reference>& expected,
                        const std::vector<Array>& results) {
    const bool backward = std::ranges::any_of(choices, [&](auto& c) { return c.node->op->name != setup.op; });
    const size_t candidates = candidates_of(choices);
    for (size_t candidate = 1; candidate < candidates; ++candidate) {
      const Graph graph = setup.build(layout);
      const std::vector<Array> variant =
          run(graph, layout, backward ? fetches_of(graph) : graph.ys, true, true, force(candidate));
      const auto check = [&](size_t i) {
        return cat("candidate ", candidate, ", ", kLayoutNames[static_cast<size_t>(layout)], ", result ", i);
      };
      for (size_t i = 0; i < expected.size(); ++i)
        compare(check(i), variant[i], expected[i], setup.test.tolerance);
      for (size_t i = expected.size(); i < variant.size(); ++i)
        compare(check(i), variant[i], reference_of(results[i]), 2 * setup.test.gradient_tolerance);
    }
  }

  // Pointwise ops around the op become one kernel with it, where it takes them; `results` are those without.
  // The candidates after the first forward only: that is every kernel of theirs.
  void check_fused(const std::vector<Array>& results) {
    size_t candidates = 1;
    for (size_t candidate = 0; candidate < candidates; ++candidate) {
      const Graph graph = setup.build(Layout::contiguous, true);
      const std::vector<Array> fused =
          run(graph, Layout::contiguous, candidate ? graph.ys : fetches_of(graph), true, candidate == 0,
              candidate ? force(candidate) : Chooser(), true);
      for (size_t i = 0; i < fused.size(); ++i)
        compare(cat("fused, ", candidate ? cat("candidate ", candidate, ", ") : "", "result ", i), fused[i],
                reference_of(results[i]),
                2 * (i < graph.ys.size() ? setup.test.tolerance : setup.test.gradient_tolerance));
      if (candidate == 0) candidates = candidates_of(choices);
    }
  }

  void check(bool quick) {
    std::vector<Reference> xs;
    for (const Array& argument : setup.arguments) xs.push_back(reference_of(argument));
    const std::vector<Reference> expected = setup.test.reference(xs);
    std::vector<Reference> expected_gradients;
    std::vector<std::vector<int64_t>> positions;

    for (const Layout layout : layouts_of(setup.test, quick)) {
      const Graph graph = setup.build(layout);
      if (std::ranges::none_of(nodes_of(setup.op, graph), [&](auto* n) { return n->op->name == setup.op; }))
        return fail(cat("op: the graph has no node of ", setup.op));
      if (graph.ys.size() != expected.size())
        return fail(cat("forward: ", graph.ys.size(), " outputs, but ", expected.size(), " references"));
      const std::string_view name = kLayoutNames[static_cast<size_t>(layout)];
      const std::vector<Array> results = run(graph, layout, fetches_of(graph), true);
      for (size_t i = 0; i < expected.size(); ++i)
        verdict.forward_error = std::max(
            verdict.forward_error,
            compare(cat("forward, ", name, ", output ", i), results[i], expected[i], setup.test.tolerance));

      if (layout == Layout::contiguous && !graph.dxs.empty()) {
        std::vector<Array> weights;
        int64_t outputs = 0;
        for (size_t i = 0; i < expected.size(); ++i) {
          const bool counts = graph.ys[i].dtype() == DType::f32;
          weights.push_back(counts ? setup.weights(i, expected[i].shape) : Array(Shape{0}, DType::f32));
          outputs += weights.back().numel();
        }
        for (const int which : graph.differentiated) {
          positions.push_back(sample(which, outputs));
          expected_gradients.push_back(numeric_gradient(xs, which, positions.back(), weights));
        }
      }
      verdict.gradient_checks = static_cast<int>(graph.dxs.size());
      for (size_t i = 0; i < graph.dxs.size(); ++i)
        verdict.gradient_error = std::max(
            verdict.gradient_error, compare(cat("gradient, ", name, ", argument ", graph.differentiated[i]),
                                            results[expected.size() + i], expected_gradients[i],
                                            setup.test.gradient_tolerance, positions[i]));

      if (!quick && !is_instrumented()) {
        check_candidates(layout, expected, results);
        if (layout == Layout::contiguous) check_fused(results);
      }

      if (layout != Layout::contiguous || quick) continue;
      const Graph again = setup.build(layout);
      const std::vector<Array> packed = run(again, layout, fetches_of(again), false, true);
      for (size_t i = 0; i < packed.size(); ++i)
        same(cat("repeatability, planned memory, result ", i), results[i], packed[i]);
    }
    check_composition();
  }
};

}  // namespace

bool add_row(Row row) {
  registry().push_back(std::move(row));
  return true;
}

const std::vector<Row>& rows() { return registry(); }

bool is_instrumented() { return default_device_info().instrumented; }

Verdict run_case(const std::string& op, const Case& test, bool quick) {
  Verdict verdict;
  verdict.op = op, verdict.name = test.name;
  try {
    Checker{Setup(op, test), verdict}.check(quick);
  } catch (const std::exception& error) {
    verdict.failures.push_back(cat("error: ", error.what()));
  }
  return verdict;
}

vk::DeviceInfo modest_device() {
  vk::DeviceInfo device;
  device.name = "Vulkan 1.2 at least";
  device.kind = vk::DeviceKind::cpu;
  device.api_major = 1, device.api_minor = 2;
  device.subgroup_size = device.min_subgroup_size = device.max_subgroup_size = 8;
  device.fixed_subgroup_size = device.subgroup_arithmetic = device.subgroup_ballot = true;
  device.max_storage_buffer_range = uint64_t{1} << 27;
  device.max_allocation = device.max_buffer = device.heap_bytes = uint64_t{1} << 30;
  device.max_workgroup_invocations = 128;
  device.max_workgroup_size = {128, 128, 64};
  device.max_groups = {65535, 65535, 65535};
  device.shared_memory = 16384;
  device.max_push_constants = 128;
  device.max_bindings = 16;
  device.storage_alignment = 256;
  device.max_texel_elements = 65536;
  device.texel_alignment = 256;
  return device;
}

std::vector<Plan> plans_of(const Row& row, const vk::DeviceInfo& device) {
  std::vector<Plan> plans;
  for (const Case& test : row.cases)
    for (const Layout layout : layouts_of(test, false))
      plans.push_back(make_plan(fetches_of(Setup(row.op, test).build(layout)), {}, {}, device));
  return plans;
}

namespace {

// Also tells the graph that each plan is of.
void each_variant_of(const Row& row, const vk::DeviceInfo& device,
                     const std::function<void(const Plan&, const Graph&)>& take) {
  for (const Case& test : row.cases)
    for (const Layout layout : layouts_of(test, false)) {
      const Graph graph = Setup(row.op, test).build(layout);
      size_t candidates = 1;
      for (size_t i = 0; i < candidates; ++i) {
        ProgramOptions options;
        options.choose = force(i);
        options.fuse = false;
        const Plan plan = make_plan(fetches_of(graph), {}, options, device);
        candidates = std::max(candidates, candidates_of(plan.choices));
        take(plan, graph);
      }
    }
}

}  // namespace

void each_variant(const Row& row, const vk::DeviceInfo& device,
                  const std::function<void(const Plan&)>& take) {
  each_variant_of(row, device, [&](const Plan& plan, const Graph&) { take(plan); });
}

std::set<std::string> kernels_of(const Row& row, const vk::DeviceInfo& device) {
  std::set<std::string> kernels;
  each_variant_of(row, device,
                  [&](const Plan& plan, const Graph& graph) { collect(plan, row.op, graph, kernels); });
  return kernels;
}

std::set<std::string> ops_of(const Row& row) {
  std::set<std::string> ops;
  for (const Case& test : row.cases) {
    const Graph graph = Setup(row.op, test).build(Layout::contiguous);
    for (const Node* node : nodes_of(row.op, graph)) ops.emplace(node->op->name);
  }
  return ops;
}

}  // namespace stithy::testing

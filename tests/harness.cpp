#include "tests/harness.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "engine/core/error.h"
#include "engine/core/rng.h"
#include "engine/graph/device.h"
#include "engine/graph/op.h"
#include "engine/graph/program.h"
#include "tests/row_graph.h"

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

}  // namespace stithy::testing

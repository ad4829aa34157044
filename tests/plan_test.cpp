// What a plan promises: values that are alive together lie apart, every hazard has its barrier, and memory is
// known beforehand. Most of it needs no device: the kernels here are made up.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <map>

#include "engine/core/rng.h"
#include "engine/graph/device.h"
#include "engine/graph/hazard.h"
#include "engine/graph/memory.h"
#include "engine/graph/op.h"
#include "engine/graph/program.h"
#include "engine/ops.h"
#include "tests/harness.h"

using namespace stithy;

namespace {

// A kernel that reads `reads` buffers and writes `writes` of them; it never runs.
struct MadeUpKernel {
  std::vector<Ref> refs;
  size_t reads = 0;
  bool in_place = false;  // the first of the writes is read, too

  KernelCall call() const {
    static std::map<std::array<size_t, 3>, KernelInfo> known;
    static std::vector<std::unique_ptr<std::vector<BindingInfo>>> bindings;
    KernelInfo& info = known[{reads, refs.size(), in_place}];
    if (info.bindings.empty()) {
      auto list = std::make_unique<std::vector<BindingInfo>>(refs.size(), BindingInfo{"x", Access::read});
      for (size_t i = reads; i < refs.size(); ++i)
        (*list)[i].access = in_place && i == reads ? Access::read_write : Access::write;
      info.name = "made_up";
      info.bindings = *list;
      bindings.push_back(std::move(list));
    }
    return {&info, refs, {}, {}};
  }
};

// Attributes: 0, 1 or 2 scratch buffers, each written by one kernel and read by the next.
void launch_made_up(const Node& n, Launch& launch) {
  std::vector<Ref> inputs;
  for (size_t i = 0; i < n.inputs.size(); ++i) inputs.push_back(launch.in(static_cast<int>(i)));
  for (int k = 0; k < n.attrs<int>(); ++k) {
    const Ref scratch = launch.scratch(1000 * (static_cast<uint64_t>(k) + 1));
    MadeUpKernel kernel{inputs, inputs.size()};
    kernel.refs.push_back(scratch);
    launch(kernel, {1});
    inputs.push_back(scratch);
  }
  const bool in_place = n.out().storage_node != &n;
  MadeUpKernel kernel{inputs, inputs.size(), in_place};
  if (in_place) kernel.refs.erase(kernel.refs.begin()), --kernel.reads;
  for (size_t i = 0; i < n.outputs.size(); ++i) kernel.refs.push_back(launch.out(static_cast<int>(i)));
  launch(kernel, {1});
}

const OpDef kMadeUp = {.name = "made_up", .launch = launch_made_up};
const OpDef kMadeUpView = {.name = "made_up_view"};

struct RandomGraph {
  std::vector<Tensor> fetches, updates;
};

RandomGraph random_graph(uint64_t seed) {
  Philox random(seed);
  const auto below = [&](size_t n) { return static_cast<size_t>(random.below(n)); };
  const auto size = [&] {
    return Shape{static_cast<int64_t>(1 + random.below(random.below(4) ? 300 : 4000))};
  };
  std::vector<Tensor> tensors;
  std::vector<Variable> variables;
  RandomGraph graph;
  for (size_t i = 0; i < 3; ++i) tensors.push_back(input(cat("x", i), size()));
  for (size_t i = 0; i < 3; ++i)
    tensors.push_back(variables.emplace_back(cat("v", i), Array(size(), DType::f32)).tensor());
  tensors.emplace_back(Array(size(), DType::f32));
  const size_t nodes = 5 + below(60);
  for (size_t i = 0; i < nodes; ++i) {
    std::vector<Tensor> inputs;
    // Mostly recent tensors, as in a real net.
    for (size_t k = 1 + below(3); k > 0; --k)
      inputs.push_back(tensors[below(3) ? tensors.size() - 1 - below(std::min<size_t>(tensors.size(), 5))
                                        : below(tensors.size())]);
    switch (below(8)) {
      case 0: {
        const Tensor& x = inputs[0];
        tensors.push_back(
            make_view(kMadeUpView, {}, x, {(x.numel() + 1) / 2}, {x.strides()[0] * 2}, x.offset()));
        break;
      }
      case 1: {
        inputs.insert(inputs.begin(), variables[below(variables.size())].tensor());
        const Tensor updated = make_update(kMadeUp, static_cast<int>(below(2)), inputs);
        graph.updates.push_back(updated);
        tensors.push_back(updated);
        break;
      }
      default: {
        std::vector<Output> outputs;
        for (size_t k = 1 + below(2); k > 0; --k) outputs.push_back({size(), DType::f32});
        const Tensor y = make_node(kMadeUp, static_cast<int>(below(3)), inputs, outputs);
        for (size_t k = 0; k < outputs.size(); ++k) tensors.push_back(y.node()->tensor(static_cast<int>(k)));
      }
    }
  }
  for (size_t k = 0; k < 1 + below(3); ++k) graph.fetches.push_back(tensors[below(tensors.size())]);
  graph.fetches.push_back(tensors.back());
  return graph;
}

vk::DeviceInfo roomy_device() {
  vk::DeviceInfo device = testing::modest_device();
  device.max_allocation = device.max_buffer = uint64_t{1} << 30;
  return device;
}

// From a value's first use to its last, found without the planner.
struct Life {
  int first, last;
};
Life lifetime_of(const Plan& plan, const PlannedValue& value) {
  const auto step = [&](const Node* node) {
    return static_cast<int>(std::ranges::find(plan.nodes, node) - plan.nodes.begin());
  };
  const int built = value.node->kind == NodeKind::input ? -1 : step(value.node);
  Life result{built, built};
  if (value.scratch) return result;
  const auto is_it = [&](const Tensor& t) {
    const Value& v = t.node()->out(t.output());
    return v.storage_node == value.node && v.storage_output == value.output;
  };
  for (const Node* node : plan.nodes)
    if (std::ranges::any_of(node->inputs, is_it)) result.last = std::max(result.last, step(node));
  if (std::ranges::any_of(plan.fetches, is_it)) result.last = static_cast<int>(plan.nodes.size());
  return result;
}

}  // namespace

TEST_SUITE_BEGIN("plan");

TEST_CASE("values that are alive together never overlap, on random graphs") {
  uint64_t packed = 0, apart = 0;
  for (uint64_t seed = 0; seed < 200; ++seed) {
    const RandomGraph graph = random_graph(seed);
    const Plan plan = make_plan(graph.fetches, graph.updates, {}, roomy_device());
    std::vector<Life> lives;
    for (const PlannedValue& value : plan.values) lives.push_back(lifetime_of(plan, value));
    for (size_t a = 0; a < plan.values.size(); ++a) {
      const PlannedValue& x = plan.values[a];
      apart += aligned(x.span.bytes);
      CHECK(x.span.offset % kAlignment == 0);
      CHECK(x.span.offset + x.span.bytes <= plan.buffers[static_cast<size_t>(x.span.buffer)].bytes);
      for (size_t b = 0; b < a; ++b) {
        const bool together = lives[a].first <= lives[b].last && lives[b].first <= lives[a].last;
        if (together && x.span.overlaps(plan.values[b].span))
          FAIL_CHECK("seed ", seed, ": ", x.node->label(), " and ", plan.values[b].node->label());
      }
    }
    packed += plan.arena_bytes;
  }
  // Packing does something: these graphs need far less than the sum of their values.
  CHECK(packed < apart / 2);
}

TEST_CASE("every hazard has its barrier, and every barrier is needed") {
  int barriers = 0;
  for (uint64_t seed = 0; seed < 100; ++seed) {
    const RandomGraph graph = random_graph(seed);
    Plan plan = make_plan(graph.fetches, graph.updates, {}, roomy_device());
    CAPTURE(seed);
    const std::vector<Hazard> hazards = find_hazards(plan);
    if (!hazards.empty()) FAIL_CHECK(hazards.front().what);
    for (size_t i = 0; i < plan.dispatches.size(); ++i) {
      if (!plan.dispatches[i].barrier_before) continue;
      ++barriers;
      plan.dispatches[i].barrier_before = false;
      if (find_hazards(plan).empty()) FAIL_CHECK("the barrier before dispatch ", i, " is not needed");
      plan.dispatches[i].barrier_before = true;
    }
    CHECK(plan.barriers() <= static_cast<int>(plan.dispatches.size()));
  }
  CHECK(barriers > 500);
}

TEST_CASE("independent dispatches share a barrier") {
  const Tensor x = input("x", {100});
  std::vector<Tensor> ys;
  for (int i = 0; i < 4; ++i) ys.push_back(make_node(kMadeUp, 0, {x}, {{Shape{100}, DType::f32}}));
  const Tensor z = make_node(kMadeUp, 0, ys, {{Shape{100}, DType::f32}});
  const Plan plan = make_plan({z}, {}, {}, roomy_device());
  REQUIRE(plan.dispatches.size() == 5);
  CHECK(plan.barriers() == 1);
  CHECK(plan.dispatches.back().barrier_before);
}

TEST_CASE("chains that do not meet run side by side") {
  std::vector<Tensor> ends;
  for (const char* name : {"a", "b", "c"}) {
    Tensor x = input(name, {100});
    for (int i = 0; i < 5; ++i) ends.push_back(x = make_node(kMadeUp, 0, {x}, {{Shape{100}, DType::f32}}));
  }
  Plan plan = make_plan(ends, {}, {}, roomy_device());
  REQUIRE(plan.dispatches.size() == 15);
  CHECK(plan.barriers() == 4);
  CHECK(find_hazards(plan).empty());
  // The first and the second of a chain, the other way round: every barrier stands, but the order is wrong.
  REQUIRE(plan.dispatches[2].issued + 1 == plan.dispatches[5].issued);
  std::swap(plan.dispatches[2], plan.dispatches[5]);
  const std::vector<Hazard> hazards = find_hazards(plan);
  REQUIRE(!hazards.empty());
  CHECK(hazards.front().what.ends_with("issued the other way round"));
}

TEST_CASE("hazards of every kind are found") {
  const Variable v("v", Array({64}, DType::f32));
  const Tensor before = make_node(kMadeUp, 0, {v}, {{Shape{64}, DType::f32}});
  const Tensor update = make_update(kMadeUp, 0, {v});
  const Tensor again = make_update(kMadeUp, 0, {update});
  const Tensor after = make_node(kMadeUp, 0, {again}, {{Shape{64}, DType::f32}});
  Plan plan = make_plan({before, after}, {again}, {}, roomy_device());
  REQUIRE(plan.dispatches.size() == 4);
  for (size_t i = 1; i < 4; ++i) CHECK(plan.dispatches[i].barrier_before);
  const auto without = [&](size_t i) {
    Plan changed = plan;
    changed.dispatches[i].barrier_before = false;
    const std::vector<Hazard> hazards = find_hazards(changed);
    REQUIRE(hazards.size() == 1);
    CHECK(hazards[0].earlier == i - 1);
    CHECK(hazards[0].later == i);
    return hazards[0].what;
  };
  CHECK(without(1).starts_with("write after read"));
  CHECK(without(2).starts_with("write after write"));
  CHECK(without(3).starts_with("read after write"));
}

TEST_CASE("nodes run in the order of building, whatever the order of fetches") {
  const RandomGraph graph = random_graph(3);
  std::vector<Tensor> reversed = graph.fetches;
  std::ranges::reverse(reversed);
  for (const auto& fetches : {graph.fetches, reversed}) {
    const Plan plan = make_plan(fetches, graph.updates, {}, roomy_device());
    CHECK(std::ranges::is_sorted(plan.nodes, {}, &Node::id));
    std::vector<std::pair<size_t, uint64_t>> issued;
    for (const PlannedDispatch& d : plan.dispatches) issued.emplace_back(d.issued, d.node->id);
    std::ranges::sort(issued);
    CHECK(std::ranges::is_sorted(issued, {}, &std::pair<size_t, uint64_t>::second));
  }
}

TEST_CASE("packing respects the largest allocation, and is tight where it can be") {
  Philox random(5);
  for (int trial = 0; trial < 50; ++trial) {
    std::vector<Lifetime> values;
    uint64_t largest = 0;
    for (int i = 0; i < 80; ++i) {
      const int first = static_cast<int>(random.below(100));
      values.push_back({(1 + random.below(40)) * 256, first, first + static_cast<int>(random.below(20))});
      largest = std::max(largest, values.back().bytes);
    }
    const uint64_t limit = trial % 2 ? uint64_t{1} << 40 : largest + 2560;
    const std::vector<uint64_t> chunks = pack(values, limit);
    uint64_t total = 0, peak = 0;
    for (uint64_t chunk : chunks) {
      CHECK(chunk <= limit);
      total += chunk;
    }
    for (int step = 0; step < 120; ++step) {
      uint64_t alive = 0;
      for (const Lifetime& v : values) alive += v.first <= step && step <= v.last ? v.bytes : 0;
      peak = std::max(peak, alive);
    }
    for (size_t a = 0; a < values.size(); ++a)
      for (size_t b = 0; b < a; ++b) {
        const Lifetime &x = values[a], &y = values[b];
        const bool together = x.first <= y.last && y.first <= x.last && x.chunk == y.chunk;
        if (together && x.offset < y.offset + y.bytes && y.offset < x.offset + x.bytes)
          FAIL_CHECK("values ", a, " and ", b, " overlap");
      }
    CHECK(total >= peak);
    if (trial % 2) CHECK(static_cast<double>(total) < 1.25 * static_cast<double>(peak));
  }
  std::vector<Lifetime> none;
  CHECK(pack(none, 1024).empty());
}

TEST_CASE("values of a block are packed together, and may overlap each other alone") {
  Philox random(7);
  for (int trial = 0; trial < 50; ++trial) {
    std::vector<Lifetime> values;
    const auto add = [&](uint64_t units, int block, uint64_t within) {
      const int first = static_cast<int>(random.below(100));
      values.push_back(
          {units * 256, first, first + static_cast<int>(random.below(30)), 0, 0, block, within * 256});
    };
    for (int i = 0; i < 60; ++i) add(1 + random.below(40), -1, 0);
    for (int block = 0; block < 3; ++block) {
      uint64_t within = 0;
      for (int i = 0; i < 8; ++i) {
        const uint64_t units = 1 + random.below(20);
        add(units, block, within);
        within += units;
      }
      add(within, block, 0);
    }
    const std::vector<uint64_t> chunks = pack(values, trial % 2 ? uint64_t{1} << 40 : 200 * 256);
    CHECK((trial % 2 == 0 || chunks.size() == 1));
    std::map<int, std::pair<int, uint64_t>> starts;
    for (size_t a = 0; a < values.size(); ++a) {
      const Lifetime& x = values[a];
      CHECK(x.offset + x.bytes <= chunks[static_cast<size_t>(x.chunk)]);
      if (x.block >= 0) {
        const std::pair<int, uint64_t> start{x.chunk, x.offset - x.within};
        CHECK(starts.try_emplace(x.block, start).first->second == start);
      }
      for (size_t b = 0; b < a; ++b) {
        const Lifetime& y = values[b];
        const bool together = x.first <= y.last && y.first <= x.last && x.chunk == y.chunk;
        const bool one_block = x.block >= 0 && x.block == y.block;
        if (together && !one_block && x.offset < y.offset + y.bytes && y.offset < x.offset + x.bytes)
          FAIL_CHECK("values ", a, " and ", b, " overlap");
      }
    }
  }
}

TEST_CASE("a tensor that the device's kernels cannot reach is refused by name") {
  vk::DeviceInfo device = roomy_device();
  device.max_storage_buffer_range = 1024;
  const Tensor x = input("x", {100});
  const Tensor y = make_node(kMadeUp, 0, {x}, {{Shape{300}, DType::f32}});
  try {
    make_plan({y}, {}, {}, device);
    FAIL("no error");
  } catch (const Error& error) {
    CHECK(std::string(error.what()).find("made_up") != std::string::npos);
    CHECK(std::string(error.what()).find("[300]") != std::string::npos);
    CHECK(std::string(error.what()).find("1.0 KiB") != std::string::npos);
  }
}

TEST_CASE("the plan's peak is what the program allocates") {
  const uint64_t before = device_allocated_bytes();
  {
    const Tensor x = input("x", {512, 300});
    const Variable w("w", Array({512, 300}, DType::f32)), b("b", Array({300}, DType::f32));
    const Tensor loss = sum(square(tanh(x * w + b) * exp(w)));
    const std::vector<Tensor> targets{w, b};
    std::vector<Tensor> fetches = gradients(loss, targets);
    fetches.push_back(loss);
    const Program program(fetches);
    const uint64_t allocated = device_allocated_bytes() - before, planned = program.plan().new_bytes();
    CAPTURE(allocated);
    CAPTURE(planned);
    CHECK(allocated > 3000000);
    CHECK(static_cast<double>(allocated) < 1.03 * static_cast<double>(planned));
    CHECK(static_cast<double>(allocated) > 0.97 * static_cast<double>(planned));
    // A second program that shares the variables allocates its own part only.
    const Program other({sum(w)});
    CHECK(other.plan().new_variable_bytes == 0);
    CHECK(device_allocated_bytes() - before - allocated < 100000);
  }
  CHECK(device_allocated_bytes() == before);
}

TEST_CASE("out of memory is an Error before anything is allocated") {
  const Tensor x = input("x", {1 << 20});
  const Tensor y = exp(x);
  const uint64_t before = device_allocated_bytes();
  setenv("STITHY_MEMORY_LIMIT", cat(before + (2 << 20)).c_str(), 1);
  try {
    const Program program({y}, {}, {.name = "big"});
    FAIL("no error");
  } catch (const OutOfMemory& error) {
    CHECK(error.where() == "big");
    CHECK(error.needed() >= uint64_t{8} << 20);
    CHECK(error.available() <= uint64_t{2} << 20);
    CHECK_FALSE(error.hint().empty());
  }
  CHECK(device_allocated_bytes() == before);
  setenv("STITHY_MEMORY_LIMIT", "1G", 1);
  CHECK_NOTHROW(Program({y}));
  setenv("STITHY_MEMORY_LIMIT", "much", 1);
  CHECK_THROWS_AS(Program({y}), Error);
  unsetenv("STITHY_MEMORY_LIMIT");
  CHECK_NOTHROW(Program({y}));
}

TEST_SUITE_END();

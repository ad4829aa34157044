// What the rows' graphs would run: plans, of which nothing runs.
#include "engine/graph/op.h"
#include "tests/row_graph.h"

namespace stithy::testing {

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

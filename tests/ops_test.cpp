// Runs every op's row, and finds the ops and kernels that no row covers.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>
#include <set>
#include <string_view>

#include "engine/graph/device.h"
#include "engine/graph/op.h"
#include "tests/harness.h"

using namespace stithy;
using namespace stithy::testing;

namespace {

// Launched by the engine itself; their tests are in the suite "graph".
const std::set<std::string> kOutsideOps = {"find_nan"};

// Devices whose kernels differ from those of the one at hand.
std::vector<vk::DeviceInfo> other_devices() {
  vk::DeviceInfo cpu = modest_device(), gpu = cpu;
  gpu.kind = vk::DeviceKind::discrete;
  gpu.subgroup_size = gpu.min_subgroup_size = gpu.max_subgroup_size = 32;
  gpu.max_workgroup_invocations = 1024;
  gpu.max_workgroup_size = {1024, 1024, 64};
  gpu.shared_memory = 49152;
  gpu.max_storage_buffer_range = uint64_t{1} << 31;
  vk::DeviceInfo rich = gpu;
  rich.subgroup_size_control = rich.full_subgroups = rich.subgroup_shuffle = true;
  rich.storage_16bit = rich.storage_8bit = rich.arithmetic_f16 = rich.arithmetic_i8 = true;
  rich.cooperative_matrix = true;
  vk::DeviceInfo varying = gpu;
  varying.fixed_subgroup_size = false;
  vk::DeviceInfo old_cpu = cpu;
  old_cpu.fast_texels = old_cpu.slow_broadcast = true;
  return {cpu, old_cpu, gpu, rich, varying};
}

// tests/small_bindings.sh makes bindings so small that most rows' tensors are cut into pieces, or refused.
bool small_bindings() {
  const char* pretend = std::getenv("STITHY_PRETEND");
  return pretend && std::string_view(pretend).find("range:") != std::string_view::npos;
}
bool refused_by_name(const Verdict& verdict) {
  return verdict.failures.size() == 1 &&
         verdict.failures[0].find("(maxStorageBufferRange)") != std::string::npos;
}

}  // namespace

TEST_SUITE_BEGIN("ops");

// STITHY_QUICK_ROWS leaves out of each row what makes more kernels of the same sources: candidates of the
// tuner, strided inputs, a second run. For runs in which the kernels are not what is tested.
TEST_CASE("rows") {
  for (const Row& row : rows()) {
    SUBCASE(row.op.c_str()) {
      for (const Case& test : row.cases) {
        const Verdict verdict = run_case(row.op, test, std::getenv("STITHY_QUICK_ROWS") != nullptr);
        INFO(row.op, ", ", test.name);
        if (small_bindings() && refused_by_name(verdict)) continue;
        for (const std::string& failure : verdict.failures) FAIL_CHECK(failure);
        CHECK(verdict.failures.empty());
      }
    }
  }
}

TEST_CASE("every row names an op, once, and has cases") {
  std::set<std::string> ops, seen;
  for (const OpDef* op : all_ops()) ops.emplace(op->name);
  for (const Row& row : rows()) {
    INFO(row.op);
    CHECK(ops.contains(row.op));
    CHECK(seen.insert(row.op).second);
    CHECK_FALSE(row.cases.empty());
    std::set<std::string> names;
    for (const Case& test : row.cases) CHECK(names.insert(test.name).second);
  }
}

TEST_CASE("every op has a row, or is the gradient of one that has") {
  std::set<std::string> covered;
  for (const Row& row : rows()) covered.merge(ops_of(row));
  for (const OpDef* op : all_ops())
    if (!covered.contains(std::string(op->name))) FAIL_CHECK("no row for ", std::string(op->name));
}

TEST_CASE("every kernel is launched by a row, on this device or on another") {
  std::set<std::string> here, elsewhere;
  for (const Row& row : rows()) {
    here.merge(kernels_of(row, default_device_info()));
    for (const vk::DeviceInfo& device : other_devices()) elsewhere.merge(kernels_of(row, device));
  }
  std::string planned_only;
  for (const KernelInfo* kernel : all_kernels()) {
    const std::string name(kernel->name);
    if (here.contains(name) || kOutsideOps.contains(name)) continue;
    if (elsewhere.contains(name))
      planned_only += " " + name;
    else
      FAIL_CHECK("no row launches the kernel ", name);
  }
  MESSAGE("kernels that rows launch on other devices only:", planned_only);
}

TEST_SUITE_END();

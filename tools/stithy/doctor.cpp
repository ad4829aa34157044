#include <algorithm>
#include <cstdio>
#include <map>
#include <optional>
#include <set>

#include "engine/core/error.h"
#include "engine/graph/device.h"
#include "engine/graph/kernel.h"
#include "engine/vk/device.h"
#include "tools/stithy/commands.h"
#include "tools/stithy/self_test.h"

namespace stithy {
namespace {

std::string yes(bool value) { return value ? "yes" : "no"; }

void print_device(size_t index, const vk::DeviceInfo& d) {
  std::printf("device %zu  %s\n", index, d.name.c_str());
  const auto line = [](const char* name, const std::string& value) {
    std::printf("  %-14s %s\n", name, value.c_str());
  };
  char vendor[16];
  std::snprintf(vendor, sizeof vendor, "0x%04x", d.vendor_id);
  line("type", cat(name_of(d.kind), ", vendor ", vendor));
  line("driver",
       cat(d.driver, " (", d.driver_info, "), Vulkan ", d.api_major, ".", d.api_minor, ".", d.api_patch));
  if (d.api_major == 1 && d.api_minor >= 2) {
    line("memory", cat(format_bytes(d.heap_bytes), ", one allocation up to ", format_bytes(d.max_allocation),
                       ", one tensor up to ", format_bytes(d.max_storage_buffer_range)));
    line("subgroups",
         d.min_subgroup_size == d.max_subgroup_size
             ? cat(d.subgroup_size, " lanes")
             : cat(d.min_subgroup_size, " to ", d.max_subgroup_size, " lanes, used with ", d.subgroup_size,
                   d.subgroup_size_control ? " (required)" : " (as the driver likes)"));
    line("workgroups",
         cat("up to ", d.max_workgroup_invocations, " invocations, ", format_bytes(d.shared_memory),
             " shared memory, ", d.max_groups[0], " x ", d.max_groups[1], " x ", d.max_groups[2]));
    line("features", cat("memory budget ", yes(d.memory_budget), ", subgroup size control ",
                         yes(d.subgroup_size_control)));
    line("not used yet",
         cat("fp16 arithmetic ", yes(d.arithmetic_f16), ", 16-bit storage ", yes(d.storage_16bit),
             ", 8-bit storage ", yes(d.storage_8bit), ", cooperative matrices ", yes(d.cooperative_matrix)));
  }
  line("stithy", d.unusable.empty()
                     ? cat("trains in fp32", d.is_cpu() ? " (on the CPU: slow, but right)" : "")
                     : cat("cannot use it: it ", d.unusable));
}

struct Tally {
  std::map<std::string, std::pair<int, int>> kernels;  // cases passed, failed
  std::set<std::string> offered;                       // what this device may run, by default or when tuned
  std::vector<std::string> failures;
};

// Runs every case of every op once on the device in use, and books its verdict on the kernels that ran.
Tally test_kernels() {
  Tally tally;
  const auto run = [&](const testing::Row& row, const testing::Case& test, bool quick) {
    const testing::Verdict verdict = run_case(row, test, quick);
    for (const std::string& kernel : verdict.kernels)
      ++(verdict.failures.empty() ? tally.kernels[kernel].first : tally.kernels[kernel].second);
    for (const std::string& failure : verdict.failures)
      tally.failures.push_back(cat(row.op, " (", test.name, "): ", failure));
  };
  for (const testing::Row& row : testing::rows())
    for (const testing::Case& test : row.cases) run(row, test, true);
  // Kernels that only tuning would take run in a case that can take them.
  for (const testing::Row& row : testing::rows())
    for (const testing::Case& test : row.cases) {
      const std::set<std::string> kernels = testing::kernels_of({row.op, {test}}, default_device_info());
      tally.offered.insert(kernels.begin(), kernels.end());
      if (!std::ranges::all_of(kernels,
                               [&](const std::string& name) { return tally.kernels.contains(name); }))
        run(row, test, false);
    }
  const std::string failure = test_nan_finder();
  tally.offered.insert("find_nan");
  tally.kernels["find_nan"] = {failure.empty(), !failure.empty()};
  if (!failure.empty()) tally.failures.push_back("find_nan: " + failure);
  return tally;
}

int print_tally(const Tally& tally) {
  int passed = 0, failed = 0, idle = 0, others = 0;
  for (const KernelInfo* kernel : all_kernels()) {
    const auto found = tally.kernels.find(std::string(kernel->name));
    if (found == tally.kernels.end()) {
      ++(tally.offered.contains(std::string(kernel->name)) ? idle : others);
      continue;
    }
    const auto [good, bad] = found->second;
    ++(bad ? failed : passed);
    std::printf("  %-28s %s  (%d of %d cases)\n", std::string(kernel->name).c_str(),
                bad ? "FAILED" : "passed", good, good + bad);
  }
  for (const std::string& failure : tally.failures) std::printf("  %s\n", failure.c_str());
  std::printf(
      "self-test: %d kernels passed, %d failed, %d not launched by an op's row, %d for other devices\n",
      passed, failed, idle, others);
  return failed ? 1 : 0;
}

}  // namespace

int doctor(std::span<const std::string> arguments) {
  bool brief = false;
  std::optional<std::string> selector;
  for (size_t i = 0; i < arguments.size(); ++i) {
    if (arguments[i] == "--brief")
      brief = true;
    else if (arguments[i] == "--device" && i + 1 < arguments.size())
      selector = arguments[++i];
    else
      throw Error("stithy doctor", cat("does not know ", arguments[i]), "options: --device D, --brief");
  }
  if (!brief) {
    const std::vector<vk::DeviceInfo> devices = vk::list_devices();
    for (size_t i = 0; i < devices.size(); ++i) print_device(i, devices[i]);
  }
  if (selector) set_default_device(*selector);
  const vk::DeviceInfo& chosen = default_device_info();
  std::printf("%s%s (%s, %s), %s free\n", brief ? "device: " : "\nchosen: ", chosen.name.c_str(),
              chosen.driver.c_str(), chosen.driver_info.c_str(),
              format_bytes(device_available_bytes()).c_str());
  if (brief) return 0;
  const int result = print_tally(test_kernels());
  std::printf(result
                  ? "this device does not compute right: update its driver, or choose another with --device\n"
                  : "ready to train\n");
  return result;
}

}  // namespace stithy

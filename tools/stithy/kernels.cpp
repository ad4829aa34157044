// stithy kernels: what the driver's compiler makes of every kernel: registers, spills, memory, code.
#include <algorithm>
#include <cstdio>
#include <map>
#include <set>

#include "engine/core/error.h"
#include "engine/graph/device.h"
#include "engine/graph/kernel.h"
#include "engine/ops.h"
#include "engine/vk/device.h"
#include "nn/optim/optimizer.h"
#include "tests/harness.h"
#include "tools/stithy/bench_cases.h"
#include "tools/stithy/commands.h"

namespace stithy {
namespace {

// By name; kernels that fusion wrote may share one.
using Specs = std::map<std::pair<std::string_view, const KernelInfo*>, std::set<std::vector<uint32_t>>>;

// Forward, backward and update of a training step, as the trainer builds it around them.
Plan step_of(const measure::Workload& workload, const vk::DeviceInfo& device) {
  const measure::Training training = workload.make();
  const Tensor x = input("x", training.batch[0].shape(), training.batch[0].dtype());
  const Tensor target = input("target", training.batch[1].shape(), training.batch[1].dtype());
  nn::AdamW optimizer;
  optimizer.bind(training.model->named_parameters());
  std::vector<Tensor> parameters;
  for (const nn::NamedVariable& parameter : optimizer.trained()) parameters.push_back(parameter.variable);
  const Tensor loss = cross_entropy((*training.model)(x), target);
  const std::vector<Tensor> dws = optimizer.pack(gradients(loss, parameters));
  return make_plan({loss, nn::global_norm(dws)}, optimizer.step(dws, Tensor(1e-3f)), {.name = workload.name},
                   device);
}

// Every kernel with every set of specialization constants that the device would run it with: in the ops' test
// rows, forward and backward, in the benchmark's larger shapes and in its training steps.
Specs kernels_in_use(const vk::DeviceInfo& device) {
  Specs found;
  const auto add = [&](const Plan& plan) {
    for (const PlannedDispatch& dispatch : plan.dispatches)
      found[{dispatch.call.kernel->name, dispatch.call.kernel}].insert(dispatch.call.spec);
  };
  for (const testing::Row& row : testing::rows())
    for (const Plan& plan : testing::plans_of(row, device)) add(plan);
  for (const measure::OpCase& c : measure::op_cases()) {
    const measure::Graph graph = c.build();
    add(make_plan(graph.fetches, graph.updates, {.name = c.op}, device));
  }
  for (const measure::Workload& workload : measure::workloads()) add(step_of(workload, device));
  return found;
}

std::string text_of(const KernelInfo& kernel, const std::vector<uint32_t>& spec) {
  std::string text;
  for (size_t i = 0; i < spec.size(); ++i)
    text += cat(text.empty() ? "" : " ", kernel.spec_names[i], "=", spec[i]);
  return text;
}

struct Largest {
  std::optional<uint64_t> value;
  void include(const std::optional<uint64_t>& other) {
    if (other) value = std::max(value.value_or(0), *other);
  }
  std::string text() const { return value ? cat(*value) : "-"; }
};

}  // namespace

int kernels(std::span<const std::string> arguments) {
  for (size_t i = 0; i < arguments.size(); ++i)
    if (arguments[i] == "--device" && i + 1 < arguments.size())
      set_default_device(arguments[++i]);
    else
      throw Error("stithy kernels", cat("does not know ", arguments[i]), "options: --device D");
  vk::Device& device = *default_device();
  const vk::DeviceInfo& info = device.info();
  device.keep_statistics();
  std::printf("%s (%s, %s)\n\n%-28s %9s %9s %6s %7s %7s %7s\n", info.name.c_str(), info.driver.c_str(),
              info.driver_info.c_str(), "kernel", "pipelines", "registers", "spills", "shared", "scratch",
              "code");
  size_t kernels = 0, pipelines = 0, spilling = 0, silent = 0;
  std::vector<std::string> spills;
  const auto in_use = kernels_in_use(info);
  std::vector<vk::PipelineRequest> requests;
  for (const auto& [key, specs] : in_use)
    for (const std::vector<uint32_t>& spec : specs) requests.push_back(request_of(*key.second, spec));
  const std::vector<const vk::Pipeline*> compiled = device.pipelines(requests);
  for (const auto& [key, specs] : in_use) {
    const auto& [name, kernel] = key;
    Largest registers, spilled, shared, scratch, code;
    for (const std::vector<uint32_t>& spec : specs) {
      const vk::KernelStatistics s = device.statistics(*compiled[pipelines++]);
      registers.include(s.registers), spilled.include(s.spills), shared.include(s.shared_bytes);
      scratch.include(s.scratch_bytes), code.include(s.code_bytes);
      if (s.spills.value_or(0) > 0)
        spills.push_back(cat(name, " spills ", *s.spills, ": ", text_of(*kernel, spec)));
    }
    ++kernels;
    spilling += spilled.value.value_or(0) > 0, silent += !spilled.value;
    std::printf("%-28s %9zu %9s %6s %7s %7s %7s\n", std::string(name).c_str(), specs.size(),
                registers.text().c_str(), spilled.text().c_str(), shared.text().c_str(),
                scratch.text().c_str(), code.text().c_str());
  }
  std::printf("\n");
  for (const std::string& line : spills) std::printf("%s\n", line.c_str());
  std::printf("%zu kernels in %zu pipelines, %zu kernels spill\n", kernels, pipelines, spilling);
  if (silent > 0)
    throw Error("stithy kernels", cat(info.driver, " does not tell the spills of ", silent, " kernels"));
  return spilling > 0 ? 1 : 0;
}

}  // namespace stithy

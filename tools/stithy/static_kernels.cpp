// Which kernels with which constants a device would run, and what its compiler makes of them.
#include <algorithm>
#include <cctype>
#include <filesystem>
#include <limits>
#include <map>
#include <set>
#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "engine/core/error.h"
#include "engine/core/file.h"
#include "engine/graph/device.h"
#include "engine/graph/kernel.h"
#include "engine/ops.h"
#include "nn/init_blank.h"
#include "nn/module.h"
#include "nn/optim/optimizer.h"
#include "tests/harness.h"
#include "tools/stithy/bench_cases.h"
#include "tools/stithy/static_figures.h"

namespace stithy::figures {
namespace {

struct Form {
  const KernelInfo* kernel;
  std::vector<uint32_t> spec;
  Use use;
};
using Forms = std::map<std::string, std::vector<Form>>;  // by the kernel's name

std::string text_of(const KernelInfo& kernel, const std::vector<uint32_t>& spec) {
  std::string text;
  for (size_t i = 0; i < spec.size(); ++i)
    text += cat(text.empty() ? "" : " ", kernel.spec_names[i], "=", spec[i]);
  return text;
}

// Forward, backward and update of a training step, as the trainer builds it around them.
Plan step_of(const measure::Workload& workload, const vk::DeviceInfo& device, const Chooser& choose) {
  const nn::init::Blank blank;
  const measure::Training training = workload.make();
  const Tensor x = input("x", training.batch[0].shape(), training.batch[0].dtype());
  const Tensor target = input("target", training.batch[1].shape(), training.batch[1].dtype());
  nn::AdamW optimizer;
  optimizer.bind(training.model->named_parameters());
  std::vector<Tensor> parameters;
  for (const nn::NamedVariable& parameter : optimizer.trained()) parameters.push_back(parameter.variable);
  const Tensor loss = cross_entropy((*training.model)(x), target);
  const std::vector<Tensor> dws = optimizer.pack(gradients(loss, parameters));
  return make_plan({loss, nn::global_norm(dws)}, optimizer.step(dws, Tensor(1e-3f)),
                   {.name = workload.name, .choose = choose}, device);
}

// The device with the properties of others that have kernels of their own: CPU drivers, of which some read
// texels faster and have no broadcast. Subgroups stay as they are.
std::vector<vk::DeviceInfo> others_like(const vk::DeviceInfo& device) {
  std::vector<vk::DeviceInfo> others;
  for (const bool old : {false, true}) {
    vk::DeviceInfo cpu = device;
    cpu.kind = vk::DeviceKind::cpu;
    cpu.fixed_subgroup_size = true;
    cpu.fast_texels = cpu.slow_broadcast = old;
    others.push_back(cpu);
  }
  return others;
}

Forms kernels_in_use(const Collect& options, const vk::DeviceInfo& device) {
  std::map<std::pair<const KernelInfo*, std::vector<uint32_t>>, Use> found;
  std::set<std::string_view> seen;
  const auto add = [&](const Plan& plan, Use use) {
    for (const PlannedDispatch& dispatch : plan.dispatches) {
      const KernelInfo& kernel = *dispatch.call.kernel;
      if (!nn::name_matches(options.pattern, kernel.name)) continue;
      if (use == Use::elsewhere && seen.contains(kernel.name)) continue;
      if (use != Use::elsewhere) seen.insert(kernel.name);
      found.try_emplace({&kernel, dispatch.call.spec}, use);
    }
  };
  // Never what was measured on this machine: the figures are those of the defaults everywhere.
  const Chooser first = [](const Choice&) { return size_t{0}; };
  for (const testing::Row& row : testing::rows())
    for (const Plan& plan : testing::plans_of(row, device)) add(plan, Use::standard);
  for (const measure::OpCase& c : measure::op_cases()) {
    const measure::Graph graph = c.build();
    add(make_plan(graph.fetches, graph.updates, {.name = c.op, .choose = first}, device), Use::standard);
  }
  for (const measure::Workload& workload : measure::workloads())
    add(step_of(workload, device, first), Use::standard);
  if (options.variants) {
    const auto with_variants = [&](const vk::DeviceInfo& of, Use use) {
      for (const testing::Row& row : testing::rows())
        testing::each_variant(row, of, [&](const Plan& plan) { add(plan, use); });
    };
    with_variants(device, Use::tuned);
    for (const vk::DeviceInfo& other : others_like(device)) with_variants(other, Use::elsewhere);
  }
  Forms forms;
  for (const auto& [form, use] : found)
    forms[std::string(form.first->name)].push_back({form.first, form.second, use});
  // The order of the kernels' addresses is another in each process.
  for (auto& [name, list] : forms)
    std::ranges::stable_sort(list, {}, [](const Form& form) {
      return std::pair(text_of(*form.kernel, form.spec),
                       std::vector(form.kernel->spirv.begin(), form.kernel->spirv.end()));
    });
  return forms;
}

using Pipelines = std::vector<const vk::Pipeline*>;

// Where one does not compile, its place is null and has its error.
Pipelines compiled(vk::Device& device, const std::vector<vk::PipelineRequest>& requests,
                   std::vector<std::string>& errors) {
  errors.assign(requests.size(), {});
  try {
    return device.pipelines(requests);
  } catch (const Error&) {
    Pipelines pipelines;
    for (size_t i = 0; i < requests.size(); ++i) try {
        pipelines.push_back(device.pipelines({&requests[i], 1}).front());
      } catch (const Error& error) {
        pipelines.push_back(nullptr);
        errors[i] = error.message();
      }
    return pipelines;
  }
}

}  // namespace

void collect(const Collect& options, const std::string& target,
             const std::function<void(KernelFigures)>& take) {
  vk::Device& device = *default_device();
  const vk::DeviceInfo& info = device.info();
  device.keep_statistics(options.texts);
#ifdef __GLIBC__
  // Models of hundreds of MiB come and go: pages that go back to the system between them take longer than all
  // of the planning.
  mallopt(M_MMAP_MAX, 0);
  mallopt(M_TRIM_THRESHOLD, std::numeric_limits<int>::max());
#endif
  const Forms forms = kernels_in_use(options, info);
#ifdef __GLIBC__
  malloc_trim(0);
#endif
  std::set<std::string_view> library;
  for (const KernelInfo* kernel : all_kernels()) library.insert(kernel->name);
  std::vector<vk::PipelineRequest> requests;
  for (const auto& [name, list] : forms)
    for (const Form& form : list) requests.push_back(request_of(*form.kernel, form.spec));
  std::vector<std::string> errors;
  const Pipelines pipelines = compiled(device, requests, errors);
  size_t next = 0;
  for (const auto& [name, list] : forms) {
    KernelFigures kernel{.target = target,
                         .device = info.name,
                         .driver = info.driver,
                         .driver_info = info.driver_info,
                         .kernel = name,
                         .shader = std::string(list.front().kernel->shader),
                         .fused = !library.contains(name)};
    for (const Form& form : list) {
      const size_t i = next++;
      PipelineFigures figures{.spec = text_of(*form.kernel, form.spec), .use = form.use, .error = errors[i]};
      if (pipelines[i]) figures.statistics = device.statistics(*pipelines[i]);
      kernel.pipelines.push_back(std::move(figures));
    }
    take(std::move(kernel));
  }
}

void write_texts(const std::string& folder, const KernelFigures& kernel) {
  const auto safe = [](std::string_view name) {
    std::string text;
    for (const unsigned char c : name.substr(0, 120))
      text += std::isalnum(c) || c == '+' || c == '-' || c == '_' ? static_cast<char>(std::tolower(c)) : '_';
    return text;
  };
  const std::filesystem::path place = std::filesystem::path(folder) / safe(kernel.target);
  std::filesystem::create_directories(place);
  for (size_t i = 0; i < kernel.pipelines.size(); ++i)
    for (const vk::Executable& executable : kernel.pipelines[i].statistics.executables)
      for (const vk::KernelText& text : executable.texts) {
        const std::string lanes = kernel.pipelines[i].statistics.executables.size() > 1
                                      ? cat(".", safe(executable.name))
                                      : std::string();
        const std::string head =
            cat("// ", kernel.kernel, " ", kernel.pipelines[i].spec, "\n// ", kernel.device, ", ",
                kernel.driver, ", ", kernel.driver_info, ": ", text.description, "\n");
        write_file_atomically(
            (place / cat(safe(kernel.kernel), ".", i, lanes, ".", safe(text.name), ".txt")).string(),
            head + text.text);
      }
}

}  // namespace stithy::figures

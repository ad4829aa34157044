#include "tools/stithy/static_figures.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <map>
#include <sstream>

#include "engine/core/error.h"
#include "engine/core/file.h"
#include "engine/statistics_json.h"

namespace stithy::figures {
namespace {

using Json = nlohmann::ordered_json;
using vk::KernelStatistics;
constexpr const char* kUses[] = {"default", "tuned", "elsewhere"};

// Drivers' texts need not be UTF-8; what is not becomes U+FFFD.
std::string dump(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

class Reader {
 public:
  Reader(const Json& object, std::string where) : object_(object), where_(std::move(where)) {
    if (!object.is_object()) fail("is no JSON object");
  }
  [[noreturn]] void fail(const std::string& what) const {
    throw Error(where_, what, "give it what stithy profile --static --json wrote");
  }
  std::string text(const char* key) const {
    const auto found = object_.find(key);
    if (found == object_.end() || !found->is_string()) fail(cat("has no text \"", key, "\""));
    return found->get<std::string>();
  }
  std::string text_or_none(const char* key) const {
    return object_.contains(key) ? text(key) : std::string();
  }
  bool flag(const char* key) const {
    const auto found = object_.find(key);
    if (found == object_.end()) return false;
    if (!found->is_boolean()) fail(cat("\"", key, "\" is neither true nor false"));
    return found->get<bool>();
  }
  std::optional<uint64_t> number(const char* key) const {
    const auto found = object_.find(key);
    if (found == object_.end()) return {};
    if (!found->is_number_unsigned()) fail(cat("\"", key, "\" is no whole number"));
    return found->get<uint64_t>();
  }
  std::vector<Reader> list(const char* key) const {
    const auto found = object_.find(key);
    if (found == object_.end()) return {};
    if (!found->is_array()) fail(cat("\"", key, "\" is no list"));
    std::vector<Reader> readers;
    for (const Json& one : *found) readers.emplace_back(one, where_);
    return readers;
  }
  KernelStatistics statistics() const try {
    return vk::read_statistics(object_);
  } catch (const nlohmann::json::exception& error) {
    fail(cat("has wrong figures: ", error.what()));
  }

 private:
  const Json& object_;
  std::string where_;
};

}  // namespace

std::string text_of(const std::optional<uint64_t>& figure) { return figure ? cat(*figure) : "-"; }

std::string text_of(const std::optional<vk::Occupancy>& occupancy) {
  if (!occupancy) return "-";
  return occupancy->most ? cat(occupancy->subgroups, "/", *occupancy->most) : cat(occupancy->subgroups);
}

KernelStatistics KernelFigures::largest() const {
  Use use = Use::elsewhere;
  for (const PipelineFigures& pipeline : pipelines)
    if (pipeline.error.empty()) use = std::min(use, pipeline.use);
  KernelStatistics result;
  for (const PipelineFigures& pipeline : pipelines) {
    if (pipeline.use != use || !pipeline.error.empty()) continue;
    const KernelStatistics& s = pipeline.statistics;
    for (const auto& [name, figure] : vk::named_figures())
      if (s.*figure) result.*figure = std::max((result.*figure).value_or(0), *(s.*figure));
    if (s.occupancy && (!result.occupancy || s.occupancy->subgroups < result.occupancy->subgroups))
      result.occupancy = s.occupancy;
    if (s.mix && (!result.mix || s.mix->total() > result.mix->total())) result.mix = s.mix;
  }
  return result;
}

size_t KernelFigures::failures() const {
  return static_cast<size_t>(
      std::ranges::count_if(pipelines, [](const auto& p) { return !p.error.empty(); }));
}

size_t KernelFigures::count(Use use) const {
  return static_cast<size_t>(std::ranges::count(pipelines, use, &PipelineFigures::use));
}

size_t KernelFigures::spilling(Use use) const {
  return static_cast<size_t>(std::ranges::count_if(
      pipelines, [&](const auto& p) { return p.use == use && p.statistics.spills.value_or(0) > 0; }));
}

std::string to_json(const KernelFigures& kernel, bool texts) {
  Json line{{"target", kernel.target}, {"device", kernel.device},
            {"driver", kernel.driver}, {"driver_info", kernel.driver_info},
            {"kernel", kernel.kernel}, {"shader", kernel.shader},
            {"fused", kernel.fused},   {"pipelines", kernel.pipelines.size()}};
  vk::put_statistics(line, kernel.largest());
  Json each = Json::array();
  for (const PipelineFigures& pipeline : kernel.pipelines) {
    Json one{{"spec", pipeline.spec}};
    one["use"] = kUses[static_cast<size_t>(pipeline.use)];
    if (!pipeline.error.empty()) one["error"] = pipeline.error;
    vk::put_statistics(one, pipeline.statistics);
    const Json executables = vk::executables_json(pipeline.statistics, texts);
    if (!executables.empty()) one["executables"] = executables;
    each.push_back(one);
  }
  line["each"] = each;
  return dump(line);
}

namespace {

Use use_of(const Reader& pipeline) {
  const std::string use = pipeline.text("use");
  const auto found = std::ranges::find(kUses, use);
  if (found == std::end(kUses)) pipeline.fail(cat("does not know the use \"", use, "\""));
  return static_cast<Use>(found - std::begin(kUses));
}

}  // namespace

KernelFigures parse_kernel(const std::string& line, const std::string& where) {
  const Json object = Json::parse(line, nullptr, false);
  const Reader reader(object, where);
  KernelFigures kernel{.target = reader.text("target"),
                       .device = reader.text("device"),
                       .driver = reader.text("driver"),
                       .driver_info = reader.text("driver_info"),
                       .kernel = reader.text("kernel"),
                       .shader = reader.text("shader"),
                       .fused = reader.flag("fused")};
  for (const Reader& one : reader.list("each")) {
    PipelineFigures pipeline{.spec = one.text("spec"),
                             .use = use_of(one),
                             .error = one.text_or_none("error"),
                             .statistics = one.statistics()};
    kernel.pipelines.push_back(std::move(pipeline));
  }
  if (kernel.pipelines.empty()) reader.fail("has no pipelines");
  return kernel;
}

std::vector<KernelFigures> read_figures(const std::string& path) {
  std::istringstream lines(read_file(path));
  std::vector<KernelFigures> kernels;
  std::string line;
  for (int number = 1; std::getline(lines, line); ++number)
    if (line.find_first_not_of(" \t\r") != std::string::npos)
      kernels.push_back(parse_kernel(line, cat(path, ", line ", number)));
  if (kernels.empty()) throw Error(path, "holds no figures", "stithy profile --static --json writes them");
  return kernels;
}

std::vector<Change> changes_between(const KernelFigures& before, const KernelFigures& now) {
  // Kernels that fusion wrote may share name and constants: these are compared in their order.
  std::multimap<std::string, const PipelineFigures*> earlier;
  for (const PipelineFigures& pipeline : before.pipelines) earlier.emplace(pipeline.spec, &pipeline);
  std::vector<Change> changes;
  for (const PipelineFigures& pipeline : now.pipelines) {
    const auto found = earlier.find(pipeline.spec);
    if (found == earlier.end()) continue;
    const KernelStatistics &a = found->second->statistics, &b = pipeline.statistics;
    if (found->second->error.empty() != pipeline.error.empty())
      changes.push_back({"failures", found->second->error.empty() ? 0u : 1u, pipeline.error.empty() ? 0u : 1u,
                         !pipeline.error.empty(), pipeline.spec});
    earlier.erase(found);
    const bool fewer_fit =
        a.occupancy && b.occupancy ? b.occupancy->subgroups < a.occupancy->subgroups : true;
    for (const auto& [name, figure] : vk::named_figures()) {
      const auto &old = a.*figure, &fresh = b.*figure;
      if (!old || !fresh || *old == *fresh || figure == &KernelStatistics::subgroup_size) continue;
      const bool counts = figure == &KernelStatistics::spills || figure == &KernelStatistics::instructions ||
                          figure == &KernelStatistics::cycles || figure == &KernelStatistics::scratch_bytes ||
                          (figure == &KernelStatistics::registers && fewer_fit);
      changes.push_back({name, *old, *fresh, counts && *fresh > *old, pipeline.spec});
    }
    if (a.occupancy && b.occupancy && a.occupancy->subgroups != b.occupancy->subgroups)
      changes.push_back(
          {"occupancy", a.occupancy->subgroups, b.occupancy->subgroups, fewer_fit, pipeline.spec});
  }
  return changes;
}

std::string kept_table(const std::string& architecture, const std::vector<KernelFigures>& kernels) {
  size_t here = 0, fused = 0, defaults = 0, tuned = 0, failures = 0, spilling = 0, tuned_spilling = 0;
  size_t others = 0, others_pipelines = 0;
  std::ostringstream lines;
  const auto line = [&](const auto&... columns) {
    static constexpr int kWidths[] = {-28, 9, 4, 5, 6, 6, 7, 6, 6, 9, 7};
    size_t i = 0;
    std::string text;
    const auto put_column = [&](const std::string& column) {
      const int width = kWidths[i++];
      const size_t gap =
          std::max<size_t>(static_cast<size_t>(std::abs(width)), column.size()) - column.size();
      text += width < 0 ? column + std::string(gap, ' ') : " " + std::string(gap, ' ') + column;
    };
    (put_column(columns), ...);
    lines << text << "\n";
  };
  line("kernel", "pipelines", "regs", "sregs", "spills", "shared", "scratch", "code", "instr", "occupancy",
       "cycles");
  for (const KernelFigures& kernel : kernels) {
    failures += kernel.failures();
    if (const size_t elsewhere = kernel.count(Use::elsewhere)) {
      ++others, others_pipelines += elsewhere;
      continue;
    }
    ++here, fused += kernel.fused, defaults += kernel.count(Use::standard), tuned += kernel.count(Use::tuned);
    spilling += kernel.spilling(Use::standard) > 0, tuned_spilling += kernel.spilling(Use::tuned);
    if (kernel.fused) continue;
    const KernelStatistics s = kernel.largest();
    line(kernel.kernel, cat(kernel.pipelines.size()), text_of(s.registers), text_of(s.scalar_registers),
         text_of(s.spills), text_of(s.shared_bytes), text_of(s.scratch_bytes), text_of(s.code_bytes),
         text_of(s.instructions), text_of(s.occupancy), text_of(s.cycles));
  }
  const KernelFigures& first = kernels.front();
  return cat("# target ", first.target, "; ", architecture, "; ", first.driver, ", ", first.driver_info,
             "\n# ", here, " kernels, ", fused, " of them fused; ", defaults, " pipelines, ", failures,
             " do not compile; ", spilling, " kernels spill\n# ", tuned,
             " pipelines that only tuning may choose, ", tuned_spilling, " of these spill; ", others,
             " kernels of other devices in ", others_pipelines, " pipelines\n", lines.str());
}

}  // namespace stithy::figures

#include "tools/stithy/profile_html.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "engine/core/error.h"
#include "engine/core/hash.h"
#include "engine/graph/kernel.h"
#include "engine/statistics_json.h"
#include "nn/run/report.h"
#include "tools/stithy/profile_counters.h"
#include "tools/stithy/profile_page.h"

namespace stithy::profiling {
namespace {

using Json = nlohmann::ordered_json;

// What was not measured is null, and the page shows a dash or says so.
Json known(double value) { return std::isfinite(value) ? Json(value) : Json(); }
Json known(const std::optional<double>& value) { return value ? known(*value) : Json(); }
Json positive(double value) { return value > 0 ? known(value) : Json(); }
Json json_of(const Quantiles& q) {
  return q.samples ? Json{{"p50", known(q.p50)}, {"p95", known(q.p95)}} : Json();
}

Json json_of(const Row& row) {
  const bool timed = row.time.samples > 0 && row.time.p50 > 0;
  return {{"op", row.op},
          {"phase", row.phase},
          {"layer", row.layer},
          {"kernel", row.kernel},
          {"variant", row.variant},
          {"dtype", row.dtype},
          {"shapes", row.shapes},
          {"calls", row.calls},
          {"time", timed ? known(row.time.p50) : Json()},
          {"p95", timed ? known(row.time.p95) : Json()},
          {"isolated", positive(row.isolated)},
          {"share", timed ? known(row.share) : Json()},
          {"flops", known(row.flops)},
          {"bytes", known(row.bytes)},
          {"gflops", timed && row.flops > 0 ? known(row.gflops) : Json()},
          {"gbs", timed && row.bytes > 0 ? known(row.gbs) : Json()},
          {"intensity", row.flops > 0 ? known(row.intensity) : Json()},
          {"bound", row.bound},
          {"roof", known(row.roof_share)}};
}

bool counted(const Analysis& analysis) {
  return analysis.profile->counters && !analysis.program->counters.empty();
}

Json rows_json(const Analysis& analysis, const std::vector<Row>& rows) {
  Json all = Json::array();
  for (const Row& row : rows) {
    Json one = json_of(row);
    if (counted(analysis)) {
      Json& values = one["counters"] = Json::array();
      for (size_t i = 0; i < analysis.profile->counters->counters.size(); ++i)
        values.push_back(known(counter_of(analysis, row, i)));
    }
    all.push_back(std::move(one));
  }
  return all;
}

// What the driver counts, and whether it did.
Json counters_json(const Analysis& analysis) {
  const Profile& profile = *analysis.profile;
  if (!profile.counters) return {};
  Json names = Json::array();
  for (const vk::Counter& counter : profile.counters->counters)
    names.push_back({{"name", title_of(counter)}, {"description", counter.description}});
  return {{"names", names},
          {"offered", profile.counters->offered},
          {"passes", profile.counters->passes},
          {"counted", counted(analysis)},
          {"refused", profile.counters_refused}};
}

// In the order of the program; with the figures of its row.
Json calls_json(const Analysis& analysis, std::vector<Row> rows) {
  std::ranges::sort(rows, {}, [](const Row& row) { return row.calls[0]; });
  Json all = Json::array();
  for (const Row& row : rows) {
    const ProfiledCall& call = analysis.program->calls[row.calls[0]];
    Json one = json_of(row);
    one["layer"] = call.layer;
    one["kernel"] = call.kernel;
    one["groups"] = call.groups;
    one["barrier"] = kBarrierReasonNames[static_cast<size_t>(call.barrier)];
    all.push_back(std::move(one));
  }
  return all;
}

// A step of which every kernel was timed: of the undisturbed ones that of median length, else one of kernels
// that ran alone.
const ProfiledRun* shown_run(const ProfiledProgram& program) {
  for (const Timing timing : {Timing::concurrent, Timing::isolated}) {
    std::vector<const ProfiledRun*> runs;
    for (const ProfiledRun& run : program.measured)
      if (run.times.measure.timing == timing && run.times.measure.parts == 1 &&
          std::ranges::any_of(run.times.kernels, [](const auto& k) { return std::isfinite(k.second); }))
        runs.push_back(&run);
    const auto length = [](const ProfiledRun* run) {
      const RunTimes& t = run->times;
      return std::isfinite(t.copied_out) ? t.copied_out : t.host_end - t.host_begin;
    };
    std::ranges::stable_sort(runs, [&](const auto* a, const auto* b) { return length(a) < length(b); });
    if (!runs.empty()) return runs[runs.size() / 2];
  }
  return nullptr;
}

Json run_json(const ProfiledProgram& program) {
  const ProfiledRun* run = shown_run(program);
  if (!run) return {};
  const RunTimes& times = run->times;
  Json begin = Json::array(), end = Json::array();
  for (const auto& [first, last] : times.kernels) begin.push_back(known(first)), end.push_back(known(last));
  return {{"number", run->number},
          {"isolated", times.measure.timing == Timing::isolated},
          {"byHost", times.by_host},
          {"copiedIn", known(times.copied_in)},
          {"computed", known(times.computed)},
          {"copiedOut", known(times.copied_out)},
          {"begin", begin},
          {"end", end}};
}

Json memory_json(const Analysis& analysis) {
  const ProfiledProgram& program = *analysis.program;
  const std::vector<uint64_t> live = live_bytes(program);
  Json values = Json::array();
  for (const ProfiledValue& value : program.values)
    values.push_back({{"label", value.label},
                      {"layer", value.layer},
                      {"bytes", value.bytes},
                      {"first", value.first},
                      {"last", value.last}});
  return {{"live", live},
          {"peak", live.empty() ? 0 : std::ranges::max_element(live) - live.begin()},
          {"arena", program.arena_bytes},
          {"variables", program.variable_bytes},
          {"constants", program.constant_bytes},
          {"transfers", program.transfer_bytes},
          {"held", analysis.profile->allocated_bytes},
          {"heap", analysis.profile->heap_bytes},
          {"values", values}};
}

const std::string_view* text_of(std::string_view file) {
  static const std::map<std::string_view, std::string_view> texts = [] {
    std::map<std::string_view, std::string_view> all;
    for (const ShaderText& text : shader_texts()) all[text.file] = text.text;
    return all;
  }();
  const auto found = texts.find(file);
  return found == texts.end() ? nullptr : &found->second;
}

// The files that a shader includes, directly or not, each once, in their order.
void add_includes(std::string_view text, std::vector<std::string>& found) {
  constexpr std::string_view kInclude = "#include \"";
  for (size_t at = 0; (at = text.find(kInclude, at)) != text.npos;) {
    at += kInclude.size();
    const std::string name(text.substr(at, text.find('"', at) - at));
    const std::string_view* included = text_of(name);
    if (!included || std::ranges::find(found, name) != found.end()) continue;
    found.push_back(name);
    add_includes(*included, found);
  }
}

// Whether the kernel that was measured is not the one that this program was built with.
bool is_another(const ProfiledKernel& kernel) {
  if (!kernel.fused_text.empty()) return false;  // made from the text that is shown
  for (const KernelInfo* info : all_kernels())
    if (info->name == kernel.name) return spirv_hash(*info) != kernel.hash;
  return true;
}

Json statistics_json(const ProfiledKernel& kernel) {
  if (!kernel.statistics) return {};
  const vk::KernelStatistics& s = *kernel.statistics;
  Json own = Json::array();
  for (const vk::Executable& executable : s.executables)
    for (const vk::DriverFigure& figure : executable.own)
      own.push_back({s.executables.size() > 1 ? cat(executable.name, ": ", figure.name) : figure.name,
                     known(vk::number_of(figure))});
  Json json{{"own", own}};
  vk::put_statistics(json, s);
  return json;
}

// The final assembly, or what comes nearest to it.
Json texts_json(const ProfiledKernel& kernel) {
  Json texts = Json::array();
  if (!kernel.statistics) return texts;
  for (const vk::Executable& executable : kernel.statistics->executables) {
    const vk::KernelText* text = vk::assembly_of(executable);
    if (!text && !executable.texts.empty()) text = &executable.texts.back();
    if (text)
      texts.push_back({{"name", text->name}, {"description", text->description}, {"text", text->text}});
  }
  return texts;
}

Json kernel_json(const ProfiledKernel& kernel, const std::string& name, Json& shaders) {
  const std::string file = kernel.shader + ".comp";
  std::vector<std::string> files;
  if (const std::string_view* text = text_of(file)) {
    files.push_back(file);
    add_includes(kernel.fused_text, files);
    add_includes(*text, files);
  }
  for (const std::string& included : files) shaders[included] = *text_of(included);
  Json constants = Json::array();
  for (const auto& [constant, value] : kernel.constants) constants.push_back({constant, value});
  return {{"name", name},
          {"used", true},
          {"shader", file},
          {"files", files},
          {"defines", kernel.defines},
          {"constants", constants},
          {"hash", kernel.hash},
          {"another", !files.empty() && is_another(kernel)},
          {"fused", kernel.fused_text},
          {"statistics", statistics_json(kernel)},
          {"texts", texts_json(kernel)}};
}

// By their places in Profile::kernels, those of other programs with a name alone; then those of other GPUs.
Json kernels_json(const Analysis& analysis, Json& shaders) {
  std::set<size_t> used;
  for (const ProfiledCall& call : analysis.program->calls) used.insert(call.kernel);
  Json all = Json::array();
  for (size_t i = 0; i < analysis.profile->kernels.size(); ++i) {
    const ProfiledKernel& kernel = analysis.profile->kernels[i];
    all.push_back(used.contains(i) ? kernel_json(kernel, kernel.name, shaders)
                                   : Json{{"name", kernel.name}, {"used", false}});
  }
  for (const ProfiledTarget& target : analysis.profile->targets)
    for (const ProfiledKernel& kernel : target.kernels)
      all.push_back(kernel_json(kernel, cat(kernel.name, " on ", target.target), shaders));
  return all;
}

Json step_json(const StepFigures& step) {
  return {{"device", json_of(step.device)},
          {"host", json_of(step.host)},
          {"copiedIn", json_of(step.copied_in)},
          {"copiedOut", json_of(step.copied_out)},
          {"hostCopy", json_of(step.host_copy)},
          {"submit", json_of(step.submit)},
          {"phases", {known(step.phases[0]), known(step.phases[1]), known(step.phases[2])}},
          {"overlap", known(step.overlap)},
          {"barriers", step.barriers},
          {"reuseBarriers", step.reuse_barriers},
          {"needless", step.needless},
          {"flops", known(step.flops)},
          {"bytes", known(step.bytes)},
          {"ofPeakFlops", known(step.of_peak_flops)},
          {"ofPeakBytes", known(step.of_peak_bytes)}};
}

Json data_of(const Analysis& analysis) {
  const Profile& profile = *analysis.profile;
  const ProfiledProgram& program = *analysis.program;
  const std::vector<Row> calls = rows_of(analysis, View::call);
  const bool timed = std::ranges::any_of(calls, [](const Row& row) { return row.time.samples > 0; });
  Json step = step_json(analysis.step);
  // Without the device's clock, and without a run that timed kernels, these are not known.
  if (analysis.step.timed() && timed && !analysis.by_host) {
    step.update({{"kernels", known(analysis.step.kernels)},
                 {"copies", known(analysis.step.copies)},
                 {"waits", known(analysis.step.waits)},
                 {"gaps", known(analysis.step.gaps)}});
    if (program.rounds > 0)
      step.update({{"cost", known(analysis.step.cost)}, {"costSpread", known(analysis.step.cost_spread)}});
  }
  Json shaders = Json::object();
  Json kernels = kernels_json(analysis, shaders);
  return {{"command", profile.command},
          {"version", profile.version},
          {"device", profile.device},
          {"driver", profile.driver},
          {"driverInfo", profile.driver_info},
          {"kind", profile.kind},
          {"subgroup", profile.subgroup_size},
          {"timestampBits", profile.timestamp_bits},
          {"timestampPeriod", positive(profile.timestamp_period_ns)},
          {"peaks", profile.peaks && profile.peaks->flops > 0 && profile.peaks->bytes_per_second > 0
                        ? Json{{"flops", known(profile.peaks->flops)},
                               {"bytes", known(profile.peaks->bytes_per_second)}}
                        : Json()},
          {"tellsStatistics", profile.tells_statistics},
          {"byHost", analysis.by_host},
          {"timed", timed},
          {"program",
           {{"name", program.name},
            {"number", &program - profile.programs.data() + 1},
            {"of", profile.programs.size()},
            {"trains", program.trains},
            {"runs", program.runs},
            {"rounds", program.rounds},
            {"making",
             {known(program.plan_ns), known(program.compile_ns), known(program.allocate_ns),
              known(program.record_ns)}}}},
          {"step", std::move(step)},
          {"advice", advice_of(analysis)},
          {"kernels", std::move(kernels)},
          {"shaders", std::move(shaders)},
          {"calls", calls_json(analysis, calls)},
          {"rows",
           {{"op", rows_json(analysis, rows_of(analysis, View::op))},
            {"layer", rows_json(analysis, rows_of(analysis, View::layer))},
            {"kernel", rows_json(analysis, rows_of(analysis, View::kernel))},
            {"call", rows_json(analysis, calls)}}},
          {"counters", counters_json(analysis)},
          {"run", run_json(program)},
          {"memory", memory_json(analysis)}};
}

// JSON that can stand in a <script>: no text in it ends the element or a line.
std::string script_text(const Json& json) {
  std::string text;
  for (const char c : json.dump(-1, ' ', true, Json::error_handler_t::replace)) {
    if (c == '<')
      text += "\\u003c";
    else if (c == '>')
      text += "\\u003e";
    else if (c == '&')
      text += "\\u0026";
    else
      text += c;
  }
  return text;
}

}  // namespace

std::string to_html(const Analysis& analysis) {
  const std::string data = script_text(data_of(analysis));
  const Profile& profile = *analysis.profile;
  std::string title = profile.command.empty() ? analysis.program->name : profile.command.front();
  title = title.substr(title.find_last_of('/') + 1);
  const std::map<std::string_view, std::string> parts{
      // A second lock: should an escape ever be missing, no other script runs, and nothing is loaded.
      {"nonce", hash_text(data)},
      {"title", escape_html(cat(title, " \xe2\x80\x93 profile"))},
      {"style", cat(report_style(), "<style>\n", kPageStyle, "</style>\n")},
      {"data", data},
      {"script", std::string(kPageScript)},
  };
  std::string html;
  std::string_view rest = kPageHtml;
  for (size_t at; (at = rest.find("{{")) != rest.npos;) {
    const size_t end = rest.find("}}", at);
    html += cat(rest.substr(0, at), parts.at(rest.substr(at + 2, end - at - 2)));
    rest.remove_prefix(end + 2);
  }
  return html += rest;
}

}  // namespace stithy::profiling

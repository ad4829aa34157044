#include "tools/stithy/conformance_certificate.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <tuple>

#include "engine/core/error.h"
#include "engine/core/hash.h"
#include "engine/core/version.h"
#include "nn/run/progress.h"
#include "nn/run/report.h"

namespace stithy::certify {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kFormat = "stithy conformance 1";

// Three figures are more than an error is worth.
Json number(double value, const char* format = "%.3g") {
  if (!std::isfinite(value)) return nullptr;
  char text[40];
  std::snprintf(text, sizeof text, format, value);
  return std::strtod(text, nullptr);
}
double number_of(const Json& json) {
  return json.is_null() ? std::numeric_limits<double>::infinity() : json.get<double>();
}
std::string of(int part, int whole) { return cat(part, " of ", whole); }

// The cases of an op, in one: of the errors those that use the most of their tolerance.
struct OpResult {
  int cases = 0, passed = 0, gradients = 0, gradients_passed = 0;
  double forward_error = 0, tolerance = 0, gradient_error = 0, gradient_tolerance = 0;

  void add(const CaseResult& test) {
    ++cases, passed += test.passed();
    if (!tolerance || test.forward_error * tolerance > forward_error * test.tolerance)
      forward_error = test.forward_error, tolerance = test.tolerance;
    if (!test.gradient_checks) return;
    ++gradients, gradients_passed += test.gradient_passed();
    if (!gradient_tolerance ||
        test.gradient_error * gradient_tolerance > gradient_error * test.gradient_tolerance)
      gradient_error = test.gradient_error, gradient_tolerance = test.gradient_tolerance;
  }
};

std::vector<std::pair<std::string, OpResult>> by_op(const std::vector<CaseResult>& cases) {
  std::map<std::string, OpResult> ops;
  for (const CaseResult& test : cases) ops[test.op].add(test);
  return {ops.begin(), ops.end()};
}

Json to_json(const Totals& t) {
  return {{"passed", t.passed()},
          {"rows", t.rows},
          {"rows_passed", t.rows_passed},
          {"cases", t.cases},
          {"cases_passed", t.cases_passed},
          {"gradients", t.gradients},
          {"gradients_passed", t.gradients_passed},
          {"kernels_passed", t.kernels_passed},
          {"kernels_failed", t.kernels_failed},
          {"kernels_not_launched", t.kernels_not_launched},
          {"training", t.training},
          {"training_passed", t.training_passed}};
}

Json to_json(const TrainingResult& run) {
  const auto curve = [](const std::vector<double>& losses) {
    Json array = Json::array();
    for (const double loss : losses) array.push_back(number(loss, "%.9g"));
    return array;
  };
  return {{"name", run.name},
          {"about", run.about},
          {"passed", run.failure.empty()},
          {"deviation", number(run.deviation)},
          {"tolerance", number(run.tolerance)},
          {"failure", run.failure},
          {"losses", curve(run.losses)},
          {"reference", curve(run.reference)}};
}

Json to_json(const KernelResult& kernel) {
  Json json{
      {"name", kernel.name}, {"hash", kernel.hash}, {"passed", kernel.passed}, {"failed", kernel.failed}};
  if (!kernel.not_launched.empty()) json["not_launched"] = kernel.not_launched;
  return json;
}

// A member a line, and an element a line of arrays of objects: for people, and for diffs.
std::string print(const Json& object) {
  const auto dump = [](const Json& json) {
    return json.dump(-1, ' ', false, Json::error_handler_t::replace);
  };
  std::string text = "{";
  for (const auto& [key, value] : object.items()) {
    text += cat(text.size() > 1 ? ",\n" : "\n", dump(Json(key)), ": ");
    if (!value.is_array() || value.empty() || !value[0].is_object()) {
      text += dump(value);
      continue;
    }
    text += "[";
    for (size_t i = 0; i < value.size(); ++i) text += cat(i ? ",\n  " : "\n  ", dump(value[i]));
    text += "\n]";
  }
  return text + "\n}\n";
}

// Text from a driver as a cell of a Markdown table.
std::string markdown_cell(const std::string& text) {
  std::string cell;
  for (const char c : text) {
    if (static_cast<unsigned char>(c) < ' ' || c == 0x7f)
      cell += '?';
    else if (c == '<')
      cell += "&lt;";
    else if (c == '|' || c == '\\' || c == '[' || c == ']' || c == '`' || c == '*' || c == '_')
      cell += {'\\', c};
    else
      cell += c;
  }
  return cell;
}

}  // namespace

std::string hash_of_all() {
  std::string all;
  for (const KernelInfo* kernel : all_kernels()) all += cat(kernel->name, " ", spirv_hash(*kernel), "\n");
  return hash_text(all);
}

std::vector<std::pair<std::string, std::string>> facts_of(const vk::DeviceInfo& d) {
  const auto words = [](std::initializer_list<std::pair<const char*, bool>> all) {
    std::string text;
    for (const auto& [name, there] : all)
      if (there) text += cat(text.empty() ? "" : ", ", name);
    return text.empty() ? std::string("none") : text;
  };
  char ids[64];
  std::snprintf(ids, sizeof ids, "vendor 0x%04x, device 0x%04x", d.vendor_id, d.device_id);
  return {
      {"device", d.name},
      {"type", cat(name_of(d.kind), ", ", ids)},
      {"driver", d.driver},
      {"driver version", d.driver_info.empty() ? cat(d.driver_version) : d.driver_info},
      {"Vulkan", cat(d.api_major, ".", d.api_minor, ".", d.api_patch)},
      {"subgroup size", d.min_subgroup_size == d.max_subgroup_size
                            ? cat(d.subgroup_size)
                            : cat(d.min_subgroup_size, " to ", d.max_subgroup_size, ", used with ",
                                  d.subgroup_size, d.fixed_subgroup_size ? "" : " or another of these")},
      {"features used", words({{"subgroup arithmetic", d.subgroup_arithmetic},
                               {"subgroup ballot", d.subgroup_ballot},
                               {"subgroup size control", d.subgroup_size_control},
                               {"timeline semaphores", d.timeline_semaphore},
                               {"timestamps", d.timestamps()},
                               {"memory budget", d.memory_budget}})},
      {"features not used", words({{"16-bit storage", d.storage_16bit},
                                   {"8-bit storage", d.storage_8bit},
                                   {"fp16 arithmetic", d.arithmetic_f16},
                                   {"cooperative matrices", d.cooperative_matrix}})},
      {"quirks", words({{"texel buffers are faster", d.fast_texels},
                        {"broadcasts are slow", d.slow_broadcast},
                        {"few registers", d.few_registers},
                        {"loops are bounded", d.most_turns != UINT32_MAX}})},
      {"memory",
       cat(format_bytes(d.heap_bytes), ", one tensor up to ", format_bytes(d.max_storage_buffer_range))},
      {"workgroups", cat("up to ", d.max_workgroup_invocations, " invocations, ",
                         format_bytes(d.shared_memory), " shared memory")},
  };
}

Totals totals_of(const Certificate& certificate) {
  Totals t;
  for (const auto& [name, op] : by_op(certificate.cases)) {
    ++t.rows, t.rows_passed += op.passed == op.cases;
    t.cases += op.cases, t.cases_passed += op.passed;
    t.gradients += op.gradients, t.gradients_passed += op.gradients_passed;
  }
  for (const KernelResult& kernel : certificate.kernels)
    ++(kernel.failed ? t.kernels_failed : kernel.passed ? t.kernels_passed : t.kernels_not_launched);
  for (const TrainingResult& run : certificate.training)
    ++t.training, t.training_passed += run.failure.empty();
  return t;
}

Json to_json(const CaseResult& test) {
  Json json{{"op", test.op},
            {"case", test.name},
            {"passed", test.passed()},
            {"forward_error", number(test.forward_error)},
            {"tolerance", number(test.tolerance)}};
  if (test.gradient_checks) {
    json["gradient_checks"] = test.gradient_checks;
    json["gradient_error"] = number(test.gradient_error);
    json["gradient_tolerance"] = number(test.gradient_tolerance);
  }
  if (!test.failures.empty()) json["failures"] = test.failures;
  json["kernels"] = test.kernels;
  json["seconds"] = number(test.seconds);
  return json;
}

CaseResult case_from_json(const Json& json) {
  CaseResult test{json.at("op"), json.at("case"), {}, 0, 0, 0, 0, 0, {}, 0};
  test.failures = json.value("failures", std::vector<std::string>());
  test.forward_error = number_of(json.at("forward_error"));
  test.tolerance = number_of(json.at("tolerance"));
  test.gradient_checks = json.value("gradient_checks", 0);
  if (test.gradient_checks) {
    test.gradient_error = number_of(json.at("gradient_error"));
    test.gradient_tolerance = number_of(json.at("gradient_tolerance"));
  }
  test.kernels = json.at("kernels").get<std::vector<std::string>>();
  test.seconds = number_of(json.at("seconds"));
  return test;
}

std::string to_json(const Certificate& certificate, bool compact) {
  Json json{{"format", kFormat}, {"stithy", version()}, {"date", certificate.date}};
  json["seconds"] = number(certificate.seconds);
  json["quick"] = certificate.quick;
  json["only"] = certificate.only;
  json["environment"] = certificate.environment;
  Json device = Json::object();
  for (const auto& [name, value] : certificate.device) device[name] = value;
  json["device"] = device;
  json["shaders"] = {{"hash", "FNV-1a, 64 bits, of the SPIR-V"}, {"all", hash_of_all()}};
  json["totals"] = to_json(totals_of(certificate));
  json["training"] = Json::array();
  for (const TrainingResult& run : certificate.training) json["training"].push_back(to_json(run));
  json["ops"] = Json::array();
  for (const auto& [name, op] : by_op(certificate.cases)) {
    Json line{{"op", name},
              {"cases", op.cases},
              {"passed", op.passed},
              {"forward_error", number(op.forward_error)},
              {"tolerance", number(op.tolerance)}};
    if (op.gradients) {
      line["gradients"] = op.gradients;
      line["gradients_passed"] = op.gradients_passed;
      line["gradient_error"] = number(op.gradient_error);
      line["gradient_tolerance"] = number(op.gradient_tolerance);
    }
    json["ops"].push_back(line);
  }
  json[compact ? "failed_cases" : "cases"] = Json::array();
  for (const CaseResult& test : certificate.cases)
    if (!compact)
      json["cases"].push_back(to_json(test));
    else if (!test.passed())
      json["failed_cases"].push_back(to_json(test));
  std::map<std::string, std::vector<std::string>> not_launched;
  for (const KernelResult& kernel : certificate.kernels)
    if (!kernel.not_launched.empty()) not_launched[kernel.not_launched].push_back(kernel.name);
  if (compact) json["not_launched"] = not_launched;
  if (compact) return print(json);
  json["kernels"] = Json::array();
  for (const KernelResult& kernel : certificate.kernels) json["kernels"].push_back(to_json(kernel));
  return print(json);
}

std::string to_html(const Certificate& certificate) {
  const Totals t = totals_of(certificate);
  const auto fact = [&](const std::string& name) {
    for (const auto& [key, value] : certificate.device)
      if (key == name) return value;
    return std::string();
  };
  const auto error = [](double value) { return value == 0 ? std::string("0") : format_number(value, 2); };

  Report report;
  report.title = cat("Conformance: ", fact("device"));
  report.summary =
      cat(fact("driver"), ", ", fact("driver version"), "; Vulkan ", fact("Vulkan"), "; Stithy ", version(),
          "; ", certificate.date, certificate.only.empty() ? "" : cat("; only ", certificate.only),
          certificate.quick ? "; quick: contiguous inputs, default candidates" : "");
  report.result = {{"verdict", t.passed() ? "passed" : "FAILED"}};
  for (const auto& [name, passed, all] : {std::tuple{"rows of ops passed", t.rows_passed, t.rows},
                                          {"cases passed", t.cases_passed, t.cases},
                                          {"gradient checks passed", t.gradients_passed, t.gradients},
                                          {"training runs passed", t.training_passed, t.training}})
    if (all) report.result.emplace_back(name, of(passed, all));
  report.result.emplace_back("time", format_duration(certificate.seconds));
  for (const TrainingResult& run : certificate.training) {
    Chart chart{cat("Loss of ", run.name), "step", {{"reference", {}}, {"this device", {}}}};
    for (size_t i = 0; i < run.reference.size(); ++i)
      chart.lines[0].points.emplace_back(i + 1, run.reference[i]);
    for (size_t i = 0; i < run.losses.size(); ++i) chart.lines[1].points.emplace_back(i + 1, run.losses[i]);
    report.charts.push_back(std::move(chart));
  }

  ReportTable failures{"What failed", {"where", "what"}, {}};
  for (const CaseResult& test : certificate.cases)
    for (const std::string& failure : test.failures)
      failures.rows.push_back({cat(test.op, ", ", test.name), failure});
  for (const TrainingResult& run : certificate.training)
    if (!run.failure.empty()) failures.rows.push_back({cat("training ", run.name), run.failure});
  if (!failures.rows.empty()) report.tables.push_back(std::move(failures));

  ReportTable device{"Device", {"property", "value"}, {}};
  for (const auto& [name, value] : certificate.device) device.rows.push_back({name, value});
  for (const std::string& variable : certificate.environment)
    device.rows.push_back({"environment", variable});
  device.rows.push_back({"all shaders", cat("FNV-1a ", hash_of_all())});
  report.tables.push_back(std::move(device));

  if (!certificate.training.empty()) {
    ReportTable table{"Training runs, against PyTorch in double precision",
                      {"run", "of", "verdict", "steps", "deviation", "tolerance"},
                      {}};
    for (const TrainingResult& run : certificate.training)
      table.rows.push_back({run.name, run.about, run.failure.empty() ? "passed" : "FAILED",
                            cat(run.reference.size()), error(run.deviation), error(run.tolerance)});
    report.tables.push_back(std::move(table));
  }

  ReportTable ops{"Ops, against references in double precision",
                  {"op", "verdict", "cases", "forward", "tolerance", "gradients", "gradient", "tolerance"},
                  {}};
  for (const auto& [name, op] : by_op(certificate.cases))
    ops.rows.push_back(
        {name, op.passed == op.cases ? "passed" : "FAILED", of(op.passed, op.cases), error(op.forward_error),
         error(op.tolerance), op.gradients ? of(op.gradients_passed, op.gradients) : "-",
         op.gradients ? error(op.gradient_error) : "-", op.gradients ? error(op.gradient_tolerance) : "-"});
  report.tables.push_back(std::move(ops));

  ReportTable kernels{"Kernels", {"kernel", "SPIR-V", "verdict", "cases"}, {}};
  for (const KernelResult& kernel : certificate.kernels)
    kernels.rows.push_back(
        {kernel.name, kernel.hash,
         kernel.failed   ? "FAILED"
         : kernel.passed ? "passed"
                         : kernel.not_launched,
         kernel.passed + kernel.failed ? of(kernel.passed, kernel.passed + kernel.failed) : "-"});
  report.tables.push_back(std::move(kernels));
  return render_report(report);
}

Summary read_summary(const std::string& text, const std::string& where) {
  const Json json = Json::parse(text, nullptr, false);
  if (!json.is_object() || json.value("format", Json()) != kFormat)
    throw Error(where, "is no certificate of stithy conformance");
  Summary summary;
  try {
    if (!json.at("only").get<std::string>().empty())
      throw Error(where, cat("is of a part of the checks: ", json.at("only").get<std::string>()),
                  "run stithy conformance without --only");
    for (const Json& variable : json.at("environment"))
      if (variable.get<std::string>().starts_with("STITHY_PRETEND="))
        throw Error(where, "is of a device that pretended to be another one");
    const Json &device = json.at("device"), &totals = json.at("totals");
    summary.driver =
        cat(device.at("driver").get<std::string>(), ", ", device.at("driver version").get<std::string>());
    summary.device = device.at("device");
    summary.vulkan = device.at("Vulkan");
    summary.date = json.at("date");
    summary.quick = json.at("quick");
    Totals& t = summary.totals;
    const std::pair<const char*, int*> members[] = {
        {"rows", &t.rows},
        {"rows_passed", &t.rows_passed},
        {"cases", &t.cases},
        {"cases_passed", &t.cases_passed},
        {"gradients", &t.gradients},
        {"gradients_passed", &t.gradients_passed},
        {"kernels_passed", &t.kernels_passed},
        {"kernels_failed", &t.kernels_failed},
        {"kernels_not_launched", &t.kernels_not_launched},
        {"training", &t.training},
        {"training_passed", &t.training_passed},
    };
    for (const auto& [name, member] : members) *member = totals.at(name);
  } catch (const nlohmann::json::exception& error) {
    throw Error(where, cat("is a damaged certificate: ", error.what()));
  }
  return summary;
}

std::string markdown(std::span<const std::pair<std::string, Summary>> files) {
  std::string text =
      "| certificate | driver | device | Vulkan | rows | gradient checks | training runs | date |\n"
      "| --- | --- | --- | --- | --- | --- | --- | --- |\n";
  const auto share = [](int passed, int all) {
    return passed == all ? cat(all, " passed") : cat(passed, " passed, ", all - passed, " failed");
  };
  for (const auto& [path, summary] : files) {
    const Totals& t = summary.totals;
    text += cat("| [", markdown_cell(std::filesystem::path(path).stem().string()), "](", path, ") | ",
                markdown_cell(summary.driver), " | ", markdown_cell(summary.device), " | ",
                markdown_cell(summary.vulkan), " | ", share(t.rows_passed, t.rows),
                summary.quick ? " (quick)" : "", " | ", share(t.gradients_passed, t.gradients), " | ",
                share(t.training_passed, t.training), " | ",
                markdown_cell(summary.date.substr(0, summary.date.find(' '))), " |\n");
  }
  return text;
}

}  // namespace stithy::certify

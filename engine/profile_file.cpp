// The file of a profile: JSON of one version.
#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <span>

#include "engine/core/error.h"
#include "engine/profile.h"
#include "engine/statistics_json.h"

namespace stithy {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kVersion = 1;
constexpr const char* kWriter = "stithy profile --save FILE writes one";
constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();

// Nanoseconds to a tenth: the finest clocks tick once in about one. Unknown times are null.
Json time_json(double ns) { return std::isfinite(ns) ? Json(std::round(ns * 10) / 10) : Json(); }
double time_of(const Json& json) { return json.is_null() ? kUnknown : json.get<double>(); }

template <class T>
std::optional<T> optional_of(const Json& json) {
  return json.is_null() ? std::nullopt : std::optional<T>(json.get<T>());
}

// Enumerations as words of a list, by their place.
template <class E>
std::string word(E value, std::span<const std::string_view> words) {
  return std::string(words[static_cast<size_t>(value)]);
}
template <class E>
E word_of(const Json& json, std::span<const std::string_view> words, std::string_view what) {
  const auto found = std::ranges::find(words, json.get_ref<const std::string&>());
  if (found == words.end()) throw Error("profile", cat("there is no ", what, " ", json));
  return static_cast<E>(found - words.begin());
}

Json json_of(const vk::KernelStatistics& s) {
  Json json = Json::object();
  vk::put_statistics(json, s);
  json["executables"] = vk::executables_json(s, true);
  return json;
}

Json json_of(const vk::CounterList& list) {
  Json counters = Json::array();
  for (const vk::Counter& c : list.counters)
    counters.push_back({{"name", c.name},
                        {"category", c.category},
                        {"description", c.description},
                        {"unit", c.unit},
                        {"adds", c.adds}});
  return {{"counters", counters},          {"passes", list.passes},       {"offered", list.offered},
          {"disturbing", list.disturbing}, {"rendering", list.rendering}, {"too_many", list.too_many}};
}

vk::CounterList counters_of(const Json& json) {
  vk::CounterList list{.passes = json.at("passes"),
                       .offered = json.at("offered"),
                       .disturbing = json.at("disturbing"),
                       .rendering = json.at("rendering"),
                       .too_many = json.at("too_many")};
  for (const Json& one : json.at("counters"))
    list.counters.push_back({.name = one.at("name"),
                             .category = one.at("category"),
                             .description = one.at("description"),
                             .unit = one.at("unit"),
                             .adds = one.at("adds")});
  return list;
}

Json json_of(const ProfiledKernel& kernel) {
  Json constants = Json::array();
  for (const auto& [name, value] : kernel.constants) constants.push_back({name, value});
  return {{"name", kernel.name},
          {"shader", kernel.shader},
          {"defines", kernel.defines},
          {"constants", constants},
          {"hash", kernel.hash},
          {"fused_text", kernel.fused_text},
          {"statistics", kernel.statistics ? json_of(*kernel.statistics) : Json()}};
}

ProfiledKernel kernel_of(const Json& json) {
  ProfiledKernel kernel{.name = json.at("name"),
                        .shader = json.at("shader"),
                        .defines = json.at("defines"),
                        .hash = json.at("hash"),
                        .fused_text = json.at("fused_text")};
  for (const Json& one : json.at("constants"))
    kernel.constants.emplace_back(one.at(0).get<std::string>(), one.at(1).get<uint32_t>());
  if (!json.at("statistics").is_null()) kernel.statistics = vk::read_statistics(json.at("statistics"));
  return kernel;
}

Json json_of(const ProfiledCall& call) {
  return {
      {"op", call.op},       {"fused", call.fused},   {"phase", word(call.phase, kPhaseNames)},
      {"layer", call.layer}, {"kernel", call.kernel}, {"choice", call.choice},
      {"dtype", call.dtype}, {"shapes", call.shapes}, {"groups", call.groups},
      {"flops", call.flops}, {"bytes", call.bytes},   {"barrier", word(call.barrier, kBarrierReasonNames)}};
}

ProfiledCall call_of(const Json& json, size_t kernels) {
  ProfiledCall call{
      .op = json.at("op"),
      .fused = json.at("fused"),
      .phase = word_of<Phase>(json.at("phase"), kPhaseNames, "phase"),
      .layer = json.at("layer"),
      .kernel = json.at("kernel"),
      .choice = json.at("choice"),
      .dtype = json.at("dtype"),
      .shapes = json.at("shapes"),
      .groups = json.at("groups"),
      .flops = json.at("flops"),
      .bytes = json.at("bytes"),
      .barrier = word_of<BarrierReason>(json.at("barrier"), kBarrierReasonNames, "reason of a barrier")};
  if (call.kernel >= kernels)
    throw Error("profile", cat("a call of kernel ", call.kernel, ", there are ", kernels));
  return call;
}

Json json_of(const ProfiledRun& run) {
  const RunTimes& t = run.times;
  Json begin = Json::array(), end = Json::array();
  for (const auto& [first, last] : t.kernels)
    begin.push_back(time_json(first)), end.push_back(time_json(last));
  return {{"number", run.number},
          {"timing", word(t.measure.timing, kTimingNames)},
          {"part", t.measure.part},
          {"parts", t.measure.parts},
          {"host",
           {time_json(t.host_begin), time_json(t.host_copied), time_json(t.host_submitted),
            time_json(t.host_end)}},
          {"device", {time_json(t.copied_in), time_json(t.computed), time_json(t.copied_out)}},
          {"begin", begin},
          {"end", end},
          {"by_host", t.by_host},
          {"first_fetch", t.first_fetch && std::isfinite(*t.first_fetch) ? Json(*t.first_fetch) : Json()}};
}

ProfiledRun run_of(const Json& json, size_t calls) {
  ProfiledRun run{.number = json.at("number")};
  RunTimes& t = run.times;
  t.measure = {word_of<Timing>(json.at("timing"), kTimingNames, "timing"), json.at("part"), json.at("parts")};
  if (t.measure.part >= t.measure.parts)
    throw Error("profile", cat("part ", t.measure.part, " of ", t.measure.parts));
  const Json &host = json.at("host"), &device = json.at("device");
  t.host_begin = time_of(host.at(0)), t.host_copied = time_of(host.at(1));
  t.host_submitted = time_of(host.at(2)), t.host_end = time_of(host.at(3));
  t.copied_in = time_of(device.at(0)), t.computed = time_of(device.at(1));
  t.copied_out = time_of(device.at(2));
  const Json &begin = json.at("begin"), &end = json.at("end");
  if (begin.size() != end.size() || (!begin.empty() && begin.size() != calls))
    throw Error("profile", cat("a run with ", begin.size(), " beginnings and ", end.size(), " ends of ",
                               calls, " calls"));
  for (size_t i = 0; i < begin.size(); ++i) t.kernels.emplace_back(time_of(begin[i]), time_of(end[i]));
  t.by_host = json.at("by_host");
  t.first_fetch = optional_of<double>(json.at("first_fetch"));
  return run;
}

Json json_of(const ProfiledProgram& program) {
  Json calls = Json::array(), values = Json::array(), measured = Json::array();
  for (const ProfiledCall& call : program.calls) calls.push_back(json_of(call));
  for (const ProfiledValue& value : program.values)
    values.push_back({{"label", value.label},
                      {"layer", value.layer},
                      {"buffer", value.buffer},
                      {"offset", value.offset},
                      {"bytes", value.bytes},
                      {"first", value.first},
                      {"last", value.last}});
  for (const ProfiledRun& run : program.measured) measured.push_back(json_of(run));
  Json counters = Json::array();
  for (const std::vector<double>& of_call : program.counters) {
    Json& values_of_call = counters.emplace_back(Json::array());
    for (double value : of_call) values_of_call.push_back(std::isfinite(value) ? Json(value) : Json());
  }
  return {{"name", program.name},
          {"trains", program.trains},
          {"runs", program.runs},
          {"made_at", time_json(program.made_at)},
          {"plan_ns", time_json(program.plan_ns)},
          {"compile_ns", time_json(program.compile_ns)},
          {"allocate_ns", time_json(program.allocate_ns)},
          {"record_ns", time_json(program.record_ns)},
          {"arena_bytes", program.arena_bytes},
          {"variable_bytes", program.variable_bytes},
          {"constant_bytes", program.constant_bytes},
          {"transfer_bytes", program.transfer_bytes},
          {"calls", calls},
          {"values", values},
          {"rounds", program.rounds},
          {"measured", measured},
          {"counters", counters}};
}

ProfiledProgram program_of(const Json& json, size_t kernels, size_t counters) {
  ProfiledProgram program{.name = json.at("name"),
                          .trains = json.at("trains"),
                          .runs = json.at("runs"),
                          .made_at = time_of(json.at("made_at")),
                          .plan_ns = time_of(json.at("plan_ns")),
                          .compile_ns = time_of(json.at("compile_ns")),
                          .allocate_ns = time_of(json.at("allocate_ns")),
                          .record_ns = time_of(json.at("record_ns")),
                          .arena_bytes = json.at("arena_bytes"),
                          .variable_bytes = json.at("variable_bytes"),
                          .constant_bytes = json.at("constant_bytes"),
                          .transfer_bytes = json.at("transfer_bytes"),
                          .rounds = json.at("rounds")};
  for (const Json& call : json.at("calls")) program.calls.push_back(call_of(call, kernels));
  const auto calls = static_cast<int>(program.calls.size());
  for (const Json& one : json.at("values")) {
    ProfiledValue value{.label = one.at("label"),
                        .layer = one.at("layer"),
                        .buffer = one.at("buffer"),
                        .offset = one.at("offset"),
                        .bytes = one.at("bytes"),
                        .first = one.at("first"),
                        .last = one.at("last")};
    if (value.first < -1 || value.last < value.first || value.last >= std::max(calls, 1))
      throw Error("profile", cat(value.label, " lives from ", value.first, " to ", value.last, ", there are ",
                                 calls, " calls"));
    program.values.push_back(std::move(value));
  }
  for (const Json& run : json.at("measured")) program.measured.push_back(run_of(run, program.calls.size()));
  for (const Json& of_call : json.at("counters")) {
    std::vector<double>& values = program.counters.emplace_back();
    for (const Json& value : of_call) values.push_back(value.is_null() ? kUnknown : value.get<double>());
    if (values.size() != counters)
      throw Error("profile", cat(values.size(), " values of ", counters, " counters"));
  }
  if (!program.counters.empty() && program.counters.size() != program.calls.size())
    throw Error("profile", cat("counters of ", program.counters.size(), " calls, there are ", calls));
  return program;
}

}  // namespace

std::string to_json(const Profile& profile) {
  Json targets = Json::array();
  for (const ProfiledTarget& target : profile.targets) {
    Json of_target = Json::array();
    for (const ProfiledKernel& kernel : target.kernels) of_target.push_back(json_of(kernel));
    targets.push_back({{"target", target.target},
                       {"device", target.device},
                       {"driver", target.driver},
                       {"driver_info", target.driver_info},
                       {"kernels", of_target}});
  }
  Json kernels = Json::array(), programs = Json::array();
  for (const ProfiledKernel& kernel : profile.kernels) kernels.push_back(json_of(kernel));
  for (const ProfiledProgram& program : profile.programs) programs.push_back(json_of(program));
  const Json json{{"stithy_profile", kVersion},
                  {"version", profile.version},
                  {"command", profile.command},
                  {"device", profile.device},
                  {"driver", profile.driver},
                  {"driver_info", profile.driver_info},
                  {"kind", profile.kind},
                  {"subgroup_size", profile.subgroup_size},
                  {"timestamp_bits", profile.timestamp_bits},
                  {"timestamp_period_ns", profile.timestamp_period_ns},
                  {"heap_bytes", profile.heap_bytes},
                  {"allocated_bytes", profile.allocated_bytes},
                  {"tells_statistics", profile.tells_statistics},
                  {"counters", profile.counters ? json_of(*profile.counters) : Json()},
                  {"counters_refused", profile.counters_refused},
                  {"untuned", profile.untuned},
                  {"peaks", profile.peaks ? Json{{"flops", profile.peaks->flops},
                                                 {"bytes_per_second", profile.peaks->bytes_per_second}}
                                          : Json()},
                  {"kernels", kernels},
                  {"programs", programs},
                  {"targets", targets}};
  // Names and texts of drivers need not be UTF-8.
  return json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

Profile parse_profile(const std::string& text, const std::string& where) {
  try {
    const Json json = Json::parse(text, nullptr, false);
    if (json.is_discarded()) throw Error(where, "is no profile: cut short, or damaged", kWriter);
    if (!json.is_object() || !json.contains("stithy_profile")) throw Error(where, "is no profile", kWriter);
    if (const int found = json.at("stithy_profile"); found != kVersion)
      throw Error(where, cat("is a profile of version ", found, ", this Stithy reads ", kVersion),
                  "measure it again");
    Profile profile{.command = json.at("command"),
                    .version = json.at("version"),
                    .device = json.at("device"),
                    .driver = json.at("driver"),
                    .driver_info = json.at("driver_info"),
                    .kind = json.at("kind"),
                    .subgroup_size = json.at("subgroup_size"),
                    .timestamp_bits = json.at("timestamp_bits"),
                    .timestamp_period_ns = json.at("timestamp_period_ns"),
                    .heap_bytes = json.at("heap_bytes"),
                    .allocated_bytes = json.at("allocated_bytes"),
                    .tells_statistics = json.at("tells_statistics"),
                    .counters_refused = json.at("counters_refused"),
                    .untuned = json.at("untuned")};
    if (const Json& counters = json.at("counters"); !counters.is_null())
      profile.counters = counters_of(counters);
    if (const Json& peaks = json.at("peaks"); !peaks.is_null())
      profile.peaks = Peaks{.flops = peaks.at("flops"), .bytes_per_second = peaks.at("bytes_per_second")};
    for (const Json& kernel : json.at("kernels")) profile.kernels.push_back(kernel_of(kernel));
    for (const Json& program : json.at("programs"))
      profile.programs.push_back(program_of(program, profile.kernels.size(),
                                            profile.counters ? profile.counters->counters.size() : 0));
    return profile;
  } catch (const nlohmann::json::exception& error) {
    throw Error(where, cat("is no profile: ", error.what()), kWriter);
  } catch (const Error& error) {
    if (error.where() == where) throw;
    throw Error(where, error.message(), kWriter);
  }
}

}  // namespace stithy

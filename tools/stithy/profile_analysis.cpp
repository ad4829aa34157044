#include "tools/stithy/profile_analysis.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <set>

#include "engine/core/error.h"
#include "nn/module.h"
#include "tools/stithy/numbers.h"

namespace stithy::profiling {
namespace {

constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();

double median(std::vector<double> samples) { return quantiles_of(std::move(samples)).p50; }

// NaN where it is not known.
double duration(const std::pair<double, double>& kernel) {
  const double ns = kernel.second - kernel.first;
  return ns < 0 ? 0 : ns;
}

// The time in which at least one of the kernels ran.
double union_of(std::vector<std::pair<double, double>> kernels) {
  std::erase_if(kernels, [](const auto& k) { return !(k.second > k.first); });
  std::ranges::sort(kernels);
  double sum = 0, reached = -std::numeric_limits<double>::infinity();
  for (const auto& [begin, end] : kernels) {
    sum += std::max(0.0, end - std::max(begin, reached));
    reached = std::max(reached, end);
  }
  return sum;
}

double sum_of(const std::vector<std::pair<double, double>>& kernels) {
  double sum = 0;
  for (const auto& kernel : kernels)
    if (const double ns = duration(kernel); std::isfinite(ns)) sum += ns;
  return sum;
}

using Runs = std::vector<const ProfiledRun*>;

Runs runs_of(const ProfiledProgram& program, Timing timing) {
  Runs runs;
  for (const ProfiledRun& run : program.measured)
    if (run.times.measure.timing == timing) runs.push_back(&run);
  return runs;
}

// The concurrent runs that time every kernel once, together: the parts of one round.
std::vector<Runs> concurrent_rounds(const ProfiledProgram& program) {
  std::vector<Runs> rounds;
  Runs parts;
  for (const ProfiledRun* run : runs_of(program, Timing::concurrent)) {
    const Measure& measure = run->times.measure;
    if (measure.part == 0) parts.clear();
    parts.push_back(run);
    if (parts.size() == measure.parts && measure.part + 1 == measure.parts) rounds.push_back(parts);
  }
  // The trials at the beginning time all kernels at once: where timestamps cost much they tell too much.
  if (!rounds.empty() && rounds.back().size() > 1)
    std::erase_if(rounds, [](const Runs& round) { return round.size() == 1; });
  return rounds;
}

Quantiles over(const Runs& runs, double (*figure)(const RunTimes&)) {
  std::vector<double> samples;
  for (const ProfiledRun* run : runs) samples.push_back(figure(run->times));
  return quantiles_of(std::move(samples));
}

double whole(const RunTimes& t) { return t.copied_out; }
double copies_of(const RunTimes& t) { return t.copied_in + t.copied_out - t.computed; }

// What passes before kernels behind a barrier, while no other runs.
double waits_of(const ProfiledProgram& program, const RunTimes& times) {
  double sum = 0, reached = times.copied_in;
  for (size_t i = 0; i < times.kernels.size(); ++i) {
    const auto& [begin, end] = times.kernels[i];
    if (program.calls[i].barrier != BarrierReason::none && begin > reached) sum += begin - reached;
    if (end > reached) reached = end;
  }
  return sum;
}

void add_shares(const ProfiledProgram& program, StepFigures& step) {
  std::vector<double> overlaps, waits;
  for (const ProfiledRun* run : runs_of(program, Timing::concurrent))
    if (run->times.measure.parts == 1 && !run->times.kernels.empty()) {
      overlaps.push_back(sum_of(run->times.kernels) / union_of(run->times.kernels));
      waits.push_back(waits_of(program, run->times) / whole(run->times));
    }
  if (const Quantiles overlap = quantiles_of(overlaps); overlap.samples)
    step.overlap = std::max(1.0, overlap.p50);

  const Runs ends = runs_of(program, Timing::ends);
  std::vector<double> kernels, copies, costs;
  const std::vector<Runs> rounds = concurrent_rounds(program);
  for (size_t i = 0; i < rounds.size(); ++i) {
    double in_kernels = 0, in_copies = 0, in_all = 0;
    for (const ProfiledRun* run : rounds[i]) {
      in_kernels += rounds[i].size() == 1 ? union_of(run->times.kernels) : sum_of(run->times.kernels);
      in_copies += copies_of(run->times);
      in_all += whole(run->times);
    }
    // Each part ran a whole step, but timed its kernels alone.
    const auto parts = static_cast<double>(rounds[i].size());
    if (parts > 1) in_kernels *= parts / step.overlap;
    kernels.push_back(in_kernels / in_all);
    copies.push_back(in_copies / in_all);
    // Of the trials before the first round, those whose kernels were all timed may not count.
    if (i + ends.size() >= rounds.size())
      costs.push_back(in_all / parts / whole(ends[i + ends.size() - rounds.size()]->times) - 1);
  }
  step.kernels = median(kernels), step.copies = median(copies);
  step.gaps = std::max(0.0, 1 - step.kernels - step.copies);
  step.waits = std::min(step.gaps, median(waits));
  const Quantiles cost = quantiles_of(costs);
  step.cost = cost.samples ? cost.p50 : kUnknown;
  step.cost_spread = cost.samples ? cost.p75 - cost.p25 : kUnknown;
}

StepFigures step_of(const ProfiledProgram& program) {
  StepFigures step;
  Runs undisturbed = runs_of(program, Timing::ends);
  if (undisturbed.empty()) undisturbed = runs_of(program, Timing::concurrent);
  step.device = over(undisturbed, whole);
  step.host = over(undisturbed, [](const RunTimes& t) { return t.host_end - t.host_copied; });
  step.host_copy = over(undisturbed, [](const RunTimes& t) { return t.host_copied - t.host_begin; });
  step.submit = over(undisturbed, [](const RunTimes& t) { return t.host_submitted - t.host_copied; });
  step.copied_in = over(undisturbed, [](const RunTimes& t) { return t.copied_in; });
  step.copied_out = over(undisturbed, [](const RunTimes& t) { return t.copied_out - t.computed; });
  add_shares(program, step);
  for (size_t i = 0; i < program.calls.size(); ++i) {
    const ProfiledCall& call = program.calls[i];
    step.barriers += call.barrier != BarrierReason::none;
    step.reuse_barriers += call.barrier == BarrierReason::reuse;
    if (call.barrier == BarrierReason::needless) step.needless.push_back(i);
    step.flops += call.flops, step.bytes += call.bytes;
  }
  return step;
}

// "layer1.0.conv1" and "layer1.1.conv2": "layer1.*".
std::string common_layer(const std::set<std::string>& layers) {
  if (layers.size() == 1) return *layers.begin();
  std::string common = *layers.begin();
  for (const std::string& layer : layers) {
    size_t same = 0;
    while (same < std::min(common.size(), layer.size()) && common[same] == layer[same]) ++same;
    common.resize(same);
  }
  const size_t dot = common.rfind('.');
  return dot == std::string::npos ? "*" : common.substr(0, dot) + ".*";
}

bool matches(const std::string& pattern, const std::string& text) {
  return pattern.empty() || nn::name_matches(pattern, text);
}

}  // namespace

Quantiles quantiles_of(std::vector<double> samples) {
  std::erase_if(samples, [](double sample) { return !std::isfinite(sample); });
  std::ranges::sort(samples);
  if (samples.empty()) return {};
  const auto at = [&](double q) { return quantile(samples, q); };
  return {.p25 = at(0.25), .p50 = at(0.5), .p75 = at(0.75), .p95 = at(0.95), .samples = samples.size()};
}

std::string op_of(const ProfiledCall& call) {
  std::string op;
  for (const std::string& one : call.fused) op += (op.empty() ? "" : "+") + one;
  return op.empty() ? call.op : op;
}

std::string variant_of(const Profile& profile, const ProfiledCall& call) {
  std::string text = call.choice;
  for (const auto& [name, value] : profile.kernels[call.kernel].constants)
    text += cat(text.empty() ? "" : " ", name, "=", value);
  return text;
}

Analysis analyse(const Profile& profile, const std::string& name) {
  Analysis analysis{.profile = &profile};
  std::string list;
  double most = -1;
  for (size_t i = 0; i < profile.programs.size(); ++i) {
    const ProfiledProgram& program = profile.programs[i];
    const std::string number = cat(i + 1);
    list += cat(list.empty() ? "" : ", ", number, " (", program.name, ", ", program.calls.size(), " calls, ",
                program.runs, " runs)");
    if (!name.empty() && name != number && name != program.name) continue;
    const bool measured = std::ranges::any_of(
        program.measured, [](const ProfiledRun& run) { return std::isfinite(run.times.host_end); });
    if (!measured || program.calls.empty()) continue;
    const double time = static_cast<double>(program.runs) * step_of(program).host.p50;
    if (time > most) most = time, analysis.program = &program;
  }
  if (!analysis.program)
    throw Error("profile",
                name.empty() ? cat("no program ran often enough to be measured")
                             : cat("no program \"", name, "\" was measured"),
                list.empty() ? "the command made no program: does it use the library?"
                             : cat("there are ", list, "; more steps or --warmup 0 help"));
  const ProfiledProgram& program = *analysis.program;
  analysis.step = step_of(program);
  const size_t calls = program.calls.size();
  for (const Runs& parts : concurrent_rounds(program)) {
    std::vector<double>& round = analysis.rounds.emplace_back(calls, kUnknown);
    for (const ProfiledRun* run : parts)
      for (size_t i = 0; i < run->times.kernels.size(); ++i)
        if (const double ns = duration(run->times.kernels[i]); std::isfinite(ns)) round[i] = ns;
  }
  std::vector<std::vector<double>> alone;
  for (const ProfiledRun* run : runs_of(program, Timing::isolated)) {
    std::vector<double>& round = alone.emplace_back();
    for (const auto& kernel : run->times.kernels) round.push_back(duration(kernel));
    round.resize(calls, kUnknown);
    analysis.by_host = run->times.by_host;
  }
  const auto of_call = [](const std::vector<std::vector<double>>& rounds, size_t call) {
    std::vector<double> samples;
    for (const std::vector<double>& round : rounds) samples.push_back(round[call]);
    return quantiles_of(std::move(samples));
  };
  for (size_t i = 0; i < calls; ++i)
    analysis.calls.push_back({of_call(analysis.rounds, i), of_call(alone, i)});
  if (std::ranges::none_of(analysis.calls, [](const CallFigures& c) { return c.concurrent.samples > 0; }))
    analysis.rounds = std::move(alone);

  double sum = 0;
  for (size_t i = 0; i < calls; ++i) {
    const CallFigures& call = analysis.calls[i];
    const double ns = call.concurrent.samples ? call.concurrent.p50 : call.isolated.p50;
    analysis.step.phases[static_cast<size_t>(program.calls[i].phase)] += ns;
    sum += ns;
  }
  if (sum > 0)
    for (double& phase : analysis.step.phases) phase /= sum;
  if (profile.peaks && analysis.step.host.p50 > 0) {
    const double seconds = 1e-9 * (analysis.step.timed() ? analysis.step.device.p50 : analysis.step.host.p50);
    analysis.step.of_peak_flops = analysis.step.flops / seconds / profile.peaks->flops;
    analysis.step.of_peak_bytes = analysis.step.bytes / seconds / profile.peaks->bytes_per_second;
  }
  return analysis;
}

std::vector<Row> rows_of(const Analysis& analysis, View view, const Filter& filter) {
  const Profile& profile = *analysis.profile;
  const ProfiledProgram& program = *analysis.program;
  std::map<std::vector<std::string>, std::vector<size_t>> groups;
  double shortest = std::numeric_limits<double>::infinity();
  for (size_t i = 0; i < program.calls.size(); ++i) {
    const ProfiledCall& call = program.calls[i];
    const ProfiledKernel& kernel = profile.kernels[call.kernel];
    const CallFigures& figures = analysis.calls[i];
    if (const double ns = figures.concurrent.samples ? figures.concurrent.p50 : figures.isolated.p50; ns > 0)
      shortest = std::min(shortest, ns);
    if (!matches(filter.op, op_of(call)) || !matches(filter.layer, call.layer) ||
        !matches(filter.kernel, kernel.name) || !matches(filter.phase, std::string(name_of(call.phase))))
      continue;
    std::vector<std::string> key;
    switch (view) {
      case View::call: key = {cat(1000000 + i)}; break;
      case View::op: key = {op_of(call), std::string(name_of(call.phase)), kernel.name, call.choice}; break;
      case View::layer: key = {call.layer}; break;
      case View::kernel: key = {kernel.name, variant_of(profile, call)}; break;
    }
    groups[key].push_back(i);
  }

  const double step = analysis.step.timed() ? analysis.step.device.p50 : analysis.step.host.p50;
  std::vector<Row> rows;
  for (const auto& [key, calls] : groups) {
    Row row{.calls = calls};
    const auto common = [&](const auto& text_of) -> std::string {
      const std::string first = text_of(program.calls[calls[0]]);
      for (size_t i : calls)
        if (text_of(program.calls[i]) != first) return "";
      return first;
    };
    row.op = common(op_of);
    row.phase = common([](const ProfiledCall& c) { return std::string(name_of(c.phase)); });
    row.kernel = common([&](const ProfiledCall& c) { return profile.kernels[c.kernel].name; });
    row.choice = common([](const ProfiledCall& c) { return c.choice; });
    row.variant = common([&](const ProfiledCall& c) { return variant_of(profile, c); });
    row.dtype = common([](const ProfiledCall& c) { return c.dtype; });
    row.shapes = common([](const ProfiledCall& c) { return c.shapes; });
    std::set<std::string> layers;
    for (size_t i : calls) {
      layers.insert(program.calls[i].layer);
      row.flops += program.calls[i].flops, row.bytes += program.calls[i].bytes;
      row.isolated += analysis.calls[i].isolated.p50;
    }
    row.layer = common_layer(layers);
    std::vector<double> sums;
    for (const std::vector<double>& round : analysis.rounds)
      sums.push_back(std::accumulate(calls.begin(), calls.end(), 0.0,
                                     [&](double sum, size_t i) { return sum + round[i]; }));
    row.time = quantiles_of(std::move(sums));
    if (row.time.p50 > 0) {
      row.share = row.time.p50 / step;
      row.gflops = row.flops / row.time.p50;
      row.gbs = row.bytes / row.time.p50;
    }
    if (row.bytes > 0) row.intensity = row.flops / row.bytes;
    if (profile.peaks && row.time.p50 > 0) {
      const double compute = row.flops / profile.peaks->flops,
                   memory = row.bytes / profile.peaks->bytes_per_second;
      row.roof_share = 1e9 * std::max(compute, memory) / row.time.p50;
      row.bound = compute > memory ? "compute" : "memory";
      if (*row.roof_share < 0.1 && row.time.p50 < 2 * shortest * static_cast<double>(calls.size()))
        row.bound = "launch";
    }
    rows.push_back(std::move(row));
  }
  std::ranges::stable_sort(rows, std::ranges::greater{}, [](const Row& row) { return row.time.p50; });
  return rows;
}

std::vector<uint64_t> live_bytes(const ProfiledProgram& program) {
  std::vector<const ProfiledValue*> values;
  for (const ProfiledValue& value : program.values) values.push_back(&value);
  std::ranges::sort(values, {}, [](const ProfiledValue* v) { return std::pair(v->buffer, v->offset); });
  std::vector<uint64_t> live(program.calls.size());
  for (size_t call = 0; call < live.size(); ++call) {
    std::pair<int, uint64_t> reached{-1, 0};
    for (const ProfiledValue* value : values) {
      if (value->first > static_cast<int>(call) || value->last < static_cast<int>(call)) continue;
      const uint64_t end = value->offset + value->bytes;
      const uint64_t begin =
          reached.first == value->buffer ? std::max(value->offset, reached.second) : value->offset;
      if (end > begin) live[call] += end - begin;
      if (reached < std::pair(value->buffer, end)) reached = {value->buffer, end};
    }
  }
  return live;
}

std::vector<std::string> advice_of(const Analysis& analysis) {
  const Profile& profile = *analysis.profile;
  const StepFigures& step = analysis.step;
  std::vector<std::pair<double, std::string>> lines;  // what it may save, as a share of the step
  for (const Row& row : rows_of(analysis, View::kernel)) {
    const std::optional<vk::KernelStatistics>& statistics =
        profile.kernels[analysis.program->calls[row.calls[0]].kernel].statistics;
    if (row.share > 0.01 && statistics && statistics->spills.value_or(0) > 0)
      lines.emplace_back(row.share / 2, cat(row.kernel, " spills ", *statistics->spills,
                                            " registers and takes ", percent(row.share),
                                            " of the step: stithy tune may find a candidate that does not"));
  }
  for (const Row& row : rows_of(analysis, View::op)) {
    if (!row.roof_share || row.bound == "launch" || *row.roof_share > 0.3 || row.share < 0.1) continue;
    lines.emplace_back(
        row.share * (1 - *row.roof_share),
        cat(row.op, " [", row.phase, "] takes ", percent(row.share), " of the step and reaches ",
            percent(*row.roof_share), " of its ", row.bound, " roof: here is the most to gain"));
  }
  double launches = 0;
  size_t count = 0;
  for (const Row& row : rows_of(analysis, View::call))
    if (row.bound == "launch") launches += row.share, ++count;
  if (launches > 0.2)
    lines.emplace_back(launches / 2,
                       cat(count, " calls are so short that launching them is most of their time, ",
                           percent(launches), " of the step: a larger batch gives them more to do"));
  if (profile.untuned > 0)
    lines.emplace_back(
        0.01, cat(profile.untuned, " choices between candidates were never measured on this device: ",
                  "stithy tune -- PROGRAM ARGUMENTS"));
  if (step.timed() && step.copies > 0.05)
    lines.emplace_back(step.copies, cat("copies between host and device take ", percent(step.copies),
                                        " of the step: bytes (u8) instead of floats are a quarter of it"));
  if (step.timed() && step.device.p50 > 0 && step.host_copy.p50 + step.submit.p50 > step.device.p50)
    lines.emplace_back(0.5, "the host takes longer to copy and submit a batch than the device to compute it");
  if (!step.needless.empty())
    lines.emplace_back(0.01, cat(step.needless.size(), " barriers order nothing, the first before call ",
                                 step.needless[0] + 1, ": please report it"));
  std::ranges::stable_sort(lines, std::ranges::greater{}, &std::pair<double, std::string>::first);
  std::vector<std::string> texts;
  for (auto& [saved, text] : lines) texts.push_back(std::move(text));
  if (texts.size() > 5) texts.resize(5);
  return texts;
}

}  // namespace stithy::profiling

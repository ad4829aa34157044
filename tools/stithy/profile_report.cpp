#include "tools/stithy/profile_report.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>

#include "engine/core/error.h"
#include "engine/core/file.h"
#include "tools/stithy/numbers.h"
#include "tools/stithy/perfetto.h"
#include "tools/stithy/profile_counters.h"
#include "tools/stithy/profile_html.h"
#include "tools/stithy/profile_targets.h"

namespace stithy::profiling {
namespace {

using Json = nlohmann::ordered_json;

// Below it a kernel's time is not worth an alarm.
constexpr double kNotable = 0.005;

std::string signed_percent(double share) { return printed("%+.1f%%", 100 * share); }
std::string time_text(double ns) {
  if (ns < 1e6) return significant(ns * 1e-3) + " us";
  return ns < 1e9 ? significant(ns * 1e-6) + " ms" : significant(ns * 1e-9) + " s";
}
std::string times(size_t count, const char* one) { return cat(count, " ", one, count == 1 ? "" : "s"); }

// UTF-8 is not cut within a character.
std::string cut(std::string text, size_t width) {
  if (text.size() <= width) return text;
  text.resize(width - 1);
  while (!text.empty() && (text.back() & 0xc0) == 0x80) text.pop_back();
  if (!text.empty() && (text.back() & 0x80)) text.pop_back();
  return text + "~";
}

size_t terminal_width() {
  winsize size{};
  if (isatty(STDOUT_FILENO) && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col >= 80)
    return size.ws_col;
  return 150;
}

// Columns whose widths follow their content; the first are texts, the others numbers.
class Table {
 public:
  Table(std::vector<std::string> header, size_t texts) : texts_(texts) { add(std::move(header)); }
  void add(std::vector<std::string> line) { lines_.push_back(std::move(line)); }
  void print() const {
    std::vector<size_t> widths(lines_[0].size());
    for (const auto& line : lines_)
      for (size_t i = 0; i < line.size(); ++i) widths[i] = std::max(widths[i], line[i].size());
    size_t total = 0;
    for (size_t width : widths) total += width + 2;
    // The longest text gives way first.
    while (total > terminal_width()) {
      const auto longest = std::max_element(widths.begin(), widths.begin() + static_cast<ptrdiff_t>(texts_));
      if (*longest <= 12) break;
      --*longest, --total;
    }
    for (const auto& line : lines_) {
      std::string text;
      for (size_t i = 0; i < line.size(); ++i) {
        const std::string cell = i < texts_ ? cut(line[i], widths[i]) : line[i];
        const std::string space(widths[i] - std::min(widths[i], cell.size()), ' ');
        text += (i ? "  " : "") + (i < texts_ ? cell + space : space + cell);
      }
      text.erase(text.find_last_not_of(' ') + 1);
      std::printf("%s\n", text.c_str());
    }
  }

 private:
  size_t texts_;
  std::vector<std::vector<std::string>> lines_;
};

void print_step(const Analysis& a) {
  const Profile& profile = *a.profile;
  const ProfiledProgram& program = *a.program;
  const StepFigures& step = a.step;
  std::printf("device   %s (%s, %s)\n", profile.device.c_str(), profile.driver.c_str(),
              profile.driver_info.c_str());
  if (profile.peaks)
    std::printf("peaks    fp32 %s GFLOP/s, copy %s GB/s, measured beside the program\n",
                significant(profile.peaks->flops * 1e-9).c_str(),
                significant(profile.peaks->bytes_per_second * 1e-9).c_str());
  const size_t number = static_cast<size_t>(&program - profile.programs.data()) + 1;
  std::printf("program  %zu of %zu: %s%s, %s, %llu runs, %llu rounds of measuring\n", number,
              profile.programs.size(), program.name.c_str(), program.trains ? " (trains)" : "",
              times(program.calls.size(), "kernel call").c_str(),
              static_cast<unsigned long long>(program.runs), static_cast<unsigned long long>(program.rounds));
  if (step.timed()) {
    std::printf(
        "step     p50 %s  p95 %s | kernels %s  copies %s  gaps %s, %s of them at barriers | in %s  out %s\n",
        time_text(step.device.p50).c_str(), time_text(step.device.p95).c_str(), percent(step.kernels).c_str(),
        percent(step.copies).c_str(), time_text(step.gaps * step.device.p50).c_str(),
        time_text(step.waits * step.device.p50).c_str(), time_text(step.copied_in.p50).c_str(),
        time_text(step.copied_out.p50).c_str());
  } else {
    std::printf("step     p50 %s  p95 %s, by the host's clock from submission to end\n",
                time_text(step.host.p50).c_str(), time_text(step.host.p95).c_str());
  }
  std::printf("         forward %s  backward %s  optimizer %s", percent(step.phases[0]).c_str(),
              percent(step.phases[1]).c_str(), percent(step.phases[2]).c_str());
  if (step.of_peak_flops)
    std::printf(" | %s of peak fp32, %s of peak memory", percent(*step.of_peak_flops).c_str(),
                percent(*step.of_peak_bytes).c_str());
  std::printf(" | %s (%zu of them for reuse of memory, %zu needless)\n",
              times(step.barriers, "barrier").c_str(), step.reuse_barriers, step.needless.size());
  const std::vector<uint64_t> live = live_bytes(program);
  std::printf(
      "memory   planned %s: %s intermediate (at most %s alive), %s variables, %s constants, %s transfers",
      format_bytes(program.arena_bytes + program.variable_bytes + program.constant_bytes +
                   program.transfer_bytes)
          .c_str(),
      format_bytes(program.arena_bytes).c_str(),
      format_bytes(live.empty() ? 0 : *std::ranges::max_element(live)).c_str(),
      format_bytes(program.variable_bytes).c_str(), format_bytes(program.constant_bytes).c_str(),
      format_bytes(program.transfer_bytes).c_str());
  if (profile.allocated_bytes)
    std::printf(" | the process held %s of %s", format_bytes(profile.allocated_bytes).c_str(),
                format_bytes(profile.heap_bytes).c_str());
  std::printf("\nhost     copies a batch in %s, submits in %s%s\n", time_text(step.host_copy.p50).c_str(),
              time_text(step.submit.p50).c_str(),
              step.timed() && step.host_copy.p50 + step.submit.p50 < step.device.p50
                  ? ": hidden behind the step before"
                  : "");
  for (size_t i : step.needless)
    std::printf("needless barrier before call %zu, %s %s\n", i + 1, program.calls[i].op.c_str(),
                program.calls[i].layer.c_str());
}

std::string versus(const Change& change) {
  if (change.before == 0) return "new";
  return signed_percent(change.ratio - 1) + (change.slower ? " !" : "");
}

std::string with_phase(const Row& row) {
  const std::string op = row.op.empty() ? "(several)" : row.op;
  return row.phase.empty() ? op : cat(op, " [", row.phase, "]");
}

// What a row is, in the view's words, and the heads of these columns.
std::vector<std::string> titles_of(View view) {
  switch (view) {
    case View::op: return {"op [phase]", "layer", "kernel / candidate"};
    case View::layer: return {"layer"};
    case View::kernel: return {"kernel / constants", "op [phase]", "layer"};
    case View::call: return {"call: op [phase]", "layer", "kernel / candidate", "shapes"};
  }
  return {};
}
std::vector<std::string> texts_of(View view, const Row& row) {
  const std::string layer = row.layer.empty() ? "-" : row.layer;
  const auto kernel = [&](const std::string& variant) {
    return row.kernel.empty() ? "(several)" : cat(row.kernel, variant.empty() ? "" : " ", variant);
  };
  switch (view) {
    case View::op: return {with_phase(row), layer, kernel(row.choice)};
    case View::layer: return {layer};
    case View::kernel: return {kernel(row.variant), with_phase(row), layer};
    case View::call:
      return {cat(row.calls[0] + 1, ": ", with_phase(row)), layer, kernel(row.choice), row.shapes};
  }
  return {};
}

void print_rows(const std::vector<Row>& rows, const std::vector<Change>& changes, const Analysis& a,
                const ReportOptions& options) {
  std::vector<std::string> header = titles_of(options.view);
  const size_t texts = header.size();
  for (const char* title :
       {"calls", "p50 us", "p95 us", "%step", "alone us", "GFLOP/s", "GB/s", "FLOP/B", "bound", "%roof"})
    header.push_back(title);
  const std::vector<size_t> counters = counters_shown(a, options.counters);
  for (size_t counter : counters) header.push_back(title_of(a.profile->counters->counters[counter]));
  if (!changes.empty()) header.push_back("vs base");
  Table table(std::move(header), texts);
  const size_t shown = options.top ? std::min(options.top, rows.size()) : rows.size();
  for (size_t i = 0; i < shown; ++i) {
    const Row& row = rows[i];
    std::vector<std::string> line = texts_of(options.view, row);
    line.push_back(cat(row.calls.size()));
    const bool timed = row.time.samples > 0;
    line.push_back(timed ? significant(row.time.p50 * 1e-3) : "-");
    line.push_back(timed ? significant(row.time.p95 * 1e-3) : "-");
    line.push_back(timed ? printed("%.1f", 100 * row.share) : "-");
    line.push_back(row.isolated > 0 && !a.by_host ? significant(row.isolated * 1e-3) : "-");
    line.push_back(row.gflops > 0 ? significant(row.gflops) : "-");
    line.push_back(row.gbs > 0 ? significant(row.gbs) : "-");
    line.push_back(row.intensity && *row.intensity > 0 ? significant(*row.intensity) : "-");
    line.push_back(row.bound.empty() ? "-" : row.bound);
    line.push_back(row.roof_share ? printed("%.0f", 100 * *row.roof_share) : "-");
    for (size_t counter : counters) {
      const std::optional<double> value = counter_of(a, row, counter);
      line.push_back(value ? significant(*value) : "-");
    }
    if (!changes.empty()) line.push_back(versus(changes[i]));
    table.add(std::move(line));
  }
  std::printf("\n");
  table.print();
  if (shown < rows.size()) {
    double rest = 0;
    for (size_t i = shown; i < rows.size(); ++i) rest += rows[i].share;
    std::printf("and %s with %s of the step (--top 0 shows all)\n",
                times(rows.size() - shown, "line").c_str(), percent(rest).c_str());
  }
}

void print_end(const Analysis& a) {
  const StepFigures& step = a.step;
  std::printf("\n");
  if (step.timed() && a.program->rounds > 0) {
    std::printf(
        "coverage kernels %s, copies %s and waits at barriers %s are %s of the step; profiling cost %s\n"
        "         (quartiles %s apart)\n",
        percent(step.kernels).c_str(), percent(step.copies).c_str(), percent(step.waits).c_str(),
        percent(step.kernels + step.copies + step.waits).c_str(), percent(step.cost).c_str(),
        percent(step.cost_spread).c_str());
  } else if (step.timed()) {
    std::printf(
        "coverage kernels %s and copies %s of the step; too few runs for a round, which would tell what\n"
        "         profiling cost: more steps, or --warmup 0\n",
        percent(step.kernels).c_str(), percent(step.copies).c_str());
  } else {
    std::printf(
        "coverage not known: this device writes no timestamps; each kernel was timed by the host, alone, "
        "with its submission\n");
  }
  std::printf("%s\n", counters_line(a).c_str());
  for (const std::string& line : advice_of(a)) std::printf("advice   %s\n", line.c_str());
}

Json json_of(const Quantiles& q) {
  if (q.samples == 0) return nullptr;
  return {{"p50", q.p50}, {"p95", q.p95}, {"samples", q.samples}};
}
Json known(double value) { return std::isfinite(value) ? Json(value) : Json(); }

}  // namespace

Change compare(const Quantiles& now, const Quantiles& before, double threshold) {
  Change change{.before = before.p50};
  if (before.p50 <= 0 || now.samples == 0) return change;
  change.ratio = now.p50 / before.p50;
  change.slower = change.ratio > 1 + threshold && now.p25 > before.p75;
  change.faster = change.ratio < 1 / (1 + threshold) && now.p75 < before.p25;
  return change;
}

namespace {

using CallKey = std::vector<std::string>;

// The calls of a program by what they compute and where, equal ones numbered.
std::map<CallKey, size_t> calls_by_key(const ProfiledProgram& program) {
  std::map<CallKey, size_t> keys;
  std::map<CallKey, size_t> equal;
  for (size_t i = 0; i < program.calls.size(); ++i) {
    const ProfiledCall& call = program.calls[i];
    CallKey key{op_of(call), std::string(name_of(call.phase)), call.layer, call.shapes};
    const size_t n = equal[key]++;
    key.push_back(cat(n));
    keys[std::move(key)] = i;
  }
  return keys;
}

}  // namespace

std::optional<Quantiles> before_of(const Row& row, const Analysis& now, const Analysis& before) {
  const std::map<CallKey, size_t> old = calls_by_key(*before.program);
  std::map<size_t, size_t> places;  // of the calls of now
  for (const auto& [key, i] : calls_by_key(*now.program))
    if (const auto found = old.find(key); found != old.end()) places[i] = found->second;
  std::vector<double> sums(before.rounds.size());
  for (size_t call : row.calls) {
    const auto found = places.find(call);
    if (found == places.end()) return {};
    for (size_t round = 0; round < sums.size(); ++round) sums[round] += before.rounds[round][found->second];
  }
  const Quantiles result = quantiles_of(std::move(sums));
  return result.samples ? std::optional(result) : std::nullopt;
}

std::string to_jsonl(const Analysis& a) {
  const Profile& profile = *a.profile;
  const StepFigures& step = a.step;
  const auto dumped = [](const Json& json) {
    return json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
  };
  Json counters = Json::array();
  if (profile.counters)
    for (const vk::Counter& c : profile.counters->counters)
      counters.push_back(
          {{"name", c.name}, {"category", c.category}, {"unit", c.unit}, {"description", c.description}});
  std::string text =
      dumped({{"profile", a.program->name},
              {"command", profile.command},
              {"device", profile.device},
              {"driver", cat(profile.driver, " ", profile.driver_info)},
              {"peak_gflops", profile.peaks ? Json(profile.peaks->flops * 1e-9) : Json()},
              {"peak_gbs", profile.peaks ? Json(profile.peaks->bytes_per_second * 1e-9) : Json()},
              {"timestamps", step.timed()},
              {"step_ns", json_of(step.timed() ? step.device : step.host)},
              {"copy_in_ns", json_of(step.copied_in)},
              {"copy_out_ns", json_of(step.copied_out)},
              {"host_copy_ns", json_of(step.host_copy)},
              {"submit_ns", json_of(step.submit)},
              {"kernels_share", known(step.kernels)},
              {"copies_share", known(step.copies)},
              {"cost_share", known(step.cost)},
              {"barriers", step.barriers},
              {"reuse_barriers", step.reuse_barriers},
              {"needless_barriers", step.needless.size()},
              {"counters", counters},
              {"planned_bytes", a.program->arena_bytes + a.program->variable_bytes +
                                    a.program->constant_bytes + a.program->transfer_bytes}});
  const std::vector<uint64_t> live = live_bytes(*a.program);
  std::vector<Row> rows = rows_of(a, View::call);
  std::ranges::sort(rows, {}, [](const Row& row) { return row.calls[0]; });
  for (const Row& row : rows) {
    const ProfiledCall& call = a.program->calls[row.calls[0]];
    Json counted = Json::array();
    if (!a.program->counters.empty())
      for (double value : a.program->counters[row.calls[0]]) counted.push_back(known(value));
    text += dumped({{"call", row.calls[0] + 1},
                    {"op", row.op},
                    {"phase", row.phase},
                    {"layer", call.layer},
                    {"kernel", row.kernel},
                    {"variant", row.variant},
                    {"dtype", call.dtype},
                    {"shapes", call.shapes},
                    {"groups", call.groups},
                    {"ns", json_of(row.time)},
                    {"isolated_ns", json_of(a.calls[row.calls[0]].isolated)},
                    {"share", row.share},
                    {"flops", call.flops},
                    {"bytes", call.bytes},
                    {"gflops", row.gflops},
                    {"gbs", row.gbs},
                    {"bound", row.bound},
                    {"roof_share", row.roof_share ? Json(*row.roof_share) : Json()},
                    {"live_bytes", live[row.calls[0]]},
                    {"counters", counted}});
  }
  return text;
}

int report(const Profile& profile, const Profile* baseline, const ReportOptions& options) {
  const Analysis analysis = analyse(profile, options.program);
  std::optional<Analysis> before;
  if (baseline) {
    before = analyse(*baseline, options.program);
    if (baseline->device != profile.device || baseline->driver_info != profile.driver_info)
      std::fprintf(stderr, "%s was measured on another device or driver: %s (%s)\n",
                   options.baseline->c_str(), baseline->device.c_str(), baseline->driver_info.c_str());
  }
  if (options.jsonl) write_file_atomically(*options.jsonl, to_jsonl(analysis));
  if (options.perfetto) write_file_atomically(*options.perfetto, to_perfetto(analysis));
  if (options.html) write_file_atomically(*options.html, to_html(analysis));

  const std::vector<Row> rows = rows_of(analysis, options.view, options.filter);
  if (rows.empty())
    throw Error("stithy profile", "no call is of the filters' patterns", "--top 0 --by call shows all");
  std::vector<Change> changes;
  std::vector<std::string> slower;
  if (before) {
    for (const Row& row : rows) {
      const std::optional<Quantiles> old = before_of(row, analysis, *before);
      changes.push_back(old ? compare(row.time, *old, options.threshold) : Change{});
      if (changes.back().slower && row.share >= kNotable)
        slower.push_back(cat(row.op.empty() ? row.kernel : row.op, row.layer.empty() ? "" : " in ", row.layer,
                             ": ", time_text(changes.back().before), " -> ", time_text(row.time.p50)));
    }
    const bool timed = analysis.step.timed() && before->step.timed();
    const Change step = compare(timed ? analysis.step.device : analysis.step.host,
                                timed ? before->step.device : before->step.host, options.threshold);
    if (step.slower)
      slower.insert(slower.begin(),
                    cat("the step: ", time_text(step.before), " -> ", time_text(step.before * step.ratio)));
  }
  print_step(analysis);
  print_rows(rows, changes, analysis, options);
  print_targets(profile.targets, options.top);
  print_end(analysis);
  if (!before) return 0;
  for (const std::string& line : slower) std::printf("slower   %s\n", line.c_str());
  std::printf("%s slower than %s by more than %s\n",
              slower.empty() ? "nothing is" : times(slower.size(), "figure").c_str(),
              options.baseline->c_str(), percent(options.threshold).c_str());
  return slower.empty() ? 0 : 3;
}

}  // namespace stithy::profiling

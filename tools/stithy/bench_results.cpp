#include "tools/stithy/bench_results.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <sstream>

#include "engine/core/error.h"
#include "tools/stithy/numbers.h"

namespace stithy::measure {
namespace {

using Json = nlohmann::ordered_json;

// Four figures are more than a measurement of time is worth.
double rounded(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.4g", value);
  return std::strtod(text, nullptr);
}

}  // namespace

Timing timing_of(std::vector<double> samples) {
  if (samples.empty()) throw Error("bench", "nothing was measured");
  std::sort(samples.begin(), samples.end());
  Timing timing{.median = quantile(samples, 0.5), .best = samples.front(), .samples = samples.size()};
  if (timing.median > 0) timing.spread = (quantile(samples, 0.75) - quantile(samples, 0.25)) / timing.median;
  return timing;
}

double median_of(std::vector<double> samples) { return timing_of(std::move(samples)).median; }

std::string to_json(const Machine& machine) {
  return Json{{"device", machine.device},
              {"driver", machine.driver},
              {"peak_gflops", rounded(machine.peak_gflops)},
              {"peak_gbs", rounded(machine.peak_gbs)},
              {"blas", machine.blas.empty() ? Json() : Json(machine.blas)},
              {"blas_threads", machine.blas_threads}}
      .dump();
}

std::string to_json(const Result& result, const std::optional<Comparison>& comparison) {
  Json line{{"op", result.op},
            {"shape", result.shape},
            {"dtype", result.dtype},
            {"ms", rounded(result.ms.median)},
            {"best_ms", rounded(result.ms.best)},
            {"spread", rounded(result.ms.spread)},
            {"samples", result.ms.samples},
            {"timer", result.timer},
            {"gflops", rounded(result.gflops)},
            {"gbs", rounded(result.gbs)},
            {"peak_share", rounded(result.peak_share)},
            {"bound", result.bound}};
  if (result.ratio_blas) line["ratio_blas"] = rounded(*result.ratio_blas);
  if (result.blas_ms) line["blas_ms"] = rounded(*result.blas_ms);
  if (comparison && comparison->change != Change::added) line["speedup"] = rounded(comparison->speedup);
  if (const auto& w = result.workload) {
    line["items_per_second"] = rounded(w->items_per_second);
    line["unit"] = w->unit;
    line["back_to_back_ms"] = rounded(w->back_to_back_ms);
    line["submissions"] = w->submissions;
    line["dispatches"] = w->dispatches;
    line["barriers"] = w->barriers;
    line["submit_us"] = rounded(w->submit_us);
    line["peak_bytes"] = w->peak_bytes;
  }
  return line.dump();
}

EarlierRun parse_results(const std::string& text, const std::string& where) {
  EarlierRun run;
  std::istringstream lines(text);
  std::string line;
  const std::string way_out = "give --compare what stithy bench --json wrote";
  for (int number = 1; std::getline(lines, line); ++number) {
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    const Json object = Json::parse(line, nullptr, false);
    if (!object.is_object()) throw Error(where, cat("line ", number, " is no JSON object"), way_out);
    if (object.contains("device") && object["device"].is_string()) run.device = object["device"];
    if (!object.contains("op")) continue;
    const auto text_of = [&](const char* key) {
      if (!object.contains(key) || !object[key].is_string())
        throw Error(where, cat("line ", number, " has no text \"", key, "\""), way_out);
      return object[key].get<std::string>();
    };
    const auto number_of = [&](const char* key, double low) {
      const double value =
          object.contains(key) && object[key].is_number() ? object[key].get<double>() : std::nan("");
      if (!(value >= low) || !std::isfinite(value))
        throw Error(where, cat("line ", number, " has no number \"", key, "\""), way_out);
      return value;
    };
    run.results.push_back(
        {text_of("op"), text_of("shape"), text_of("dtype"), number_of("ms", 1e-12), number_of("spread", 0)});
  }
  if (run.results.empty()) throw Error(where, "holds no result", way_out);
  return run;
}

Comparison compare(const Result& now, const EarlierRun& earlier) {
  const auto found = std::find_if(earlier.results.begin(), earlier.results.end(), [&](const Earlier& e) {
    return e.op == now.op && e.shape == now.shape && e.dtype == now.dtype;
  });
  if (found == earlier.results.end()) return {};
  const double speedup = found->ms / now.ms.median;
  const double noise = 1 + std::max(0.03, found->spread + now.ms.spread);
  return {speedup, speedup > noise ? Change::faster : speedup < 1 / noise ? Change::slower : Change::same};
}

}  // namespace stithy::measure

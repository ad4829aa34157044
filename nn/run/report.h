// report.html: what a run was and what came of it, in one file without external resources, for light and
// dark screens of any width. All text is escaped.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "nn/metrics.h"
#include "nn/run/chart.h"
#include "nn/run/run_folder.h"

namespace stithy {

struct ReportPicture {
  Array pixels;  // u8 [height, width] or [height, width, 3]
  std::string predicted, actual;
  double confidence = -1;  // 0 to 1; negative: not shown
};

// A large picture, over the whole width of the page.
struct ReportFigure {
  std::string name, caption;
  std::string png;  // the file's bytes: encode_png() or encode_apng()
};

struct ReportTable {
  std::string title;
  std::vector<std::string> header;
  std::vector<std::vector<std::string>> rows;
};

struct Report {
  std::string title, summary;                               // "mnist_mlp", "784-256-10 on an RX 7800 XT"
  std::vector<std::pair<std::string, std::string>> result;  // shown large: {"test accuracy", "98.4 %"}
  std::vector<ReportFigure> figures;
  std::vector<Chart> charts;
  std::optional<ConfusionMatrix> confusion;
  std::vector<std::string> class_names;  // of the confusion matrix; empty: 0, 1, 2 ...
  std::vector<ReportPicture> pictures;
  std::vector<std::pair<std::string, std::string>> samples;  // {prompt or caption, generated text}
  std::vector<ReportTable> tables;                           // layers, for one
  Config config;
};

// A chart of the named metrics over steps; rows without a name are skipped for it.
Chart metrics_chart(const std::vector<MetricsRow>& rows, const std::string& title,
                    const std::vector<std::pair<std::string, std::string>>& metric_and_name);

std::string render_report(const Report& report);
// The look of the report, a <style> element, for pages that share it.
std::string_view report_style();
void write_report(const std::string& path, const Report& report);

}  // namespace stithy

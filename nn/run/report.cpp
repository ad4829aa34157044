#include "nn/run/report.h"

#include <algorithm>
#include <cmath>

#include "engine/core/error.h"
#include "engine/core/file.h"
#include "nn/run/png.h"
#include "nn/run/progress.h"

namespace stithy {
namespace {

constexpr const char* kStyle = R"(<style>
:root{color-scheme:light dark;--page:#f6f7f9;--card:#fff;--ink:#1b2330;--soft:#647084;--rule:#e3e7ed;--good:#15803d;--bad:#c62b2b;
--heat:37,99,235;--miss:214,64,50;--line-0:#2563eb;--line-1:#d97706;--line-2:#0d9488;--line-3:#9333ea}
@media(prefers-color-scheme:dark){:root{--page:#0f131a;--card:#181e28;--ink:#e6eaf1;--soft:#93a0b4;--rule:#2a3342;--good:#4ade80;--bad:#f87171;
--heat:59,130,246;--miss:239,83,70;--line-0:#6aa5ff;--line-1:#f5b04c;--line-2:#3fd0bf;--line-3:#c792fb}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:1040px;margin:0 auto;padding:28px 18px 48px}
h1{margin:0;font-size:26px;letter-spacing:-.01em;overflow-wrap:anywhere}
h2{margin:0 0 12px;font-size:16px}
.summary{margin:2px 0 0;color:var(--soft);overflow-wrap:anywhere}
section{background:var(--card);border:1px solid var(--rule);border-radius:12px;padding:18px;margin-top:18px}
.result{display:flex;flex-wrap:wrap;gap:14px 44px}
.result b{display:block;font-size:28px;line-height:1.2;font-weight:650;font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
.result span,.note{color:var(--soft);font-size:13px}
.note{margin:10px 0 0}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,400px),1fr));gap:18px}
svg{display:block;width:100%;height:auto;font-family:inherit}
svg .head{font-size:14px;font-weight:600;fill:var(--ink)}
svg .tick{font-size:11px;fill:var(--soft)}
svg .name{font-size:12px;fill:var(--ink)}
svg .last{font-size:12px;font-weight:600}
svg .grid{stroke:var(--rule);fill:none}
svg .axis{stroke:var(--soft);fill:none}
svg .line{fill:none;stroke-width:1.8;stroke-linejoin:round;stroke-linecap:round}
.wide{overflow-x:auto}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:14px}
.plain{width:100%}
.plain th,.plain td{text-align:left;padding:5px 14px 5px 0;border-bottom:1px solid var(--rule);overflow-wrap:anywhere}
.plain th{color:var(--soft);font-weight:500;font-size:13px}
.wide .plain th,.wide .plain td{overflow-wrap:break-word}
.plain tr:last-child td,.plain tr:last-child th{border-bottom:0}
.plain td.n,.plain th.n{text-align:right;white-space:nowrap}
.matrix{margin:0 auto}
.matrix td,.matrix th{width:46px;min-width:30px;height:34px;padding:0 4px;text-align:center;border:2px solid var(--card);border-radius:6px}
.matrix th{color:var(--soft);font-weight:500;font-size:13px}
.matrix .hi{color:#fff}
.matrix .no{color:var(--rule)}
.matrix .side{text-align:right;padding-left:14px;white-space:nowrap}
.pictures{display:grid;grid-template-columns:repeat(auto-fill,minmax(76px,1fr));gap:12px}
figure{margin:0;text-align:center;font-size:13px;min-width:0}
figure img{width:100%;aspect-ratio:1;object-fit:contain;image-rendering:pixelated;border-radius:8px;background:#000;display:block}
.large{margin:0 0 18px}
.large:last-child{margin:0}
.large img{aspect-ratio:auto;background:none}
.large figcaption{margin-top:8px;text-align:left;color:var(--soft)}
figcaption{margin-top:3px;overflow-wrap:anywhere;line-height:1.35}
.good{color:var(--good);font-weight:600}
.bad{color:var(--bad);font-weight:600}
.bad+span,.good+span{color:var(--soft)}
figure .wrong{outline:2px solid var(--bad);outline-offset:1px}
pre{margin:0 0 14px;padding:12px 14px;background:var(--page);border-radius:8px;white-space:pre-wrap;overflow-wrap:anywhere;font:13px/1.5 ui-monospace,Menlo,Consolas,monospace}
@media(max-width:600px){main{padding:18px 10px 32px}section{padding:14px 12px}.result b{font-size:24px}
.matrix{font-size:12px}.matrix td,.matrix th{width:26px;min-width:22px;height:28px;padding:0 1px;border-width:1px}.matrix .side{padding-left:6px}}
</style>
)";

std::string fixed(double value, int digits) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

std::string section(const std::string& title, const std::string& body) {
  return cat("<section><h2>", escape_html(title), "</h2>\n", body, "</section>\n");
}

std::string confusion_html(const ConfusionMatrix& matrix, const std::vector<std::string>& names) {
  const int n = matrix.classes();
  const auto name = [&](int c) {
    return escape_html(names.empty() ? std::to_string(c) : names[static_cast<size_t>(c)]);
  };
  int64_t worst = 1;
  std::vector<int64_t> row_total(static_cast<size_t>(n));
  for (int t = 0; t < n; ++t)
    for (int p = 0; p < n; ++p) {
      row_total[static_cast<size_t>(t)] += matrix.count(t, p);
      if (t != p) worst = std::max(worst, matrix.count(t, p));
    }
  std::string html = "<div class=\"wide\"><table class=\"matrix\"><tr><th></th>";
  for (int p = 0; p < n; ++p) html += cat("<th scope=\"col\">", name(p), "</th>");
  html += "<th class=\"side\">recall</th></tr>\n";
  for (int t = 0; t < n; ++t) {
    html += cat("<tr><th scope=\"row\">", name(t), "</th>");
    for (int p = 0; p < n; ++p) {
      const int64_t count = matrix.count(t, p);
      if (count == 0) {
        html += "<td class=\"no\">&#183;</td>";
        continue;
      }
      // The diagonal is shaded by recall, the errors by the most frequent error: both can be told apart.
      const double share =
          t == p ? static_cast<double>(count) / static_cast<double>(row_total[static_cast<size_t>(t)])
                 : static_cast<double>(count) / static_cast<double>(worst);
      const double shade = t == p ? 0.15 + 0.75 * share * share : 0.12 + 0.68 * share;
      html += cat("<td", shade > 0.6 ? " class=\"hi\"" : "", " style=\"background:rgba(var(--",
                  t == p ? "heat" : "miss", "),", fixed(shade, 2), ")\">", count, "</td>");
    }
    html +=
        cat("<th class=\"side\">",
            row_total[static_cast<size_t>(t)] ? fixed(100 * matrix.recall(t), 1) + " %" : "", "</th></tr>\n");
  }
  return html +
         cat("</table></div><p class=\"note\">A row is an actual class, a column a predicted one. Accuracy ",
             matrix.total() ? fixed(100 * matrix.accuracy(), 2) : "?", " % of ", matrix.total(),
             ", macro F1 ", format_number(matrix.macro_f1(), 4), ".</p>");
}

std::string pictures_html(const std::vector<ReportPicture>& pictures) {
  std::string html = "<div class=\"pictures\">\n";
  for (const ReportPicture& picture : pictures) {
    const bool right = picture.predicted == picture.actual;
    html += cat("<figure><img", right ? "" : " class=\"wrong\"", " src=\"", png_data_uri(picture.pixels),
                "\" alt=\"", escape_html(picture.actual), "\"><figcaption><span class=\"",
                right ? "good\">&#10003; " : "bad\">&#10007; ", escape_html(picture.predicted),
                "</span><span>", right ? "" : cat(" is ", escape_html(picture.actual)),
                picture.confidence >= 0 ? cat(" ", fixed(100 * picture.confidence, 0), "%") : "",
                "</span></figcaption></figure>\n");
  }
  return html + "</div>";
}

// Columns that hold numbers in every row are set flush right.
std::string table_html(const ReportTable& table) {
  const auto numeric = [](const std::string& cell) {
    return cell.empty() || cell.find_first_of("0123456789") == 0 || (cell[0] == '-' && cell.size() > 1) ||
           cell == "-";
  };
  std::vector<bool> right(table.header.size(), !table.rows.empty());
  for (const auto& row : table.rows) {
    if (row.size() != table.header.size())
      throw Error("report", cat("a row of table '", table.title, "' has ", row.size(),
                                " cells, its header has ", table.header.size()));
    for (size_t c = 0; c < row.size(); ++c) right[c] = right[c] && numeric(row[c]);
  }
  const auto cell = [&](const char* tag, size_t c, const std::string& text) {
    return cat("<", tag, right[c] ? " class=\"n\">" : ">", escape_html(text), "</", tag, ">");
  };
  std::string html = "<div class=\"wide\"><table class=\"plain\"><tr>";
  for (size_t c = 0; c < table.header.size(); ++c) html += cell("th", c, table.header[c]);
  html += "</tr>\n";
  for (const auto& row : table.rows) {
    html += "<tr>";
    for (size_t c = 0; c < row.size(); ++c) html += cell("td", c, row[c]);
    html += "</tr>\n";
  }
  return html + "</table></div>";
}

}  // namespace

Chart metrics_chart(const std::vector<MetricsRow>& rows, const std::string& title,
                    const std::vector<std::pair<std::string, std::string>>& metric_and_name) {
  Chart chart{title, "step", {}};
  for (const auto& [metric, name] : metric_and_name) {
    ChartLine line{name, {}};
    for (const MetricsRow& row : rows)
      for (const auto& [key, value] : row.values)
        if (key == metric) line.points.emplace_back(static_cast<double>(row.step), value);
    chart.lines.push_back(std::move(line));
  }
  return chart;
}

std::string_view report_style() { return kStyle; }

std::string render_report(const Report& report) {
  if (report.confusion && !report.class_names.empty() &&
      report.class_names.size() != static_cast<size_t>(report.confusion->classes()))
    throw Error("report",
                cat(report.class_names.size(), " class names for ", report.confusion->classes(), " classes"));
  std::string html =
      cat("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n",
          "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n",
          // A second lock: should an escape ever be missing, the page still runs and loads nothing.
          "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none';img-src data:;style-src "
          "'unsafe-inline'\">\n",
          "<title>", escape_html(report.title), "</title>\n", kStyle, "</head><body><main>\n<h1>",
          escape_html(report.title), "</h1>\n");
  if (!report.summary.empty()) html += cat("<p class=\"summary\">", escape_html(report.summary), "</p>\n");
  if (!report.result.empty()) {
    html += "<section class=\"result\">";
    for (const auto& [name, value] : report.result)
      html += cat("<div><b>", escape_html(value), "</b><span>", escape_html(name), "</span></div>");
    html += "</section>\n";
  }
  if (!report.figures.empty()) {
    html += "<section>";
    for (const ReportFigure& figure : report.figures)
      html += cat("<figure class=\"large\"><img src=\"data:image/png;base64,", base64(figure.png),
                  "\" alt=\"", escape_html(figure.caption), "\"><figcaption>", escape_html(figure.caption),
                  "</figcaption></figure>\n");
    html += "</section>\n";
  }
  if (!report.charts.empty()) {
    html += "<section><div class=\"charts\">\n";
    for (const Chart& chart : report.charts) html += cat("<div>", chart_svg(chart), "</div>");
    html += "</div></section>\n";
  }
  if (!report.pictures.empty()) html += section("Predictions", pictures_html(report.pictures));
  if (!report.samples.empty()) {
    std::string body;
    for (const auto& [caption, text] : report.samples)
      body += cat("<p class=\"note\">", escape_html(caption), "</p><pre>", escape_html(text), "</pre>\n");
    html += section("Samples", body);
  }
  if (report.confusion)
    html += section("Confusion matrix", confusion_html(*report.confusion, report.class_names));
  for (const ReportTable& table : report.tables) html += section(table.title, table_html(table));
  if (!report.config.empty()) {
    std::string body = "<table class=\"plain\">";
    for (const auto& [name, value] : report.config)
      body +=
          cat("<tr><th scope=\"row\">", escape_html(name), "</th><td>", escape_html(value), "</td></tr>\n");
    html += section("Config", body + "</table>");
  }
  return html + "</main></body></html>\n";
}

void write_report(const std::string& path, const Report& report) {
  write_file_atomically(path, render_report(report));
}

}  // namespace stithy

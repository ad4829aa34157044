#include "nn/run/chart.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "engine/core/error.h"
#include "nn/run/progress.h"

namespace stithy {
namespace {

constexpr double kWidth = 450, kHeight = 270, kLeft = 46, kRight = 74, kTop = 34, kBottom = 36;
constexpr size_t kMostPoints = 600;
constexpr int kColours = 4;

std::string px(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f", value);
  return text;
}

std::string tick_text(double value, double step) {
  const double size = std::abs(value);
  if (size >= 10000) return format_count(value);
  if (size != 0 && step < 1e-4) return format_number(value, 2);
  char text[48];
  const int digits = std::clamp(static_cast<int>(std::ceil(-std::log10(step) - 1e-9)), 0, 6);
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

// The lowest and highest point of each bucket: a spike stays visible.
std::vector<std::pair<double, double>> thinned(const std::vector<std::pair<double, double>>& points) {
  if (points.size() <= kMostPoints) return points;
  std::vector<std::pair<double, double>> kept;
  const size_t buckets = kMostPoints / 2;
  for (size_t b = 0; b < buckets; ++b) {
    const auto begin = points.begin() + static_cast<std::ptrdiff_t>(points.size() * b / buckets);
    const auto end = points.begin() + static_cast<std::ptrdiff_t>(points.size() * (b + 1) / buckets);
    const auto by_y = [](const auto& p, const auto& q) { return p.second < q.second; };
    auto low = begin, high = begin;
    for (auto p = begin; p != end; ++p) {
      if (!std::isfinite(p->second)) continue;
      if (!std::isfinite(low->second) || by_y(*p, *low)) low = p;
      if (!std::isfinite(high->second) || by_y(*high, *p)) high = p;
    }
    kept.push_back(*std::min(low, high));
    if (low != high) kept.push_back(*std::max(low, high));
  }
  if (kept.back() != points.back()) kept.push_back(points.back());
  return kept;
}

}  // namespace

std::string escape_html(std::string_view text) {
  std::string result;
  for (char c : text) switch (c) {
      case '&': result += "&amp;"; break;
      case '<': result += "&lt;"; break;
      case '>': result += "&gt;"; break;
      case '"': result += "&quot;"; break;
      case '\'': result += "&#39;"; break;
      default:
        if ((static_cast<unsigned char>(c) < ' ' && c != '\n' && c != '\t') || c == 0x7f)
          result += "&#xfffd;";
        else
          result += c;
    }
  return result;
}

std::vector<double> ticks(double low, double high, int count) {
  if (!(high > low) || !std::isfinite(high - low) || count < 1) return {};
  const double rough = (high - low) / count, power = std::pow(10, std::floor(std::log10(rough)));
  const double step = power * (rough / power < 1.5   ? 1
                               : rough / power < 3.5 ? 2
                               : rough / power < 7.5 ? 5
                                                     : 10);
  std::vector<double> result;
  for (double k = std::ceil(low / step - 1e-9); k * step <= high + step * 1e-9 && result.size() < 100; ++k)
    result.push_back(k * step + 0.0);  // + 0.0: no -0
  return result;
}

std::string chart_svg(const Chart& chart) {
  double x0 = INFINITY, x1 = -INFINITY, y0 = INFINITY, y1 = -INFINITY;
  for (const ChartLine& line : chart.lines)
    for (const auto& [x, y] : line.points)
      if (std::isfinite(x) && std::isfinite(y))
        x0 = std::min(x0, x), x1 = std::max(x1, x), y0 = std::min(y0, y), y1 = std::max(y1, y);
  std::string svg = cat("<svg viewBox=\"0 0 ", kWidth, " ", kHeight, "\" role=\"img\" aria-label=\"",
                        escape_html(chart.title), "\"><text class=\"head\" x=\"", kLeft, "\" y=\"16\">",
                        escape_html(chart.title), "</text>");
  if (!(x0 <= x1))
    return svg + cat("<text class=\"tick\" x=\"", kLeft, "\" y=\"", kHeight / 2, "\">no data</text></svg>\n");
  if (x0 == x1) x0 -= 0.5, x1 += 0.5;
  const double margin = y0 == y1 ? std::max(std::abs(y0) * 0.1, 1e-6) : (y1 - y0) * 0.06;
  // Losses and accuracies do not go below 0: neither does their axis.
  y0 = y0 >= 0 ? std::max(0.0, y0 - margin) : y0 - margin;
  y1 += margin;
  const double right = kWidth - kRight, bottom = kHeight - kBottom;
  const auto sx = [&](double x) { return kLeft + (x - x0) / (x1 - x0) * (right - kLeft); };
  const auto sy = [&](double y) { return bottom - (y - y0) / (y1 - y0) * (bottom - kTop); };

  const std::vector<double> ty = ticks(y0, y1, 5), tx = ticks(x0, x1, 6);
  for (double y : ty)
    svg += cat("<path class=\"grid\" d=\"M", kLeft, " ", px(sy(y)), "H", right,
               "\"/><text class=\"tick\" text-anchor=\"end\" x=\"", kLeft - 7, "\" y=\"", px(sy(y) + 4),
               "\">", tick_text(y, ty.size() > 1 ? ty[1] - ty[0] : 1), "</text>");
  for (double x : tx)
    svg += cat("<path class=\"axis\" d=\"M", px(sx(x)), " ", bottom,
               "v4\"/><text class=\"tick\" text-anchor=\"middle\" x=\"", px(sx(x)), "\" y=\"", bottom + 17,
               "\">", tick_text(x, tx.size() > 1 ? tx[1] - tx[0] : 1), "</text>");
  svg += cat("<path class=\"axis\" d=\"M", kLeft, " ", bottom, "H", right,
             "\"/><text class=\"tick\" text-anchor=\"end\" x=\"", right, "\" y=\"", kHeight - 5, "\">",
             escape_html(chart.x_label), "</text>");

  struct Label {
    double y;
    size_t line;
    std::string text;
  };
  std::vector<Label> labels;
  double legend_x = right;
  for (size_t i = chart.lines.size(); i-- > 0;)
    legend_x -= 24 + 6.4 * static_cast<double>(chart.lines[i].name.size());
  for (size_t i = 0; i < chart.lines.size(); ++i) {
    const ChartLine& line = chart.lines[i];
    const std::string colour = cat("var(--line-", i % kColours, ")");
    std::string path, dots;
    bool drawing = false;
    const std::pair<double, double>* last = nullptr;
    const auto points = thinned(line.points);
    for (const auto& point : points) {
      const bool visible = std::isfinite(point.first) && std::isfinite(point.second);
      if (visible) {
        path += cat(drawing ? "L" : "M", px(sx(point.first)), " ", px(sy(point.second)));
        if (points.size() <= 30)
          dots += cat("<circle cx=\"", px(sx(point.first)), "\" cy=\"", px(sy(point.second)),
                      "\" r=\"2.6\" fill=\"", colour, "\"/>");
        last = &point;
      }
      drawing = visible;
    }
    svg += cat("<path class=\"line\"", points.size() > 200 ? " stroke-opacity=\".6\"" : "", " stroke=\"",
               colour, "\" d=\"", path, "\"/>", dots);
    if (last) {
      svg += cat("<circle cx=\"", px(sx(last->first)), "\" cy=\"", px(sy(last->second)),
                 "\" r=\"3.4\" fill=\"", colour, "\"/>");
      labels.push_back({sy(last->second) + 4, i, format_number(last->second, 4)});
    }
    svg += cat("<circle cx=\"", px(legend_x + 5), "\" cy=\"12\" r=\"4\" fill=\"", colour,
               "\"/><text class=\"name\" x=\"", px(legend_x + 13), "\" y=\"16\">", escape_html(line.name),
               "</text>");
    legend_x += 24 + 6.4 * static_cast<double>(line.name.size());
  }
  std::sort(labels.begin(), labels.end(), [](const Label& a, const Label& b) { return a.y < b.y; });
  for (size_t i = 1; i < labels.size(); ++i) labels[i].y = std::max(labels[i].y, labels[i - 1].y + 14);
  double lowest = bottom;  // below it the ticks' own labels stand
  for (size_t i = labels.size(); i-- > 0; lowest = labels[i].y - 14)
    labels[i].y = std::min(labels[i].y, lowest);
  for (const Label& label : labels)
    svg += cat("<text class=\"last\" style=\"fill:var(--line-", label.line % kColours, ")\" x=\"", right + 9,
               "\" y=\"", px(label.y), "\">", label.text, "</text>");
  return svg + "</svg>\n";
}

}  // namespace stithy

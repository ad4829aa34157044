// Line charts as inline SVG. Colours come from the page's CSS variables --line-0, --line-1 ...
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace stithy {

struct ChartLine {
  std::string name;
  std::vector<std::pair<double, double>> points;  // x rising; a y that is not finite leaves a gap
};

struct Chart {
  std::string title, x_label;
  std::vector<ChartLine> lines;
};

// An <svg> with axes, ticks, the lines, a legend and each line's last value.
std::string chart_svg(const Chart& chart);

// Round tick values (1, 2 or 5 times a power of ten), about `count`, inside [low, high].
std::vector<double> ticks(double low, double high, int count);

// Text for HTML and for attribute values: markup characters become entities, control characters U+FFFD.
std::string escape_html(std::string_view text);

}  // namespace stithy

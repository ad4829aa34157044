#include "tools/stithy/numbers.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace stithy {

double quantile(const std::vector<double>& sorted, double q) {
  const double at = q * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(at);
  const double above = sorted[std::min(below + 1, sorted.size() - 1)];
  return sorted[below] + (at - static_cast<double>(below)) * (above - sorted[below]);
}

std::string printed(const char* format, double value) {
  char text[48];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

std::string significant(double value) { return printed(value >= 1000 ? "%.0f" : "%.3g", value); }

std::string percent(double share) {
  if (!std::isfinite(share)) return "-";
  return printed(std::abs(share) < 0.0995 ? "%.1f%%" : "%.0f%%", 100 * share);
}

}  // namespace stithy

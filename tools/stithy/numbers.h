// Numbers as the commands find and print them.
#pragma once

#include <string>
#include <vector>

namespace stithy {

// Of sorted samples, at least one; q in [0, 1]; between two samples in proportion.
double quantile(const std::vector<double>& sorted, double q);

// One number by a format of printf.
std::string printed(const char* format, double value);

// Three figures: "0.0123", "12.3", "1235".
std::string significant(double value);
// 0.123: "12%", 0.0123: "1.2%"; "-" for what is not known.
std::string percent(double share);

}  // namespace stithy

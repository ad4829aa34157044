#include "engine/core/error.h"

#include <cstdio>

namespace stithy {

Error::Error(const std::string& where, const std::string& message, const std::string& hint)
    : std::runtime_error(where + ": " + message + (hint.empty() ? "" : "\nHINT: " + hint)),
      where_(where),
      message_(message),
      hint_(hint) {}

OutOfMemory::OutOfMemory(const std::string& where, uint64_t needed, uint64_t available,
                         const std::string& hint)
    : Error(where,
            cat("needs ", format_bytes(needed), " of device memory, but ", format_bytes(available),
                " can be had"),
            hint),
      needed_(needed),
      available_(available) {}

std::string hex(std::span<const uint8_t> bytes) {
  std::string text;
  for (const uint8_t byte : bytes) {
    text += "0123456789abcdef"[byte >> 4];
    text += "0123456789abcdef"[byte & 15];
  }
  return text;
}

std::string format_bytes(uint64_t bytes) {
  const char* units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  double value = static_cast<double>(bytes);
  int unit = 0;
  while (value >= 1024 && unit < 6) value /= 1024, ++unit;
  char text[32];
  std::snprintf(text, sizeof text, unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
  return text;
}

}  // namespace stithy

#include "engine/core/hash.h"

#include <cstdio>

namespace stithy {

uint64_t hash_bytes(std::string_view bytes, uint64_t seed) {
  for (const char c : bytes) seed = (seed ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return seed;
}

std::string hash_text(std::string_view bytes) {
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(hash_bytes(bytes)));
  return text;
}

}  // namespace stithy

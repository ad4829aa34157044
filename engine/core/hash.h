#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace stithy {

// FNV-1a, 64 bits (draft-eastlake-fnv): for names and for checksums against accidents.
uint64_t hash_bytes(std::string_view bytes, uint64_t seed = 0xcbf29ce484222325u);
std::string hash_text(std::string_view bytes);  // the same as 16 hexadecimal digits

}  // namespace stithy

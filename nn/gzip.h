// Files that may be packed with gzip.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "engine/core/file.h"

namespace stithy {

// The whole file, as read_file gives it; gzip (RFC 1952, told by its first two bytes) is inflated, `limit`
// bounding the inflated size.
std::string read_gzip_or_plain(const std::string& path, uint64_t limit = kReadLimit);
// Inflates one or more gzip members. Throws Error, named `where`, when the data is broken, ends early, is
// followed by something else or inflates to more than `limit` bytes.
std::string gunzip(std::string_view bytes, uint64_t limit, const std::string& where);

}  // namespace stithy

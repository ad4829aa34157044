// Feeds a reader damaged input. It may refuse with an Error or accept; anything else, a huge allocation
// included, fails the test.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

namespace stithy {

// While one lives, operator new on this thread throws std::bad_alloc for a request above `bytes`.
class AllocationLimit {
 public:
  explicit AllocationLimit(size_t bytes);
  ~AllocationLimit();
  AllocationLimit(const AllocationLimit&) = delete;
  AllocationLimit& operator=(const AllocationLimit&) = delete;
};

struct HostileResult {
  int refused = 0, accepted = 0;
  std::string unexpected;  // the first exception that was no Error, and what caused it
};

// Every truncation of `valid`, every single bit flipped, and runs of 0x00, 0x7f, 0x80 and 0xff over every
// window of 4 and 8 bytes.
HostileResult feed_damaged(std::string_view valid, const std::function<void(std::string_view)>& read,
                           size_t allocation_limit = 1 << 20);
// Only the truncations.
HostileResult feed_truncated(std::string_view valid, const std::function<void(std::string_view)>& read,
                             size_t allocation_limit = 1 << 20);

}  // namespace stithy

// The host's steady clock; it counts from no known moment.
#pragma once

#include <chrono>

namespace stithy {

inline double host_ns() {
  return std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}
inline double host_seconds() { return host_ns() * 1e-9; }

}  // namespace stithy

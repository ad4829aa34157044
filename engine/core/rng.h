// Philox4x32-10, the counter-based generator of Salmon, Moraes, Dror and Shaw, "Parallel random numbers:
// as easy as 1, 2, 3" (SC 2011). shaders/philox.glsl is its twin on the device; a test holds the two
// together.
#pragma once

#include <array>
#include <cstdint>

namespace stithy {

// Four 32-bit words from a 128-bit counter and a 64-bit key.
std::array<uint32_t, 4> philox(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key);

// A stateless stream of numbers: draw i of stream (seed, stream) is a pure function of the three.
class Philox {
 public:
  explicit Philox(uint64_t seed, uint64_t stream = 0) : seed_(seed), stream_(stream) {}
  uint32_t bits();                 // the next 32 bits
  double uniform();                // in [0, 1), 53 bits
  double normal();                 // mean 0, variance 1 (Box and Muller 1958)
  uint64_t below(uint64_t bound);  // an integer in [0, bound), without bias (Lemire 2019)

 private:
  uint64_t seed_, stream_, block_ = 0;
  std::array<uint32_t, 4> words_{};
  int used_ = 4;
  double spare_ = 0;
  bool has_spare_ = false;
};

}  // namespace stithy

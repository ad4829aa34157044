// Packing of values with known lifetimes into as little memory as greedy placement finds.
#pragma once

#include <cstdint>
#include <vector>

namespace stithy {

// Alive from step `first` to step `last`, both included.
struct Lifetime {
  uint64_t bytes = 0;
  int first = 0, last = 0;
  // Values of one block (not negative) lie together, each `within` bytes after the block's start. They may
  // overlap each other.
  int block = -1;
  uint64_t within = 0;
  int chunk = 0;        // result: which allocation
  uint64_t offset = 0;  // result: bytes into it
};

// Sets chunk and offset of each so that no two that are alive at once overlap; returns the bytes of each
// chunk. Larger values and blocks are placed first, each at the lowest free offset (Pisarchyk and Lee 2020,
// "Efficient memory management for deep neural net inference": greedy by size). No chunk is larger than
// `chunk_limit`, which must hold the largest value or block; `bytes` are multiples of the alignment.
std::vector<uint64_t> pack(std::vector<Lifetime>& values, uint64_t chunk_limit);

}  // namespace stithy

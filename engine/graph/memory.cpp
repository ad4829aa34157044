#include "engine/graph/memory.h"

#include <algorithm>
#include <numeric>

namespace stithy {

std::vector<uint64_t> pack(std::vector<Lifetime>& values, uint64_t chunk_limit) {
  std::vector<size_t> order(values.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return values[a].bytes > values[b].bytes; });

  std::vector<uint64_t> chunks;
  std::vector<std::vector<const Lifetime*>> placed;  // by chunk, ordered by offset
  for (size_t index : order) {
    Lifetime& value = values[index];
    for (size_t chunk = 0;; ++chunk) {
      if (chunk == chunks.size()) chunks.push_back(0), placed.emplace_back();
      uint64_t offset = 0;
      for (const Lifetime* other : placed[chunk]) {
        if (other->last < value.first || other->first > value.last) continue;
        if (offset + value.bytes <= other->offset) break;
        offset = std::max(offset, other->offset + other->bytes);
      }
      if (offset + value.bytes > chunk_limit && !(offset == 0 && placed[chunk].empty())) continue;
      value.chunk = static_cast<int>(chunk);
      value.offset = offset;
      chunks[chunk] = std::max(chunks[chunk], offset + value.bytes);
      auto& list = placed[chunk];
      list.insert(
          std::upper_bound(list.begin(), list.end(), &value,
                           [](const Lifetime* a, const Lifetime* b) { return a->offset < b->offset; }),
          &value);
      break;
    }
  }
  return chunks;
}

}  // namespace stithy

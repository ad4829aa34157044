#include "engine/graph/memory.h"

#include <algorithm>
#include <map>

namespace stithy {

std::vector<uint64_t> pack(std::vector<Lifetime>& values, uint64_t chunk_limit) {
  struct Block {
    uint64_t bytes = 0;
    std::vector<Lifetime*> members;
  };
  std::vector<Block> blocks;
  std::map<int, size_t> numbered;
  for (Lifetime& value : values) {
    const auto [found, fresh] = numbered.try_emplace(value.block, blocks.size());
    const bool joins = value.block >= 0 && !fresh;
    Block& block = joins ? blocks[found->second] : blocks.emplace_back();
    block.members.push_back(&value);
    block.bytes = std::max(block.bytes, value.within + value.bytes);
  }
  std::stable_sort(blocks.begin(), blocks.end(),
                   [](const Block& a, const Block& b) { return a.bytes > b.bytes; });

  std::vector<uint64_t> chunks;
  std::vector<std::vector<const Lifetime*>> placed;  // by chunk, ordered by offset
  // The lowest offset from `offset` on at which the value is free of others.
  const auto free_offset = [&](const Lifetime& value, size_t chunk, uint64_t offset) {
    for (const Lifetime* other : placed[chunk]) {
      if (other->last < value.first || other->first > value.last) continue;
      if (offset + value.within + value.bytes <= other->offset) break;
      if (other->offset + other->bytes > offset + value.within)
        offset = other->offset + other->bytes - value.within;
    }
    return offset;
  };
  for (const Block& block : blocks)
    for (size_t chunk = 0;; ++chunk) {
      if (chunk == chunks.size()) chunks.push_back(0), placed.emplace_back();
      uint64_t offset = 0, before;
      do {
        before = offset;
        for (const Lifetime* value : block.members) offset = free_offset(*value, chunk, offset);
      } while (offset != before && block.members.size() > 1);
      if (offset + block.bytes > chunk_limit && !placed[chunk].empty()) continue;
      chunks[chunk] = std::max(chunks[chunk], offset + block.bytes);
      for (Lifetime* value : block.members) {
        value->chunk = static_cast<int>(chunk);
        value->offset = offset + value->within;
        auto& list = placed[chunk];
        list.insert(
            std::upper_bound(list.begin(), list.end(), value,
                             [](const Lifetime* a, const Lifetime* b) { return a->offset < b->offset; }),
            value);
      }
      break;
    }
  return chunks;
}

}  // namespace stithy

#include "engine/graph/choose.h"

#include <atomic>
#include <bit>

namespace stithy {
namespace {

// Constant-initialised: the table registers itself while the library loads.
constinit std::atomic<ChoiceTable*> table_in_use = nullptr;

}  // namespace

ChoiceTable* set_choice_table(ChoiceTable* table) { return table_in_use.exchange(table); }
ChoiceTable* choice_table() { return table_in_use; }

int64_t size_bucket(int64_t size) {
  if (size <= 16) return size;
  const int drop = std::bit_width(static_cast<uint64_t>(size - 1)) - 3;
  return (((size - 1) >> drop) + 1) << drop;
}

}  // namespace stithy

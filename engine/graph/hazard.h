// The order of dispatches and the barriers between them, and an independent proof that both are right.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "engine/graph/plan.h"

namespace stithy {

// Moves every dispatch as far ahead as what it touches allows: what depends on equally long chains stands
// together, in the order of issue, with no barrier between.
void order_by_dependence(std::vector<PlannedDispatch>& dispatches);

// Sets barrier_before on every dispatch that touches bytes which a dispatch since the last barrier touched,
// where one of the two writes. A barrier orders everything before it against everything after it.
void place_barriers(std::vector<PlannedDispatch>& dispatches);

// Why barriers stand where they do.
enum class BarrierReason : uint8_t {
  none,      // there is none
  data,      // the dispatch reads what one before wrote, or updates a variable that one before read
  reuse,     // no data passes: it writes where others lay that were needed until then
  needless,  // nothing that both sides touch
};
// By value.
inline constexpr std::string_view kBarrierReasonNames[] = {"none", "data", "reuse", "needless"};
// One a dispatch.
std::vector<BarrierReason> barrier_reasons(const Plan& plan);

// Two dispatches that conflict, without a barrier between them or not in the order of issue.
struct Hazard {
  size_t earlier = 0, later = 0;  // indices of Plan::dispatches
  std::string what;               // "write after read of arena bytes [0, 1024)"
};
// Compares every pair, without the bookkeeping of the functions above. Empty: every hazard is covered.
std::vector<Hazard> find_hazards(const Plan& plan);

}  // namespace stithy

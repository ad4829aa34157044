#include "engine/graph/hazard.h"

#include <algorithm>

#include "engine/core/error.h"

namespace stithy {
namespace {

bool writes(Access access) { return static_cast<uint8_t>(access) & static_cast<uint8_t>(Access::write); }

}  // namespace

void place_barriers(std::vector<PlannedDispatch>& dispatches) {
  std::vector<Span> read, written;  // since the last barrier
  const auto touches = [](const std::vector<Span>& spans, const Span& span) {
    return std::any_of(spans.begin(), spans.end(), [&](const Span& other) { return other.overlaps(span); });
  };
  for (PlannedDispatch& dispatch : dispatches) {
    const auto& bindings = dispatch.call.kernel->bindings;
    dispatch.barrier_before = false;
    for (size_t i = 0; i < dispatch.spans.size(); ++i)
      dispatch.barrier_before |= touches(written, dispatch.spans[i]) ||
                                 (writes(bindings[i].access) && touches(read, dispatch.spans[i]));
    if (dispatch.barrier_before) read.clear(), written.clear();
    for (size_t i = 0; i < dispatch.spans.size(); ++i)
      (writes(bindings[i].access) ? written : read).push_back(dispatch.spans[i]);
  }
}

std::vector<Hazard> find_hazards(const Plan& plan) {
  std::vector<Hazard> hazards;
  const auto& dispatches = plan.dispatches;
  for (size_t later = 1; later < dispatches.size(); ++later)
    for (size_t earlier = later; earlier-- > 0 && !dispatches[earlier + 1].barrier_before;)
      for (size_t a = 0; a < dispatches[earlier].spans.size(); ++a)
        for (size_t b = 0; b < dispatches[later].spans.size(); ++b) {
          const bool first = writes(dispatches[earlier].call.kernel->bindings[a].access);
          const bool second = writes(dispatches[later].call.kernel->bindings[b].access);
          const Span &x = dispatches[earlier].spans[a], &y = dispatches[later].spans[b];
          if ((first || second) && x.overlaps(y))
            hazards.push_back(
                {earlier, later,
                 cat(second ? "write" : "read", " after ", first ? "write" : "read", " of buffer ", y.buffer,
                     " bytes [", std::max(x.offset, y.offset), ", ",
                     std::min(x.offset + x.bytes, y.offset + y.bytes),
                     "): ", dispatches[earlier].node->label(), " then ", dispatches[later].node->label())});
        }
  return hazards;
}

}  // namespace stithy

#include "engine/graph/hazard.h"

#include <algorithm>
#include <map>

#include "engine/core/error.h"

namespace stithy {
namespace {

bool writes(Access access) { return static_cast<uint8_t>(access) & static_cast<uint8_t>(Access::write); }

// The bytes of a buffer with the last levels at which they were read and written; 0 is never.
class Touched {
 public:
  // The first level at which a dispatch may touch the bytes.
  int level(uint64_t begin, uint64_t end, bool write) {
    int level = 1;
    cut(begin), cut(end);
    for (auto part = parts_.lower_bound(begin); part != parts_.end() && part->first < end; ++part)
      level = std::max({level, part->second.written + 1, write ? part->second.read + 1 : 0});
    return level;
  }
  void read(uint64_t begin, uint64_t end, int level) {
    cut(begin), cut(end);
    auto part = parts_.lower_bound(begin);
    while (begin < end) {
      if (part == parts_.end() || part->first > begin) {
        const uint64_t next = part == parts_.end() ? end : std::min(end, part->first);
        part = parts_.emplace_hint(part, begin, Part{.end = next});
      }
      part->second.read = std::max(part->second.read, level);
      begin = part->second.end;
      ++part;
    }
  }
  void write(uint64_t begin, uint64_t end, int level) {
    cut(begin), cut(end);
    parts_.erase(parts_.lower_bound(begin), parts_.lower_bound(end));
    if (begin < end) parts_.emplace(begin, Part{.end = end, .written = level});
  }

 private:
  struct Part {
    uint64_t end = 0;
    int read = 0, written = 0;
  };
  void cut(uint64_t at) {
    auto part = parts_.lower_bound(at);
    if (part == parts_.begin() || (--part)->second.end <= at) return;
    parts_.emplace(at, part->second);
    part->second.end = at;
  }
  std::map<uint64_t, Part> parts_;  // by their beginning
};

}  // namespace

void order_by_dependence(std::vector<PlannedDispatch>& dispatches) {
  std::map<int, Touched> buffers;
  std::vector<std::pair<int, size_t>> order;  // level, index
  for (size_t i = 0; i < dispatches.size(); ++i) {
    const auto& spans = dispatches[i].spans;
    const auto writes_to = [&](size_t s) { return writes(dispatches[i].call.kernel->bindings[s].access); };
    const auto end = [&](size_t s) { return spans[s].offset + spans[s].bytes; };
    int level = 1;
    for (size_t s = 0; s < spans.size(); ++s)
      level = std::max(level, buffers[spans[s].buffer].level(spans[s].offset, end(s), writes_to(s)));
    for (size_t s = 0; s < spans.size(); ++s)
      if (!writes_to(s)) buffers[spans[s].buffer].read(spans[s].offset, end(s), level);
    for (size_t s = 0; s < spans.size(); ++s)
      if (writes_to(s)) buffers[spans[s].buffer].write(spans[s].offset, end(s), level);
    order.emplace_back(level, i);
  }
  std::ranges::sort(order);
  std::vector<PlannedDispatch> ordered;
  for (const auto& [level, i] : order) {
    ordered.push_back(std::move(dispatches[i]));
    ordered.back().issued = i;
  }
  dispatches = std::move(ordered);
}

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

std::vector<BarrierReason> barrier_reasons(const Plan& plan) {
  const auto& dispatches = plan.dispatches;
  std::vector<BarrierReason> reasons(dispatches.size(), BarrierReason::none);
  std::vector<size_t> barriers;
  for (size_t i = 0; i < dispatches.size(); ++i)
    if (dispatches[i].barrier_before) barriers.push_back(i);
  for (size_t b = 0; b < barriers.size(); ++b) {
    const size_t at = barriers[b], begin = b ? barriers[b - 1] : 0;
    const size_t end = b + 1 < barriers.size() ? barriers[b + 1] : dispatches.size();
    BarrierReason& reason = reasons[at] = BarrierReason::needless;
    for (size_t later = at; later < end && reason != BarrierReason::data; ++later)
      for (size_t earlier = begin; earlier < at; ++earlier)
        for (size_t x = 0; x < dispatches[earlier].spans.size(); ++x)
          for (size_t y = 0; y < dispatches[later].spans.size(); ++y) {
            if (!dispatches[earlier].spans[x].overlaps(dispatches[later].spans[y])) continue;
            const bool first = writes(dispatches[earlier].call.kernel->bindings[x].access);
            const bool second = writes(dispatches[later].call.kernel->bindings[y].access);
            if (!first && !second) continue;
            const int buffer = dispatches[later].spans[y].buffer;
            const bool arena = plan.buffers[static_cast<size_t>(buffer)].kind == PlannedBuffer::Kind::arena;
            const bool reads_it = dispatches[later].call.kernel->bindings[y].access != Access::write;
            const bool data = (first && reads_it) || !arena;
            if (data)
              reason = BarrierReason::data;
            else if (reason == BarrierReason::needless)
              reason = BarrierReason::reuse;
          }
  }
  return reasons;
}

std::vector<Hazard> find_hazards(const Plan& plan) {
  std::vector<Hazard> hazards;
  const auto& dispatches = plan.dispatches;
  for (size_t later = 1; later < dispatches.size(); ++later) {
    bool ordered = false;  // by a barrier
    for (size_t earlier = later; earlier-- > 0;) {
      ordered = ordered || dispatches[earlier + 1].barrier_before;
      if (ordered && dispatches[earlier].issued < dispatches[later].issued) continue;
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
                     "): ", dispatches[earlier].node->label(), " then ", dispatches[later].node->label(),
                     ordered ? ", issued the other way round" : "")});
        }
    }
  }
  return hazards;
}

}  // namespace stithy

// Recording: the command buffers of a planned program, and the times that the device writes down while it
// runs them.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/graph/plan.h"
#include "engine/graph/run_times.h"
#include "engine/vk/device.h"

namespace stithy {

inline constexpr uint32_t kPoison = 0xffffffffu;  // NaN as f32, f16 and bf16; -1 as i32; 255 as u8

// Where a plan's bytes are.
struct ProgramMemory {
  struct Place {
    std::shared_ptr<vk::Buffer> buffer;
    uint64_t offset = 0;
  };
  std::vector<Place> buffers;  // of Plan::buffers
  // By slot: two runs may be in flight.
  std::array<std::shared_ptr<vk::Buffer>, 2> upload, readback;
  std::vector<uint64_t> upload_offsets, readback_offsets;  // of the inputs; of the fetches and the NaN report

  vk::Binding bind(const Span& span) const {
    const Place& place = buffers[static_cast<size_t>(span.buffer)];
    return {place.buffer.get(), place.offset + span.offset, span.bytes};
  }
};

class Recording {
 public:
  // `cuts`: the dispatches that begin a submission. With Timing::isolated on a device that writes no
  // timestamps, each dispatch is a submission, which the host times.
  Recording(const std::shared_ptr<vk::Device>& device, const Plan& plan, const ProgramMemory& memory,
            std::span<const vk::Pipeline* const> pipelines, std::vector<size_t> cuts,
            const std::optional<Measure>& measure = {});

  // Returns the serial of the last submission, and counts all of them. `pass`: with Timing::counters, the
  // Measure::part of this run; one Recording takes all of them.
  uint64_t submit(size_t slot, uint64_t& submissions, uint32_t pass = 0);
  // Waits for the run and returns what was written down.
  RunTimes times(uint64_t serial) const;
  size_t command_buffers() const { return before_.size() + main_.size() + after_.size(); }

 private:
  void record_copies(const Plan& plan, const ProgramMemory& memory);
  void record_kernels(const Plan& plan, const ProgramMemory& memory,
                      std::span<const vk::Pipeline* const> pipelines, const std::vector<size_t>& cuts);
  uint64_t submit_counting(size_t slot, uint64_t& submissions);
  // The first of the two timestamps of a dispatch; none where it is not timed.
  std::optional<uint32_t> stamp_of(size_t dispatch) const;

  std::shared_ptr<vk::Device> device_;
  std::optional<Measure> measure_;
  size_t dispatches_;
  bool submit_each_ = false, host_times_ = false;
  std::unique_ptr<vk::Timestamps> stamps_;               // the four marks of a run, then two a dispatch
  std::string refused_;                                  // why the driver does not count
  std::unique_ptr<vk::Counters> counters_;               // one a dispatch
  std::vector<vk::Commands> before_, after_;             // by slot: copies in, copies out
  std::vector<vk::Commands> main_;                       // one a submission
  std::optional<vk::Commands> reset_, between_;          // the counters; a barrier, which is not counted
  std::vector<std::pair<double, double>> host_kernels_;  // of the last run, where the host times
};

}  // namespace stithy

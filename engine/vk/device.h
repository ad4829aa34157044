// A Vulkan device in use: memory, pipelines, recorded commands and submission. Opaque to the rooms above.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/vk/counters.h"
#include "engine/vk/device_info.h"
#include "engine/vk/statistics.h"

namespace stithy::vk {

// Every device that the drivers on this machine offer, usable or not. Throws Error with the way out when
// there is no loader or no driver.
std::vector<DeviceInfo> list_devices();
// Messages from the validation layers since the process began (see STITHY_VALIDATION in loader.h).
uint64_t validation_messages();

class Device;

// Where a buffer lives: device (fast for kernels), upload (written by the host), readback (read by the host).
enum class Memory : uint8_t { device, upload, readback };

class Buffer {
 public:
  ~Buffer();
  Buffer(const Buffer&) = delete;
  uint64_t size() const { return size_; }
  // The host's view; null when the host cannot reach the memory. Coherent: no flush needed.
  std::byte* mapped() const { return mapped_; }

 private:
  friend class Device;
  friend class Commands;
  Buffer() = default;
  std::shared_ptr<Device> device_;
  uint64_t size_ = 0, allocated_ = 0;
  std::byte* mapped_ = nullptr;
  struct Handles;
  std::unique_ptr<Handles> handles_;
};

// A compute kernel specialised for a device; owned by it and valid as long as it.
struct Pipeline;

struct PipelineRequest {
  std::string_view name;            // for messages
  std::span<const uint32_t> spirv;  // must outlive the device: its address is the key
  uint32_t bindings = 0, push_bytes = 0;
  uint32_t texel_bindings = 0;  // bit i: binding i is a uniform texel buffer of RGBA32F, not a storage buffer
  bool uses_subgroups = false;
  std::span<const uint32_t> spec_ids, spec_values;
};

struct Binding {
  const Buffer* buffer;
  uint64_t offset, bytes;
};

// Places for `count` times that the device writes down while it runs commands. Throws Error where
// DeviceInfo::timestamps() is false.
class Timestamps {
 public:
  Timestamps(const std::shared_ptr<Device>& device, uint32_t count);
  ~Timestamps();
  Timestamps(const Timestamps&) = delete;
  // The raw times of commands that have ended (see DeviceInfo::nanoseconds); none where the device did not
  // write one.
  std::vector<std::optional<uint64_t>> read() const;

 private:
  friend class Commands;
  std::shared_ptr<Device> device_;
  uint32_t count_;
  struct Handle;
  std::unique_ptr<Handle> handle_;
};

// A command buffer that is recorded once and submitted any number of times.
class Commands {
 public:
  explicit Commands(const std::shared_ptr<Device>& device);
  ~Commands();
  Commands(Commands&&) noexcept;
  Commands& operator=(Commands&&) noexcept;

  void dispatch(const Pipeline& pipeline, std::span<const Binding> bindings, std::span<const std::byte> push,
                const std::array<uint32_t, 3>& groups);
  // All earlier kernel, copy and host writes become visible to all later kernels, copies and host reads.
  void barrier();
  void copy(const Buffer& source, uint64_t source_offset, const Buffer& target, uint64_t target_offset,
            uint64_t bytes);
  void fill(const Buffer& target, uint64_t offset, uint64_t bytes, uint32_t word);
  // Forgets all times of `times`; needed before each is written again. Must be in the same submission or an
  // earlier one.
  void reset(const Timestamps& times);
  // Writes the time at which everything recorded before has ended, or, with `begins`, at which the device
  // comes to what follows: it then waits for nothing.
  void timestamp(const Timestamps& times, uint32_t index, bool begins = false);
  // Forgets the values of all passes. Must be in a submission before those of the first pass, and in no
  // command buffer that counts.
  void reset(const Counters& counters);
  // What is recorded between the two is counted as stretch `index`. Some counters want them to be the first
  // and the last of the command buffer.
  void begin(const Counters& counters, uint32_t index);
  void end(const Counters& counters, uint32_t index);
  // Ends recording; call once before the first submission.
  void finish();

 private:
  friend class Device;
  struct State;
  std::unique_ptr<State> state_;
};

class Device : public std::enable_shared_from_this<Device> {
 public:
  struct State;
  // `selector`: empty for the best device, an index into list_devices(), a part of a name, or a kind (gpu,
  // cpu, discrete, integrated). Throws Error listing the devices when nothing fits or the device is unusable.
  static std::shared_ptr<Device> open(std::string_view selector);
  ~Device();

  const DeviceInfo& info() const { return info_; }
  // Throws OutOfMemory, named `what`.
  std::shared_ptr<Buffer> allocate(uint64_t bytes, Memory memory, const std::string& what);
  // Bytes of all live allocations, and how much more can be had: the driver's budget or the heap's size, and
  // not over STITHY_MEMORY_LIMIT (bytes, or with suffix K, M, G) in all.
  uint64_t allocated_bytes() const { return allocated_; }
  uint64_t available_bytes() const;

  // One a request, in order. Those that are not there yet are compiled, on all cores at once, and kept in the
  // cache folder for the next process. Throws Error naming the first kernel that the driver refuses.
  std::vector<const Pipeline*> pipelines(std::span<const PipelineRequest> requests);

  // Pipelines that are compiled from now on can be asked for their statistics, and with `texts` for what
  // their compiler wrote down, which takes the driver time and memory. Throws Error where
  // DeviceInfo::executable_properties is false.
  void keep_statistics(bool texts = false);
  KernelStatistics statistics(const Pipeline& pipeline) const;

  // What can be counted. Throws Error where DeviceInfo::performance_query is false, or enable_counters() was
  // not called before the device was opened.
  const CounterList& counters();

  // Starts the commands, in order, after all earlier submissions; returns a serial to wait for.
  // `counter_pass`: of commands that count, which of CounterList::passes this is.
  uint64_t submit(std::span<const Commands* const> commands, std::optional<uint32_t> counter_pass = {});
  void wait(uint64_t serial);
  // Waits for all submissions in the one way that old synchronization validation understands and forgets by.
  void wait_idle();
  // Copies between the host and a buffer, after all submitted work.
  void write(const Buffer& target, uint64_t offset, std::span<const std::byte> bytes);
  void read(const Buffer& source, uint64_t offset, std::span<std::byte> bytes);

 private:
  friend class Buffer;
  friend class Commands;
  friend class Timestamps;
  friend class Counters;
  Device();
  const struct Layout& layout(const PipelineRequest& request);
  void open_pipeline_cache();
  void save_pipeline_cache();
  DeviceInfo info_;
  uint64_t allocated_ = 0, last_serial_ = 0;
  std::unique_ptr<State> state_;
};

}  // namespace stithy::vk

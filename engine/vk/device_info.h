// What a Vulkan device is and can do, in plain types: the rooms above see this and never vulkan.h.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace stithy::vk {

enum class DeviceKind : uint8_t { other, integrated, discrete, virtual_gpu, cpu };
std::string_view name_of(DeviceKind kind);

struct DeviceInfo {
  std::string name;         // "AMD Radeon RX 7800 XT"
  std::string driver;       // "radv"
  std::string driver_info;  // "Mesa 25.0.7"
  DeviceKind kind = DeviceKind::other;
  uint32_t vendor_id = 0, device_id = 0, driver_version = 0;
  uint32_t api_major = 0, api_minor = 0, api_patch = 0;
  std::array<uint8_t, 16> uuid{}, driver_uuid{}, pipeline_cache_uuid{};

  // Subgroups. `fixed_subgroup_size`: kernels always run with exactly subgroup_size lanes a subgroup.
  uint32_t subgroup_size = 1, min_subgroup_size = 1, max_subgroup_size = 1;
  bool fixed_subgroup_size = false, subgroup_size_control = false, full_subgroups = false;
  bool subgroup_arithmetic = false, subgroup_ballot = false, subgroup_shuffle = false;

  // Limits; sizes in bytes.
  uint64_t max_storage_buffer_range = 0, max_allocation = 0, max_buffer = 0, heap_bytes = 0;
  uint32_t max_workgroup_invocations = 0, shared_memory = 0, max_push_constants = 0, max_bindings = 0;
  std::array<uint32_t, 3> max_workgroup_size{}, max_groups{};
  uint32_t storage_alignment = 1;
  uint32_t max_texel_elements = 0, texel_alignment = 1;  // of uniform texel buffers
  double timestamp_period_ns = 0;  // of one tick; a fraction, or without meaning, see timestamps()
  uint32_t timestamp_bits = 0;     // of a timestamp that hold a value; 0: the queue writes none

  bool compute_queue = false, timeline_semaphore = false;

  // Optional features.
  bool storage_16bit = false, storage_8bit = false, arithmetic_f16 = false, arithmetic_i8 = false;
  bool memory_budget = false, cooperative_matrix = false, executable_properties = false,
       performance_query = false;  // hardware counters
  bool preserves_signed_zero_inf_nan = false;
  // GPU-assisted validation puts checks into every kernel (STITHY_VALIDATION=gpu).
  bool instrumented = false;

  // What quirks.h knows of the driver's speed: vec4 loads from uniform texel buffers beat those from storage
  // buffers; subgroupBroadcast is slower than a load; a kernel with 64 sums an invocation spills.
  bool fast_texels = false, slow_broadcast = false, few_registers = false;
  // A command has ended when the next one begins.
  bool runs_in_order = false;
  // How often the loops of an invocation may turn, all of them together.
  uint32_t most_turns = UINT32_MAX;

  // Names device and driver, version and all: what is compiled or measured on one holds for no other.
  std::string cache_key() const;

  std::string unusable;  // why_unusable()
  bool is_cpu() const { return kind == DeviceKind::cpu; }
  // Whether the device tells times of its own: some queues write none, and drivers that only compile state an
  // infinite period.
  bool timestamps() const;
  // Nanoseconds from one raw timestamp to another, below zero where it is earlier; right also where the
  // counter began anew between them. Less than half of the counter's
  // range must lie between them.
  double nanoseconds(uint64_t from, uint64_t to) const;
};

// The reason why Stithy cannot train on such a device, to follow "it ..."; empty when it can.
std::string why_unusable(const DeviceInfo& info);

}  // namespace stithy::vk

// Hardware counters (VK_KHR_performance_query): what a device can count while it runs commands.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace stithy::vk {

class Device;

struct Counter {
  std::string name, category, description;  // in the driver's words
  std::string unit;                         // "ns", "bytes", "%", ...; empty where it is a mere number
  // Of several kernels the sum is meant; else the mean, each kernel weighing as long as it took. Added are
  // times, bytes, cycles, and whole numbers without a unit; others without one may be ratios.
  bool adds = false;
  bool operator==(const Counter&) const = default;
};

// The counters that are used, in the driver's order, and how many are not.
struct CounterList {
  static constexpr uint32_t kMostPasses = 8;
  std::vector<Counter> counters;
  uint32_t passes = 0;  // how often the same commands must run until all are counted
  uint32_t offered = 0;
  // Left out: they slow down what they count; they count in render passes alone, which a compute queue has
  // none of; with those before them they would need more than kMostPasses.
  uint32_t disturbing = 0, rendering = 0, too_many = 0;
  bool operator==(const CounterList&) const = default;
};

// Devices that are opened from now on can count, where DeviceInfo::performance_query. Not otherwise: drivers
// may then keep memory and lower their speed for it.
void enable_counters();

// Places for the values that a device counts in `count` stretches of commands, see Commands::begin. While
// one of these lives, the device's profiling lock is held: it must be made before the commands that use it
// and outlive them. Throws Error where the device was not opened for it, or the driver refuses.
class Counters {
 public:
  Counters(const std::shared_ptr<Device>& device, uint32_t count);
  ~Counters();
  Counters(const Counters&) = delete;
  // By stretch, the value of each of CounterList::counters, once the commands of all passes have ended. NaN
  // where the device has written none.
  std::vector<std::vector<double>> read() const;

 private:
  friend class Commands;
  std::shared_ptr<Device> device_;
  uint32_t count_;
  struct Handle;
  std::unique_ptr<Handle> handle_;
};

}  // namespace stithy::vk

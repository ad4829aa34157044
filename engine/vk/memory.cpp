#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <optional>

#include "engine/core/error.h"
#include "engine/vk/state.h"

namespace stithy::vk {
namespace {

// What the operating system can still give without swapping. A CPU driver takes it from there, whatever size
// it states for its heap (lavapipe 22.3: always 2 GiB).
std::optional<uint64_t> system_memory_available() {
  std::ifstream file("/proc/meminfo");
  for (std::string key; file >> key;) {
    uint64_t kib = 0;
    if (key == "MemAvailable:" && file >> kib) return kib * 1024;
    file.ignore(256, '\n');
  }
  return std::nullopt;
}

// The first memory type that has `wanted`, preferring those that also have `preferred` and lack `avoided`.
uint32_t memory_type(const VkPhysicalDeviceMemoryProperties& memory, uint32_t allowed,
                     VkMemoryPropertyFlags wanted, VkMemoryPropertyFlags preferred,
                     VkMemoryPropertyFlags avoided) {
  int best = -1, best_score = -1;
  for (uint32_t i = 0; i < memory.memoryTypeCount; ++i) {
    const VkMemoryPropertyFlags flags = memory.memoryTypes[i].propertyFlags;
    if (!(allowed & (1u << i)) || (flags & wanted) != wanted) continue;
    const int score = 2 * ((flags & preferred) == preferred) + !(flags & avoided);
    if (score > best_score) best = static_cast<int>(i), best_score = score;
  }
  if (best < 0) throw Error("device", "the driver has no suitable memory type for a storage buffer");
  return static_cast<uint32_t>(best);
}

}  // namespace

std::optional<uint64_t> parse_size(const char* text) {
  char* end = nullptr;
  const double value = std::strtod(text, &end);
  double unit = 1;
  switch (std::toupper(static_cast<unsigned char>(*end))) {
    case 'G': unit *= 1024; [[fallthrough]];
    case 'M': unit *= 1024; [[fallthrough]];
    case 'K':
      unit *= 1024;
      ++end;
      break;
    default: break;
  }
  if (end == text || *end || !(value >= 0) || value * unit > 1e18) return std::nullopt;
  return static_cast<uint64_t>(value * unit);
}

std::shared_ptr<Buffer> Device::allocate(uint64_t bytes, Memory kind, const std::string& what) {
  const uint64_t available = available_bytes();
  if (bytes > available) throw OutOfMemory(what, bytes, available);
  if (bytes > info_.max_allocation)
    throw Error(what, cat("needs one allocation of ", format_bytes(bytes), ", the device's limit is ",
                          format_bytes(info_.max_allocation)));
  const DeviceFunctions& fn = state_->fn;
  std::shared_ptr<Buffer> buffer(new Buffer);
  buffer->handles_ = std::make_unique<Buffer::Handles>();
  buffer->size_ = bytes;
  buffer->device_ = shared_from_this();
  VkBufferCreateInfo create{VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO};
  create.size = bytes;
  create.usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_UNIFORM_TEXEL_BUFFER_BIT |
                 VK_BUFFER_USAGE_TRANSFER_SRC_BIT | VK_BUFFER_USAGE_TRANSFER_DST_BIT;
  create.sharingMode = VK_SHARING_MODE_EXCLUSIVE;
  check(fn.CreateBuffer(state_->device, &create, nullptr, &buffer->handles_->buffer), "vkCreateBuffer");
  VkMemoryRequirements needs;
  fn.GetBufferMemoryRequirements(state_->device, buffer->handles_->buffer, &needs);

  constexpr VkMemoryPropertyFlags kHost =
      VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
  constexpr VkMemoryPropertyFlags kLocal = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT,
                                  kCached = VK_MEMORY_PROPERTY_HOST_CACHED_BIT;
  VkMemoryAllocateInfo allocate{VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO};
  allocate.allocationSize = needs.size;
  switch (kind) {
    case Memory::device:
      allocate.memoryTypeIndex = memory_type(state_->memory, needs.memoryTypeBits, 0, kLocal,
                                             info_.is_cpu() ? 0 : VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT);
      break;
    case Memory::upload:
      allocate.memoryTypeIndex = memory_type(state_->memory, needs.memoryTypeBits, kHost, 0, kLocal);
      break;
    case Memory::readback:
      allocate.memoryTypeIndex = memory_type(state_->memory, needs.memoryTypeBits, kHost, kCached, kLocal);
      break;
  }
  const VkResult result = fn.AllocateMemory(state_->device, &allocate, nullptr, &buffer->handles_->memory);
  if (result == VK_ERROR_OUT_OF_DEVICE_MEMORY || result == VK_ERROR_OUT_OF_HOST_MEMORY)
    throw OutOfMemory(what, bytes, available,
                      "the driver has less than it said; close other programs that use the GPU");
  check(result, "vkAllocateMemory");
  buffer->allocated_ = needs.size;
  allocated_ += needs.size;
  check(fn.BindBufferMemory(state_->device, buffer->handles_->buffer, buffer->handles_->memory, 0),
        "vkBindBufferMemory");
  const VkMemoryPropertyFlags flags = state_->memory.memoryTypes[allocate.memoryTypeIndex].propertyFlags;
  if ((flags & kHost) == kHost) {
    void* mapped = nullptr;
    check(fn.MapMemory(state_->device, buffer->handles_->memory, 0, VK_WHOLE_SIZE, 0, &mapped),
          "vkMapMemory");
    buffer->mapped_ = static_cast<std::byte*>(mapped);
  }
  return buffer;
}

Buffer::~Buffer() {
  if (!device_ || exiting()) return;
  const DeviceFunctions& fn = device_->state_->fn;
  if (handles_->buffer) fn.DestroyBuffer(device_->state_->device, handles_->buffer, nullptr);
  if (handles_->memory) fn.FreeMemory(device_->state_->device, handles_->memory, nullptr);
  device_->allocated_ -= allocated_;
}

uint64_t Device::available_bytes() const {
  uint64_t available = info_.heap_bytes > allocated_ ? info_.heap_bytes - allocated_ : 0;
  if (info_.memory_budget) {
    VkPhysicalDeviceMemoryBudgetPropertiesEXT budget{
        VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_BUDGET_PROPERTIES_EXT};
    VkPhysicalDeviceMemoryProperties2 memory{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2, &budget};
    instance().GetPhysicalDeviceMemoryProperties2(state_->physical, &memory);
    uint64_t best = 0;
    for (uint32_t i = 0; i < memory.memoryProperties.memoryHeapCount; ++i)
      if ((memory.memoryProperties.memoryHeaps[i].flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT) &&
          budget.heapBudget[i] > budget.heapUsage[i])
        best = std::max<uint64_t>(best, budget.heapBudget[i] - budget.heapUsage[i]);
    available = best;
  }
  if (info_.is_cpu())
    if (const std::optional<uint64_t> free = system_memory_available()) available = *free;
  if (const char* text = std::getenv("STITHY_MEMORY_LIMIT"); text && *text) {
    const std::optional<uint64_t> limit = parse_size(text);
    if (!limit)
      throw Error("STITHY_MEMORY_LIMIT", cat("\"", text, "\" is not a size"), "write bytes, or 512M, or 6G");
    available = std::min(available, *limit > allocated_ ? *limit - allocated_ : 0);
  }
  return available;
}

namespace {
constexpr uint64_t kStagingBytes = 16 << 20;
}

void Device::write(const Buffer& target, uint64_t offset, std::span<const std::byte> bytes) {
  wait(last_serial_);
  if (bytes.empty()) return;
  if (target.mapped()) {
    std::memcpy(target.mapped() + offset, bytes.data(), bytes.size());
    return;
  }
  const uint64_t chunk = std::min<uint64_t>(bytes.size(), kStagingBytes);
  const std::shared_ptr<Buffer> staging = allocate((chunk + 3) / 4 * 4, Memory::upload, "upload");
  for (uint64_t done = 0; done < bytes.size(); done += chunk) {
    const uint64_t count = std::min<uint64_t>(chunk, bytes.size() - done);
    std::memcpy(staging->mapped(), bytes.data() + done, count);
    Commands commands(shared_from_this());
    commands.barrier();
    commands.copy(*staging, 0, target, offset + done, count);
    commands.barrier();
    commands.finish();
    const Commands* list[] = {&commands};
    wait(submit(list));
  }
}

void Device::read(const Buffer& source, uint64_t offset, std::span<std::byte> bytes) {
  wait(last_serial_);
  if (bytes.empty()) return;
  if (source.mapped()) {
    std::memcpy(bytes.data(), source.mapped() + offset, bytes.size());
    return;
  }
  const uint64_t chunk = std::min<uint64_t>(bytes.size(), kStagingBytes);
  const std::shared_ptr<Buffer> staging = allocate((chunk + 3) / 4 * 4, Memory::readback, "readback");
  for (uint64_t done = 0; done < bytes.size(); done += chunk) {
    const uint64_t count = std::min<uint64_t>(chunk, bytes.size() - done);
    Commands commands(shared_from_this());
    commands.barrier();
    commands.copy(source, offset + done, *staging, 0, count);
    commands.barrier();
    commands.finish();
    const Commands* list[] = {&commands};
    wait(submit(list));
    std::memcpy(bytes.data() + done, staging->mapped(), count);
  }
}

}  // namespace stithy::vk

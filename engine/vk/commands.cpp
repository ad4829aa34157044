#include <algorithm>

#include "engine/core/error.h"
#include "engine/vk/state.h"

namespace stithy::vk {

Commands::State::~State() {
  if (!device || exiting()) return;
  const Device::State& s = *device->state_;
  for (VkBufferView view : views) s.fn.DestroyBufferView(s.device, view, nullptr);
  for (VkDescriptorPool pool : descriptor_pools) s.fn.DestroyDescriptorPool(s.device, pool, nullptr);
  if (pool) s.fn.DestroyCommandPool(s.device, pool, nullptr);
}

Commands::Commands(const std::shared_ptr<Device>& device) : state_(std::make_unique<State>()) {
  state_->device = device;
  const Device::State& s = *device->state_;
  VkCommandPoolCreateInfo pool{VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO};
  pool.queueFamilyIndex = s.queue_family;
  check(s.fn.CreateCommandPool(s.device, &pool, nullptr, &state_->pool), "vkCreateCommandPool");
  VkCommandBufferAllocateInfo allocate{VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO};
  allocate.commandPool = state_->pool;
  allocate.level = VK_COMMAND_BUFFER_LEVEL_PRIMARY;
  allocate.commandBufferCount = 1;
  check(s.fn.AllocateCommandBuffers(s.device, &allocate, &state_->buffer), "vkAllocateCommandBuffers");
  // Two runs of a program may be in flight at once.
  VkCommandBufferBeginInfo begin{VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO};
  begin.flags = VK_COMMAND_BUFFER_USAGE_SIMULTANEOUS_USE_BIT;
  check(s.fn.BeginCommandBuffer(state_->buffer, &begin), "vkBeginCommandBuffer");
}

Commands::~Commands() = default;
Commands::Commands(Commands&&) noexcept = default;
Commands& Commands::operator=(Commands&&) noexcept = default;

namespace {

// The first pool holds a small program; each further one is as large as a training step's.
constexpr uint32_t kSetsPerPool[] = {16, 512};
constexpr uint32_t kDescriptorsPerSet = 8;

}  // namespace

void Commands::dispatch(const Pipeline& pipeline, std::span<const Binding> bindings,
                        std::span<const std::byte> push, const std::array<uint32_t, 3>& groups) {
  State& c = *state_;
  const Device::State& s = *c.device->state_;
  if (bindings.size() != pipeline.bindings || push.size() != pipeline.push_bytes)
    throw Error("dispatch",
                cat(bindings.size(), " bindings and ", push.size(), " bytes given, the kernel takes ",
                    pipeline.bindings, " and ", pipeline.push_bytes));
  const uint32_t count = pipeline.bindings;
  if (c.sets_left == 0 || c.descriptors_left < count) {
    c.sets_left = kSetsPerPool[c.descriptor_pools.empty() ? 0 : 1];
    c.descriptors_left = std::max(c.sets_left * kDescriptorsPerSet, count);
    const VkDescriptorPoolSize sizes[] = {{VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, c.descriptors_left},
                                          {VK_DESCRIPTOR_TYPE_UNIFORM_TEXEL_BUFFER, c.descriptors_left}};
    VkDescriptorPoolCreateInfo create{VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO};
    create.maxSets = c.sets_left;
    create.poolSizeCount = 2;
    create.pPoolSizes = sizes;
    c.descriptor_pools.push_back(VK_NULL_HANDLE);
    check(s.fn.CreateDescriptorPool(s.device, &create, nullptr, &c.descriptor_pools.back()),
          "vkCreateDescriptorPool");
  }
  --c.sets_left;
  c.descriptors_left -= count;
  VkDescriptorSetAllocateInfo allocate{VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO};
  allocate.descriptorPool = c.descriptor_pools.back();
  allocate.descriptorSetCount = 1;
  allocate.pSetLayouts = &pipeline.layout.set;
  VkDescriptorSet set;
  check(s.fn.AllocateDescriptorSets(s.device, &allocate, &set), "vkAllocateDescriptorSets");
  std::vector<VkDescriptorBufferInfo> infos(count);
  std::vector<VkBufferView> views(count);
  std::vector<VkWriteDescriptorSet> writes(count);
  for (uint32_t i = 0; i < count; ++i) {
    infos[i] = {bindings[i].buffer->handles_->buffer, bindings[i].offset, bindings[i].bytes};
    writes[i] = {VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET};
    writes[i].dstSet = set;
    writes[i].dstBinding = i;
    writes[i].descriptorCount = 1;
    writes[i].descriptorType = descriptor_type(pipeline.texel_bindings, i);
    writes[i].pBufferInfo = &infos[i];
    if (writes[i].descriptorType == VK_DESCRIPTOR_TYPE_UNIFORM_TEXEL_BUFFER) {
      constexpr uint64_t kTexel = 4 * sizeof(float);
      VkBufferViewCreateInfo create{VK_STRUCTURE_TYPE_BUFFER_VIEW_CREATE_INFO};
      create.buffer = infos[i].buffer;
      create.format = VK_FORMAT_R32G32B32A32_SFLOAT;
      create.offset = bindings[i].offset;
      create.range = bindings[i].bytes / kTexel * kTexel;
      check(s.fn.CreateBufferView(s.device, &create, nullptr, &views[i]), "vkCreateBufferView");
      c.views.push_back(views[i]);
      writes[i].pTexelBufferView = &views[i];
    }
  }
  s.fn.UpdateDescriptorSets(s.device, count, writes.data(), 0, nullptr);
  s.fn.CmdBindPipeline(c.buffer, VK_PIPELINE_BIND_POINT_COMPUTE, pipeline.handle);
  s.fn.CmdBindDescriptorSets(c.buffer, VK_PIPELINE_BIND_POINT_COMPUTE, pipeline.layout.pipeline, 0, 1, &set,
                             0, nullptr);
  if (!push.empty())
    s.fn.CmdPushConstants(c.buffer, pipeline.layout.pipeline, VK_SHADER_STAGE_COMPUTE_BIT, 0,
                          static_cast<uint32_t>(push.size()), push.data());
  s.fn.CmdDispatch(c.buffer, groups[0], groups[1], groups[2]);
}

void Commands::barrier() {
  VkMemoryBarrier barrier{VK_STRUCTURE_TYPE_MEMORY_BARRIER};
  barrier.srcAccessMask =
      VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT | VK_ACCESS_HOST_WRITE_BIT;
  barrier.dstAccessMask = VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT |
                          VK_ACCESS_TRANSFER_READ_BIT | VK_ACCESS_TRANSFER_WRITE_BIT |
                          VK_ACCESS_HOST_READ_BIT;
  constexpr VkPipelineStageFlags kStages =
      VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT | VK_PIPELINE_STAGE_HOST_BIT;
  state_->device->state_->fn.CmdPipelineBarrier(state_->buffer, kStages, kStages, 0, 1, &barrier, 0, nullptr,
                                                0, nullptr);
}

void Commands::copy(const Buffer& source, uint64_t source_offset, const Buffer& target,
                    uint64_t target_offset, uint64_t bytes) {
  if (bytes == 0) return;
  const VkBufferCopy region{source_offset, target_offset, bytes};
  state_->device->state_->fn.CmdCopyBuffer(state_->buffer, source.handles_->buffer, target.handles_->buffer,
                                           1, &region);
}

void Commands::fill(const Buffer& target, uint64_t offset, uint64_t bytes, uint32_t word) {
  state_->device->state_->fn.CmdFillBuffer(state_->buffer, target.handles_->buffer, offset, bytes, word);
}

struct Timestamps::Handle {
  VkQueryPool pool = VK_NULL_HANDLE;
};

Timestamps::Timestamps(const std::shared_ptr<Device>& device, uint32_t count)
    : device_(device), count_(count), handle_(std::make_unique<Handle>()) {
  if (!device->info().timestamps())
    throw Error("timestamps", cat(device->info().name, " writes none"), "measure the time on the host");
  const Device::State& s = *device->state_;
  VkQueryPoolCreateInfo create{VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO};
  create.queryType = VK_QUERY_TYPE_TIMESTAMP;
  create.queryCount = std::max(count, 1u);
  check(s.fn.CreateQueryPool(s.device, &create, nullptr, &handle_->pool), "vkCreateQueryPool");
}

Timestamps::~Timestamps() {
  if (exiting()) return;
  const Device::State& s = *device_->state_;
  s.fn.DestroyQueryPool(s.device, handle_->pool, nullptr);
}

void Commands::reset(const Timestamps& times) {
  if (times.count_ > 0)
    state_->device->state_->fn.CmdResetQueryPool(state_->buffer, times.handle_->pool, 0, times.count_);
}

std::vector<std::optional<uint64_t>> Timestamps::read() const {
  if (count_ == 0) return {};
  struct Result {
    uint64_t value = 0, available = 0;
  };
  std::vector<Result> results(count_);
  const Device::State& s = *device_->state_;
  const VkResult result = s.fn.GetQueryPoolResults(
      s.device, handle_->pool, 0, count_, results.size() * sizeof(Result), results.data(), sizeof(Result),
      VK_QUERY_RESULT_64_BIT | VK_QUERY_RESULT_WITH_AVAILABILITY_BIT);
  if (result != VK_NOT_READY) check(result, "vkGetQueryPoolResults");
  std::vector<std::optional<uint64_t>> times;
  for (const Result& one : results) times.push_back(one.available ? std::optional(one.value) : std::nullopt);
  return times;
}

void Commands::timestamp(const Timestamps& times, uint32_t index, bool begins) {
  state_->device->state_->fn.CmdWriteTimestamp(
      state_->buffer, begins ? VK_PIPELINE_STAGE_TOP_OF_PIPE_BIT : VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT,
      times.handle_->pool, index);
}

void Commands::finish() {
  check(state_->device->state_->fn.EndCommandBuffer(state_->buffer), "vkEndCommandBuffer");
}

}  // namespace stithy::vk

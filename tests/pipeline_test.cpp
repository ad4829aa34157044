#include <doctest/doctest.h>

#include <array>
#include <thread>
#include <vector>

#include "engine/core/error.h"
#include "engine/core/file.h"
#include "engine/graph/kernel.h"
#include "engine/vk/device.h"
#include "engine/vk/pipeline_cache.h"
#include "shaders/fill.h"
#include "tests/temporary_folder.h"
#include "tests/with_environment.h"

using namespace stithy;

namespace {

// Some compiled pipelines of `device`, each with a workgroup size of its own.
constexpr std::array<uint32_t, 6> kSizes = {1, 2, 4, 8, 16, 32};
std::vector<const vk::Pipeline*> compile(vk::Device& device) {
  std::vector<vk::PipelineRequest> requests;
  for (const uint32_t& size : kSizes) requests.push_back(request_of(shaders::fill::info(), {&size, 1}));
  requests.push_back(requests.front());
  return device.pipelines(requests);
}

std::string header_of(const vk::DeviceInfo& info) {
  std::string data;
  for (const uint32_t word : {32u, 1u, info.vendor_id, info.device_id})
    for (int shift = 0; shift < 32; shift += 8) data += static_cast<char>(word >> shift & 255);
  for (const uint8_t byte : info.pipeline_cache_uuid) data += static_cast<char>(byte);
  return data;
}

}  // namespace

TEST_SUITE("pipelines") {
  TEST_CASE("one a request, each compiled once, from any thread") {
    const std::shared_ptr<vk::Device> device = vk::Device::open("");
    std::vector<std::vector<const vk::Pipeline*>> found(4);
    {
      std::vector<std::jthread> threads;
      for (auto& mine : found) threads.emplace_back([&mine, &device] { mine = compile(*device); });
    }
    for (const auto& mine : found) {
      REQUIRE(mine.size() == kSizes.size() + 1);
      CHECK(mine == found[0]);
      CHECK(mine.back() == mine.front());
      for (size_t i = 1; i < kSizes.size(); ++i) CHECK(mine[i] != mine[0]);
    }
  }

  TEST_CASE("an error names the kernel") {
    const std::shared_ptr<vk::Device> device = vk::Device::open("");
    const uint32_t size = 64, other = 128;
    const vk::PipelineRequest good = request_of(shaders::fill::info(), {&size, 1});
    vk::PipelineRequest bad = request_of(shaders::fill::info(), {&other, 1});
    bad.name = "greedy";
    bad.push_bytes = 1 << 20;
    CHECK_THROWS_WITH_AS(device->pipelines(std::array{good, bad}), doctest::Contains("greedy: needs 1048576"),
                         Error);
    bad.push_bytes = good.push_bytes;
    bad.name = "broken";
    bad.bindings = 1 << 20;
    CHECK_THROWS_WITH_AS(device->pipelines(std::array{good, bad}), doctest::Contains("broken: binds 1048576"),
                         Error);
    CHECK(device->pipelines(std::array{good}).size() == 1);
  }

  TEST_CASE("only data of the very device and driver goes to the driver") {
    vk::DeviceInfo info;
    info.vendor_id = 0x10de;
    info.device_id = 0x12345678;
    for (uint8_t i = 0; i < 16; ++i) info.pipeline_cache_uuid[i] = static_cast<uint8_t>(17 * i + 3);
    const std::string valid = header_of(info) + "pipelines";
    CHECK(vk::is_pipeline_cache_of(info, valid));
    for (size_t length = 0; length <= 32; ++length)
      CHECK_FALSE(vk::is_pipeline_cache_of(info, valid.substr(0, length)));
    for (size_t i = 0; i < 32; ++i)
      for (int bit = 0; bit < 8; ++bit) {
        std::string damaged = valid;
        damaged[i] = static_cast<char>(damaged[i] ^ (1 << bit));
        CHECK_FALSE(vk::is_pipeline_cache_of(info, damaged));
      }
  }

  TEST_CASE("the file belongs to device, driver and version") {
    const TemporaryFolder folder;
    const WithEnvironment cache("STITHY_CACHE", folder.path().c_str());
    const vk::DeviceInfo info = vk::list_devices().at(0);
    const std::string path = vk::pipeline_cache_file(info).path();
    vk::DeviceInfo other = info;
    other.driver_version += 1;
    CHECK(vk::pipeline_cache_file(other).path() != path);
    other = info;
    other.uuid[3] ^= 1;
    CHECK(vk::pipeline_cache_file(other).path() != path);
    other = info;
    other.driver_uuid[3] ^= 1;
    CHECK(vk::pipeline_cache_file(other).path() != path);
    other = info;
    other.pipeline_cache_uuid[3] ^= 1;
    CHECK(vk::pipeline_cache_file(other).path() != path);
  }

  TEST_CASE("kept on disk; damaged and foreign files are rebuilt") {
    const TemporaryFolder folder;
    const WithEnvironment cache("STITHY_CACHE", folder.path().c_str());
    const auto open = [] { return vk::Device::open(""); };
    const vk::DeviceInfo info = open()->info();
    const CacheFile file = vk::pipeline_cache_file(info);
    compile(*open());
    const std::optional<std::string> kept = file.read();
    if (!kept) MESSAGE("the driver of " << info.name << " gives no pipelines to keep");
    const auto write = [&](const std::string& content) {
      REQUIRE(file.update([&](const auto&) { return content; }));
    };
    // What is there is kept beside what is added: a device that compiles nothing new leaves the file alone.
    if (kept) {
      CHECK(vk::is_pipeline_cache_of(info, *kept));
      compile(*open());
      CHECK(file.read()->size() == kept->size());
    }
    vk::DeviceInfo stranger = info;
    stranger.device_id ^= 1;
    for (const std::string& wrong : {std::string("not a pipeline cache at all, and longer than a header"),
                                     std::string(), header_of(stranger) + "x", header_of(info)}) {
      write(wrong);
      CHECK(compile(*open()).size() == kSizes.size() + 1);
      if (kept) CHECK(file.read()->size() >= kept->size());
    }
    // Damage of the file itself.
    write(kept.value_or(header_of(info) + "x"));
    const std::string whole = read_file(file.path());
    std::string flipped = whole;
    flipped.back() = static_cast<char>(flipped.back() ^ 4);
    for (const std::string& wrong : {whole.substr(0, whole.size() / 2), flipped, std::string()}) {
      write_file_atomically(file.path(), wrong);
      CHECK_FALSE(file.read());
      CHECK(compile(*open()).size() == kSizes.size() + 1);
      if (kept) CHECK(file.read().value_or("").size() >= kept->size());
    }
  }
}

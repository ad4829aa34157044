#include "engine/core/cache.h"

#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>
#include <thread>
#include <vector>

#include "engine/core/error.h"
#include "engine/core/file.h"
#include "tests/hostile.h"
#include "tests/temporary_folder.h"
#include "tests/with_environment.h"

using namespace stithy;

namespace {

const auto kReplace = [](const std::string& content) {
  return [content](const std::optional<std::string>&) { return content; };
};

}  // namespace

TEST_SUITE("cache") {
  TEST_CASE("the folder") {
    const WithEnvironment home("HOME", "/home/me");
    {
      const WithEnvironment none("STITHY_CACHE", nullptr), xdg("XDG_CACHE_HOME", "/tmp/xdg");
      CHECK(cache_folder() == "/tmp/xdg/stithy");
      const WithEnvironment relative("XDG_CACHE_HOME", "xdg");
      CHECK(cache_folder() == "/home/me/.cache/stithy");
      const WithEnvironment homeless("HOME", nullptr);
      CHECK(cache_folder() == "");
    }
    for (const char* off : {"", "off"}) {
      const WithEnvironment chosen("STITHY_CACHE", off);
      CHECK(cache_folder() == "");
      CHECK(CacheFile("k", "key").path() == "");
      CHECK_FALSE(CacheFile("k", "key").update(kReplace("x")));
      CHECK_FALSE(CacheFile("k", "key").read());
    }
    const WithEnvironment chosen("STITHY_CACHE", "/some/where");
    CHECK(cache_folder() == "/some/where");
  }

  TEST_CASE("written and read back, by kind and key") {
    TemporaryFolder folder;
    const WithEnvironment cache("STITHY_CACHE", (folder / "deep/er").c_str());
    const CacheFile file("pipelines", "driver 1");
    CHECK_FALSE(file.read());
    CHECK(file.update([](const std::optional<std::string>& old) {
      CHECK_FALSE(old);
      return std::string("fir\0st", 6);
    }));
    CHECK(file.read() == std::string("fir\0st", 6));
    CHECK(file.update([](const std::optional<std::string>& old) { return old.value_or("") + "!"; }));
    CHECK(file.read() == std::string("fir\0st!", 7));
    CHECK_FALSE(CacheFile("pipelines", "driver 2").read());
    CHECK_FALSE(CacheFile("kernels", "driver 1").read());
    CHECK(file.update(kReplace("")));
    CHECK(file.read() == "");
    CHECK_THROWS_AS(
        file.update([](const std::optional<std::string>&) -> std::string { throw Error("test", "stop"); }),
        Error);
    CHECK(file.read() == "");
  }

  TEST_CASE("a damaged, truncated or foreign file reads as absent, and is replaced") {
    TemporaryFolder folder;
    const WithEnvironment cache("STITHY_CACHE", folder.path().c_str());
    const CacheFile file("k", "the key"), other("k", "another");
    const std::string content = "what took a long time to compute";
    file.update(kReplace(content));
    const std::string valid = read_file(file.path());
    int returned = 0;
    const HostileResult result = feed_damaged(
        valid,
        [&](std::string_view bytes) {
          folder.write(std::filesystem::path(file.path()).filename().string(), bytes);
          if (bytes == valid) return;
          const std::optional<std::string> read = file.read();
          if (read) ++returned;
          throw Error("test", read ? "accepted" : "absent");
        },
        1 << 16);
    CHECK(result.unexpected == "");
    CHECK(returned == 0);
    CHECK(result.refused > 500);

    other.update(kReplace("foreign"));
    std::filesystem::copy_file(other.path(), file.path(), std::filesystem::copy_options::overwrite_existing);
    CHECK_FALSE(file.read());
    std::filesystem::resize_file(file.path(), uint64_t{1} << 40);
    {
      const AllocationLimit bounded(1 << 20);
      CHECK_FALSE(file.read());
    }
    CHECK(file.update(kReplace("rebuilt")));
    CHECK(file.read() == "rebuilt");
    CHECK_FALSE(file.read(3));
  }

  TEST_CASE("updates from many threads are all kept") {
    TemporaryFolder folder;
    const WithEnvironment cache("STITHY_CACHE", folder.path().c_str());
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t)
      threads.emplace_back([] {
        for (int i = 0; i < 5; ++i)
          CacheFile("k", "key").update([](const std::optional<std::string>& old) {
            return old.value_or("") + "x";
          });
      });
    for (std::thread& thread : threads) thread.join();
    CHECK(CacheFile("k", "key").read() == std::string(20, 'x'));
    CHECK(folder.files() == 2);  // the file and the lock
  }

  TEST_CASE("a folder that cannot be written is done without") {
    TemporaryFolder folder;
    folder.write("file", "in the way");
    const WithEnvironment cache("STITHY_CACHE", (folder / "file/under").c_str());
    CHECK_FALSE(CacheFile("k", "key").update(kReplace("x")));
    CHECK_FALSE(CacheFile("k", "key").read());
  }
}

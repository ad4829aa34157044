#include "nn/gzip.h"

#include <doctest/doctest.h>
#include <sys/stat.h>
#include <zlib.h>

#include "engine/core/error.h"
#include "tests/hostile.h"
#include "tests/temporary_folder.h"

using namespace stithy;

namespace {
std::string gzip(const std::string& bytes) {
  z_stream stream{};
  deflateInit2(&stream, 9, Z_DEFLATED, MAX_WBITS + 16, 8, Z_DEFAULT_STRATEGY);
  std::string result(deflateBound(&stream, bytes.size()) + 32, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = reinterpret_cast<Bytef*>(result.data());
  stream.avail_out = static_cast<uInt>(result.size());
  deflate(&stream, Z_FINISH);
  result.resize(stream.total_out);
  deflateEnd(&stream);
  return result;
}
}  // namespace

TEST_SUITE("file") {
  TEST_CASE("write and read back, replacing the old content") {
    TemporaryFolder folder;
    write_file_atomically(folder / "a", "first");
    CHECK(read_file(folder / "a") == "first");
    write_file_atomically(folder / "a", std::string("se\0cond", 7));
    CHECK(read_file(folder / "a") == std::string("se\0cond", 7));
    CHECK(folder.files() == 1);
    write_file_atomically(folder / "empty", "");
    CHECK(read_file(folder / "empty").empty());
  }

  TEST_CASE("a write that fails leaves the old file and nothing else") {
    TemporaryFolder folder;
    write_file_atomically(folder / "a", "old");
    CHECK_THROWS_AS(write_file_atomically(folder / "a",
                                          [](const WriteBytes& write) {
                                            write(std::as_bytes(std::span("new", 3)));
                                            throw Error("test", "stop");
                                          }),
                    Error);
    CHECK(read_file(folder / "a") == "old");
    CHECK(folder.files() == 1);

    std::filesystem::create_directory(folder / "in_the_way");
    std::filesystem::create_directory(folder / "in_the_way/x");
    CHECK_THROWS_WITH_AS(write_file_atomically(folder / "in_the_way", "new"),
                         doctest::Contains("in_the_way: rename failed: "), Error);
    CHECK(folder.files() == 2);
  }

  TEST_CASE("errors name the path and the reason") {
    TemporaryFolder folder;
    CHECK_THROWS_WITH_AS(
        write_file_atomically(folder / "none/a", "x"),
        doctest::Contains("none/a: creating a temporary file beside it failed: No such file"), Error);
    CHECK_THROWS_WITH_AS(read_file(folder / "missing"), doctest::Contains("missing: opening failed: No such"),
                         Error);
    CHECK_THROWS_WITH_AS(read_file(folder.path()), doctest::Contains("is not a regular file"), Error);
    mkfifo((folder / "pipe").c_str(), 0600);
    CHECK_THROWS_WITH_AS(read_file(folder / "pipe"), doctest::Contains("is not a regular file"), Error);
  }

  TEST_CASE("the size limit holds before anything is allocated") {
    TemporaryFolder folder;
    const std::string path = folder.write("sparse", "x");
    std::filesystem::resize_file(path, uint64_t{1} << 40);
    const AllocationLimit bounded(1 << 20);
    CHECK_THROWS_WITH_AS(read_file(path, 1000), doctest::Contains("more than the limit of 1000 B"), Error);
  }

  TEST_CASE("InputFile reads ranges inside the file only") {
    TemporaryFolder folder;
    const InputFile file(folder.write("a", "0123456789"));
    std::string part(4, ' ');
    file.read(3, std::as_writable_bytes(std::span(part)));
    CHECK(part == "3456");
    CHECK_THROWS_AS(file.read(7, std::as_writable_bytes(std::span(part))), Error);
    CHECK_THROWS_AS(file.read(~uint64_t{0}, std::as_writable_bytes(std::span(part))), Error);
  }

  TEST_CASE("gzip: members, limits, damage") {
    TemporaryFolder folder;
    std::string text;
    for (int i = 0; i < 40000; ++i) text += std::to_string(i * 7919 % 10007);
    const std::string packed = gzip(text);
    CHECK(gunzip(packed, 1 << 20, "t") == text);
    CHECK(gunzip(packed + packed, 1 << 20, "t") == text + text);
    CHECK(gunzip(packed, text.size(), "t") == text);
    CHECK_THROWS_WITH_AS(gunzip(packed, text.size() - 1, "t"), doctest::Contains("inflates to more than"),
                         Error);
    CHECK_THROWS_AS(gunzip(packed + "garbage", 1 << 20, "t"), Error);
    CHECK(read_gzip_or_plain(folder.write("a.gz", packed)) == text);
    CHECK(read_gzip_or_plain(folder.write("a", "plain")) == "plain");

    const std::string small = gzip("the quick brown fox jumps over the lazy dog");
    const auto read = [](std::string_view bytes) { gunzip(bytes, 1 << 16, "t"); };
    const HostileResult cut = feed_truncated(small, read);
    CHECK(cut.accepted == 0);
    CHECK(cut.unexpected == "");
    CHECK(feed_damaged(small, read).unexpected == "");
    // A bomb: 64 MiB of zeros in 64 KiB.
    const std::string bomb = gzip(std::string(64 << 20, '\0'));
    const AllocationLimit bounded(4 << 20);
    CHECK_THROWS_AS(gunzip(bomb, 1 << 20, "t"), Error);
  }
}

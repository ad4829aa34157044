// Files: written whole or not at all, read with a bound on their size. Every Error names the path.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>

namespace stithy {

// A regular file, open for reading.
class InputFile {
 public:
  explicit InputFile(const std::string& path);
  ~InputFile();
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;
  const std::string& path() const { return path_; }
  uint64_t size() const { return size_; }
  // Fills `out` with the bytes from `offset` on. Throws Error when the file ends before.
  void read(uint64_t offset, std::span<std::byte> out) const;

 private:
  std::string path_;
  int descriptor_ = -1;
  uint64_t size_ = 0;
};

// Takes the next bytes of a file being written.
using WriteBytes = std::function<void(std::span<const std::byte>)>;

// Writes `path` through a temporary file in the same folder, which replaces it when it is complete and on
// the disk: a reader, or a machine that lost power, finds the old content or the new one, never a part.
// The temporary file is removed when anything fails, an exception out of `write` included. `durable` false
// does not wait for the disk: for what may be lost with the power.
void write_file_atomically(const std::string& path, const std::function<void(const WriteBytes&)>& write,
                           bool durable = true);
void write_file_atomically(const std::string& path, std::string_view bytes);

inline constexpr uint64_t kReadLimit = uint64_t{4} << 30;

// The whole file. Throws Error when it is larger than `limit` bytes.
std::string read_file(const std::string& path, uint64_t limit = kReadLimit);

}  // namespace stithy

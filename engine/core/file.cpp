#include "engine/core/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

#include "engine/core/error.h"

namespace stithy {
namespace {

[[noreturn]] void fail(const std::string& path, const char* action, int code, const std::string& hint = {}) {
  throw Error(path, cat(action, " failed: ", std::strerror(code)), hint);
}

class Descriptor {
 public:
  explicit Descriptor(int value) : value_(value) {}
  ~Descriptor() {
    if (value_ >= 0) ::close(value_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int value() const { return value_; }
  // False, with errno, when the file system reports a late write error.
  bool close() { return ::close(std::exchange(value_, -1)) == 0; }

 private:
  int value_;
};

// Removes its file unless told that it is in place.
class TemporaryFile {
 public:
  explicit TemporaryFile(std::string path) : path_(std::move(path)) {}
  ~TemporaryFile() {
    if (!path_.empty()) ::unlink(path_.c_str());
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  void release() { path_.clear(); }

 private:
  std::string path_;
};

void write_all(const std::string& path, int descriptor, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(descriptor, bytes.data(), std::min<size_t>(bytes.size(), 1u << 30));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail(path, "write", errno);
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
}

}  // namespace

InputFile::InputFile(const std::string& path) : path_(path) {
  // O_NONBLOCK: opening a pipe must not wait for its writer; it is refused below.
  descriptor_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor_ < 0) fail(path, "opening", errno);
  struct stat status {};
  const int error = ::fstat(descriptor_, &status) == 0 ? 0 : errno;
  if (error == 0 && S_ISREG(status.st_mode)) {
    size_ = static_cast<uint64_t>(status.st_size);
    return;
  }
  ::close(descriptor_);
  if (error) fail(path, "stat", error);
  throw Error(path, "is not a regular file");
}

InputFile::~InputFile() { ::close(descriptor_); }

void InputFile::read(uint64_t offset, std::span<std::byte> out) const {
  if (offset > size_ || out.size() > size_ - offset)
    throw Error(path_, cat("ends at byte ", size_, ", but ", out.size(), " bytes are wanted at ", offset));
  while (!out.empty()) {
    const ssize_t count =
        ::pread(descriptor_, out.data(), std::min<size_t>(out.size(), 1u << 30), static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail(path_, "read", errno);
    if (count == 0) throw Error(path_, cat("was cut to ", offset, " bytes while it was read"));
    out = out.subspan(static_cast<size_t>(count));
    offset += static_cast<uint64_t>(count);
  }
}

void write_file_atomically(const std::string& path, const std::function<void(const WriteBytes&)>& write,
                           bool durable) {
  static std::atomic<uint64_t> serial = 0;
  const std::filesystem::path parent = std::filesystem::path(path).parent_path();
  const std::string folder = parent.empty() ? "." : parent.string();
  std::string temporary;
  int opened = -1;
  do {
    temporary = cat(path, ".tmp-", ::getpid(), "-", serial++);
    opened = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  } while (opened < 0 && errno == EEXIST);
  if (opened < 0) fail(path, "creating a temporary file beside it", errno);
  TemporaryFile guard(temporary);
  Descriptor file(opened);

  write([&](std::span<const std::byte> bytes) { write_all(path, file.value(), bytes); });

  if (durable && ::fsync(file.value()) != 0) fail(path, "fsync", errno);
  if (!file.close()) fail(path, "close", errno);
  if (::rename(temporary.c_str(), path.c_str()) != 0) fail(path, "rename", errno);
  guard.release();
  if (!durable) return;
  const Descriptor directory(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  // Some file systems know no fsync of a folder (EINVAL); there the rename is as durable as it gets.
  if (directory.value() < 0 || (::fsync(directory.value()) != 0 && errno != EINVAL))
    fail(path, "fsync of its folder", errno);
}

void write_file_atomically(const std::string& path, std::string_view bytes) {
  write_file_atomically(path, [&](const WriteBytes& write) { write(std::as_bytes(std::span(bytes))); });
}

std::string read_file(const std::string& path, uint64_t limit) {
  const InputFile file(path);
  if (file.size() > limit)
    throw Error(path,
                cat("holds ", format_bytes(file.size()), ", more than the limit of ", format_bytes(limit)));
  std::string bytes(file.size(), '\0');
  file.read(0, std::as_writable_bytes(std::span(bytes)));
  return bytes;
}

}  // namespace stithy

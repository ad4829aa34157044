#include "engine/core/cache.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <thread>

#include "engine/core/error.h"
#include "engine/core/file.h"
#include "engine/core/hash.h"

namespace stithy {
namespace {

struct Header {
  char magic[8];
  uint32_t version, key_bytes;
  uint64_t payload_bytes, checksum;
};
static_assert(sizeof(Header) == 32);
constexpr char kMagic[8] = {'S', 'T', 'I', 'T', 'H', 'Y', 'C', 'A'};
constexpr uint32_t kVersion = 1;

uint64_t checksum(const Header& header, std::string_view key, std::string_view payload) {
  const uint64_t lengths[] = {header.key_bytes, header.payload_bytes};
  uint64_t hash = hash_bytes({reinterpret_cast<const char*>(lengths), sizeof lengths});
  hash = hash_bytes(key, hash);
  return hash_bytes(payload, hash);
}

void warn_once(const std::string& reason) {
  static std::atomic<bool> warned = false;
  if (!warned.exchange(true))
    std::fprintf(stderr, "stithy: the cache cannot be written, so start-up stays slow: %s\n", reason.c_str());
}

// Holds the folder's lock file; after a second of waiting goes on without, which at worst loses what another
// process adds in that moment.
class Lock {
 public:
  explicit Lock(const std::string& path) : file_(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)) {
    for (int i = 0; file_ >= 0 && i < 100 && ::flock(file_, LOCK_EX | LOCK_NB) != 0; ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  ~Lock() {
    if (file_ >= 0) ::close(file_);
  }
  Lock(const Lock&) = delete;

 private:
  int file_;
};

}  // namespace

std::string cache_folder() {
  if (const char* chosen = std::getenv("STITHY_CACHE"))
    return std::string_view(chosen) == "off" ? std::string() : chosen;
  // A relative path is to be ignored (XDG Base Directory Specification).
  if (const char* xdg = std::getenv("XDG_CACHE_HOME"); xdg && *xdg == '/') return cat(xdg, "/stithy");
  if (const char* home = std::getenv("HOME"); home && *home == '/') return cat(home, "/.cache/stithy");
  return {};
}

CacheFile::CacheFile(std::string kind, std::string key) : kind_(std::move(kind)), key_(std::move(key)) {}

std::string CacheFile::path() const {
  const std::string folder = cache_folder();
  if (folder.empty()) return {};
  return cat(folder, "/", kind_, "-", hash_text(key_));
}

std::optional<std::string> CacheFile::read(uint64_t limit) const {
  const std::string path = this->path();
  if (path.empty()) return std::nullopt;
  try {
    std::string bytes = read_file(path, sizeof(Header) + key_.size() + limit);
    Header header;
    if (bytes.size() < sizeof header) return std::nullopt;
    std::memcpy(&header, bytes.data(), sizeof header);
    if (std::memcmp(header.magic, kMagic, sizeof kMagic) != 0 || header.version != kVersion ||
        header.key_bytes != key_.size() || bytes.size() - sizeof header < key_.size() ||
        header.payload_bytes != bytes.size() - sizeof header - key_.size())
      return std::nullopt;
    const auto rest = std::string_view(bytes).substr(sizeof header);
    const std::string_view key = rest.substr(0, key_.size()), payload = rest.substr(key_.size());
    if (key != key_ || header.checksum != checksum(header, key, payload)) return std::nullopt;
    return bytes.erase(0, sizeof header + key_.size());
  } catch (const Error&) {
    return std::nullopt;
  }
}

bool CacheFile::update(const std::function<std::string(const std::optional<std::string>&)>& merge) const {
  const std::string path = this->path();
  if (path.empty()) return false;
  std::error_code failed;
  const std::filesystem::path folder = cache_folder();
  std::filesystem::create_directories(folder, failed);
  if (failed) {
    warn_once(cat(folder.string(), ": ", failed.message()));
    return false;
  }
  const Lock lock(folder / "lock");
  const std::string payload = merge(read());
  Header header{{}, kVersion, static_cast<uint32_t>(key_.size()), payload.size(), 0};
  std::memcpy(header.magic, kMagic, sizeof kMagic);
  header.checksum = checksum(header, key_, payload);
  try {
    const auto write_parts = [&](const WriteBytes& write) {
      write(std::as_bytes(std::span(&header, 1)));
      write(std::as_bytes(std::span(key_)));
      write(std::as_bytes(std::span(payload)));
    };
    write_file_atomically(path, write_parts, false);  // a file cut by a power failure reads as absent
    return true;
  } catch (const Error& error) {
    warn_once(error.what());
    return false;
  }
}

}  // namespace stithy

#include "tests/hostile.h"

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <new>

#include "engine/core/error.h"

namespace {
thread_local size_t allocation_limit = std::numeric_limits<size_t>::max();
}

// Replaces the global operator new of the test program.
void* operator new(size_t size) {
  if (size > allocation_limit) throw std::bad_alloc();
  if (void* memory = std::malloc(size ? size : 1)) return memory;
  throw std::bad_alloc();
}
void* operator new(size_t size, const std::nothrow_t&) noexcept {
  return size > allocation_limit ? nullptr : std::malloc(size ? size : 1);
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
void operator delete(void* memory, const std::nothrow_t&) noexcept { std::free(memory); }

namespace stithy {

AllocationLimit::AllocationLimit(size_t bytes) { allocation_limit = bytes; }
AllocationLimit::~AllocationLimit() { allocation_limit = std::numeric_limits<size_t>::max(); }

namespace {
void feed(std::string_view bytes, const std::string& damage,
          const std::function<void(std::string_view)>& read, size_t limit, HostileResult& result) {
  try {
    const AllocationLimit bounded(limit);
    read(bytes);
    ++result.accepted;
  } catch (const Error&) {
    ++result.refused;
  } catch (const std::exception& error) {
    if (result.unexpected.empty()) result.unexpected = damage + ": " + error.what();
  }
}
}  // namespace

HostileResult feed_truncated(std::string_view valid, const std::function<void(std::string_view)>& read,
                             size_t limit) {
  HostileResult result;
  for (size_t length = 0; length < valid.size(); ++length)
    feed(valid.substr(0, length), cat("cut to ", length), read, limit, result);
  return result;
}

HostileResult feed_damaged(std::string_view valid, const std::function<void(std::string_view)>& read,
                           size_t limit) {
  HostileResult result = feed_truncated(valid, read, limit);
  for (size_t i = 0; i < valid.size(); ++i) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string bytes(valid);
      bytes[i] = static_cast<char>(bytes[i] ^ (1 << bit));
      feed(bytes, cat("bit ", bit, " of byte ", i, " flipped"), read, limit, result);
    }
    for (size_t width : {4, 8})
      for (int fill : {0x00, 0x7f, 0x80, 0xff}) {
        std::string bytes(valid);
        for (size_t k = i; k < std::min(i + width, bytes.size()); ++k) bytes[k] = static_cast<char>(fill);
        feed(bytes, cat(width, " bytes of ", fill, " at ", i), read, limit, result);
      }
  }
  return result;
}

}  // namespace stithy

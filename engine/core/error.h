// Errors: one type, raised where the user's mistake is made, naming the thing, the value and a way out.
#pragma once

#include <cstdint>
#include <span>
#include <sstream>
#include <stdexcept>
#include <string>

namespace stithy {

// Joins its arguments as operator<< prints them: cat("axis ", 3, " of ", shape).
template <class... Parts>
std::string cat(const Parts&... parts) {
  std::ostringstream text;
  (text << ... << parts);
  return text.str();
}

// what() reads "where: message", then, if there is a hint, a line "HINT: hint".
class Error : public std::runtime_error {
 public:
  Error(const std::string& where, const std::string& message, const std::string& hint = {});
  const std::string& where() const { return where_; }
  const std::string& message() const { return message_; }
  const std::string& hint() const { return hint_; }

 private:
  std::string where_, message_, hint_;
};

// The device (or the limit set by STITHY_MEMORY_LIMIT) cannot hold what a program needs. Sizes in bytes.
class OutOfMemory : public Error {
 public:
  OutOfMemory(const std::string& where, uint64_t needed, uint64_t available, const std::string& hint = {});
  uint64_t needed() const { return needed_; }
  uint64_t available() const { return available_; }

 private:
  uint64_t needed_, available_;
};

// Two digits a byte, for identifiers.
std::string hex(std::span<const uint8_t> bytes);
// 1536 -> "1.5 KiB".
std::string format_bytes(uint64_t bytes);

}  // namespace stithy

// Vocabulary: tokens and their numbers.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace stithy {

class Vocabulary {
 public:
  // Throws Error for an empty token, a token or a number that is taken, and a negative number.
  void add(std::string_view token, int32_t id);
  // The next number.
  int32_t add(std::string_view token);
  // One more than the largest number; there may be gaps.
  int32_t size() const { return static_cast<int32_t>(tokens_.size()); }
  std::optional<int32_t> find(std::string_view token) const;
  // Throws Error for a token that is not there.
  int32_t id(std::string_view token) const;
  // Throws Error for a number out of range and for a gap.
  const std::string& token(int32_t id) const;
  bool has(int32_t id) const { return id >= 0 && id < size() && !tokens_[static_cast<size_t>(id)].empty(); }

 private:
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
  };
  std::vector<std::string> tokens_;  // a gap is empty
  std::unordered_map<std::string, int32_t, Hash, std::equal_to<>> ids_;
};

// In quotes for a message: cut when it is long, bytes that cannot be shown as \x1b.
std::string in_quotes(std::string_view text);

}  // namespace stithy

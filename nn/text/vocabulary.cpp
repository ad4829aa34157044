#include "nn/text/vocabulary.h"

#include "engine/core/error.h"
#include "nn/text/unicode.h"

namespace stithy {

void Vocabulary::add(std::string_view token, int32_t id) {
  if (token.empty()) throw Error("vocabulary", cat("the token with id ", id, " is empty"));
  if (id < 0) throw Error("vocabulary", cat("the token ", in_quotes(token), " has the negative id ", id));
  if (has(id))
    throw Error("vocabulary", cat("the id ", id, " is taken by ", in_quotes(tokens_[static_cast<size_t>(id)]),
                                  " and by ", in_quotes(token)));
  if (const auto known = find(token))
    throw Error("vocabulary",
                cat("the token ", in_quotes(token), " is there twice, as ", *known, " and as ", id));
  if (id >= size()) tokens_.resize(static_cast<size_t>(id) + 1);
  tokens_[static_cast<size_t>(id)] = token;
  ids_.emplace(token, id);
}

int32_t Vocabulary::add(std::string_view token) {
  const int32_t id = size();
  add(token, id);
  return id;
}

std::optional<int32_t> Vocabulary::find(std::string_view token) const {
  const auto found = ids_.find(token);
  return found == ids_.end() ? std::nullopt : std::optional(found->second);
}

int32_t Vocabulary::id(std::string_view token) const {
  if (const auto found = find(token)) return *found;
  throw Error("vocabulary", cat("has no token ", in_quotes(token)));
}

const std::string& Vocabulary::token(int32_t id) const {
  if (id < 0 || id >= size())
    throw Error("vocabulary", cat("id ", id, " is out of range for ", size(), " tokens"));
  if (!has(id)) throw Error("vocabulary", cat("id ", id, " has no token"));
  return tokens_[static_cast<size_t>(id)];
}

std::string in_quotes(std::string_view text) {
  constexpr size_t kMost = 40;
  std::string result = "'";
  for (size_t at = 0; at < text.size();) {
    if (result.size() > kMost) {
      result += "...";
      break;
    }
    const size_t begin = at;
    const char32_t c = unicode::next(text, at);
    if (unicode::in(c, unicode::kControl) || unicode::is_ill_formed(c)) {
      const auto byte = static_cast<uint8_t>(text[at - 1]);
      result += "\\x" + hex({&byte, 1});
    } else {
      result += text.substr(begin, at - begin);
    }
  }
  return result + "'";
}

}  // namespace stithy

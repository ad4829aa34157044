#include "nn/text/unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>

#include "engine/core/error.h"

namespace stithy::unicode {
namespace {

constexpr char32_t kIllFormed = 0xdc00;

Category look_up(char32_t c) {
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_LU: return kUpper;
    case UTF8PROC_CATEGORY_LL: return kLower;
    case UTF8PROC_CATEGORY_LT: return kTitle;
    case UTF8PROC_CATEGORY_LM: return kModifier;
    case UTF8PROC_CATEGORY_LO: return kOtherLetter;
    case UTF8PROC_CATEGORY_MN: return kNonspacing;
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME: return kOtherMark;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO: return kNumber;
    case UTF8PROC_CATEGORY_PC:
    case UTF8PROC_CATEGORY_PD:
    case UTF8PROC_CATEGORY_PS:
    case UTF8PROC_CATEGORY_PE:
    case UTF8PROC_CATEGORY_PI:
    case UTF8PROC_CATEGORY_PF:
    case UTF8PROC_CATEGORY_PO: return kPunctuation;
    case UTF8PROC_CATEGORY_CC: return kControl;
    case UTF8PROC_CATEGORY_CF: return kFormat;
    case UTF8PROC_CATEGORY_CO: return kPrivate;
    default: return kOtherCategory;
  }
}

}  // namespace

char32_t next(std::string_view text, size_t& at) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(at);
  if (first < 0x80) {
    ++at;
    return first;
  }
  const size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  const char32_t smallest = length == 4 ? 0x10000 : length == 3 ? 0x800 : 0x80;
  char32_t c = first & (0x7fu >> length);
  bool well = first >= 0xc2 && first <= 0xf4 && text.size() - at >= length;
  for (size_t i = 1; well && i < length; ++i) {
    well = (byte(at + i) & 0xc0) == 0x80;
    c = c << 6 | (byte(at + i) & 0x3f);
  }
  if (!well || c < smallest || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff)) {
    ++at;
    return kIllFormed + first;
  }
  at += length;
  return c;
}

void append(std::string& text, char32_t c) {
  const auto add = [&](char32_t byte) { text += static_cast<char>(byte); };
  if (c < 0x80) {
    add(c);
  } else if (is_ill_formed(c)) {
    add(c - kIllFormed);
  } else if (c < 0x800) {
    add(0xc0 | c >> 6), add(0x80 | (c & 0x3f));
  } else if (c < 0x10000) {
    add(0xe0 | c >> 12), add(0x80 | (c >> 6 & 0x3f)), add(0x80 | (c & 0x3f));
  } else {
    add(0xf0 | c >> 18), add(0x80 | (c >> 12 & 0x3f)), add(0x80 | (c >> 6 & 0x3f)), add(0x80 | (c & 0x3f));
  }
}

size_t find_ill_formed(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const size_t begin = at;
    if (is_ill_formed(next(text, at))) return begin;
  }
  return std::string_view::npos;
}

Category category(char32_t c) {
  static const std::array<Category, 128> ascii = [] {
    std::array<Category, 128> table{};
    for (char32_t i = 0; i < table.size(); ++i) table[i] = look_up(i);
    return table;
  }();
  return c < ascii.size() ? ascii[c] : look_up(c);
}

bool is_space(char32_t c) {
  if (c < 0x80) return c == ' ' || (c >= '\t' && c <= '\r');
  return c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 ||
         c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

std::string lower(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const char32_t c = next(text, at);
    if (c < 0x80) {
      result += static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
    } else if (c == 0x130) {  // SpecialCasing.txt: the only one without conditions
      result += "i\u0307";
    } else {
      append(result, is_ill_formed(c) ? c : static_cast<char32_t>(utf8proc_tolower(static_cast<int32_t>(c))));
    }
  }
  return result;
}

// utf8proc's own function for whole texts sorts a run of marks in quadratic time, so they are sorted here.
std::string normalize(std::string_view text, Form form) {
  const bool compose = form == Form::nfc || form == Form::nfkc;
  int options = UTF8PROC_STABLE | (compose ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE);
  if (form == Form::nfkc || form == Form::nfkd) options |= UTF8PROC_COMPAT;
  const auto flag = static_cast<utf8proc_option_t>(options);
  const auto rank = [](int32_t c) { return utf8proc_get_property(c)->combining_class; };

  std::string result;
  result.reserve(text.size());
  std::vector<int32_t> points;
  std::array<int32_t, 32> parts{};  // the longest decomposition, of U+FDFA, has 18
  const auto flush = [&] {
    for (auto begin = points.begin(); begin != points.end();) {
      if (rank(*begin) == 0) {
        ++begin;
        continue;
      }
      const auto end = std::find_if(begin, points.end(), [&](int32_t c) { return rank(c) == 0; });
      std::stable_sort(begin, end, [&](int32_t a, int32_t b) { return rank(a) < rank(b); });
      begin = end;
    }
    auto count = static_cast<utf8proc_ssize_t>(points.size());
    if (compose && count > 0) count = utf8proc_normalize_utf32(points.data(), count, flag);
    for (utf8proc_ssize_t i = 0; i < count; ++i)
      append(result, static_cast<char32_t>(points[static_cast<size_t>(i)]));
    points.clear();
  };
  for (size_t at = 0; at < text.size();) {
    const char32_t c = next(text, at);
    // Nothing composes with an ASCII character behind it, so all before it is complete.
    if (c < 0x80 || is_ill_formed(c)) flush();
    if (is_ill_formed(c)) {
      append(result, c);
      continue;
    }
    int boundary = 0;
    const utf8proc_ssize_t count =
        utf8proc_decompose_char(static_cast<int32_t>(c), parts.data(), parts.size(), flag, &boundary);
    if (count < 0 || count > static_cast<utf8proc_ssize_t>(parts.size()))
      throw Error("unicode", cat("cannot decompose U+", std::hex, static_cast<uint32_t>(c)));
    points.insert(points.end(), parts.begin(), parts.begin() + count);
  }
  flush();
  return result;
}

std::string without(std::string_view text, unsigned categories) {
  std::string result;
  result.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const size_t begin = at;
    if (!in(next(text, at), categories)) result += text.substr(begin, at - begin);
  }
  return result;
}

}  // namespace stithy::unicode

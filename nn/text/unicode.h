// Unicode for tokenizers, by utf8proc: UTF-8, general categories, normal forms (UAX #15), lower case. Code
// points that a later version of Unicode assigned than the installed utf8proc knows (2.8:
// Unicode 15.0, 2.11: 17.0) are neither letters nor numbers; other tokenizers' tables differ there in the
// same way.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace stithy::unicode {

// Bytes that are no well-formed UTF-8 (Unicode 15, table 3-7) go through as code points of their own, 0xdc00
// + byte: surrogates, which UTF-8 cannot hold. They have no letters, numbers or spaces among them, and
// append() gives the byte back.
inline constexpr bool is_ill_formed(char32_t c) { return c >= 0xdc80 && c <= 0xdcff; }

// The code point that begins at text[at], which must exist; moves `at` behind it.
char32_t next(std::string_view text, size_t& at);
void append(std::string& text, char32_t c);
// The position of the first ill-formed byte, or npos.
size_t find_ill_formed(std::string_view text);

// General categories as bits, to be joined: in(c, kLetter | kMark).
enum Category : unsigned {
  kUpper = 1 << 0,     // Lu
  kLower = 1 << 1,     // Ll
  kTitle = 1 << 2,     // Lt
  kModifier = 1 << 3,  // Lm
  kOtherLetter = 1 << 4,
  kNonspacing = 1 << 5,     // Mn
  kOtherMark = 1 << 6,      // Mc, Me
  kNumber = 1 << 7,         // Nd, Nl, No
  kPunctuation = 1 << 8,    // P*
  kControl = 1 << 9,        // Cc
  kFormat = 1 << 10,        // Cf
  kPrivate = 1 << 11,       // Co
  kOtherCategory = 1 << 12  // S*, Z*, Cs, Cn
};
inline constexpr unsigned kLetter = kUpper | kLower | kTitle | kModifier | kOtherLetter;
inline constexpr unsigned kMark = kNonspacing | kOtherMark;
Category category(char32_t c);
inline bool in(char32_t c, unsigned categories) { return (category(c) & categories) != 0; }

// The property White_Space (PropList.txt), which regular expressions call \s.
bool is_space(char32_t c);

// Lower case of every code point by itself, in full where that is without conditions (U+0130 gives two). A
// sigma that ends a word is as any other, other than in Python's str.lower().
std::string lower(std::string_view text);

enum class Form { nfc, nfd, nfkc, nfkd };
// In time n log n, whatever the marks. Ill-formed bytes stay as they are.
std::string normalize(std::string_view text, Form form);

// Without the code points of these categories.
std::string without(std::string_view text, unsigned categories);

}  // namespace stithy::unicode

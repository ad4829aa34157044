// Text files: lines, and pairs of texts.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace stithy {

// Where a file is not known: UTF-8, or, where a byte of it is none, windows-1252, Latin-1 with punctuation in
// place of control characters (https://encoding.spec.whatwg.org).
enum class TextEncoding { utf8, latin1, utf8_or_windows1252 };

// The whole file as UTF-8, without a byte-order mark. Throws Error, with the line, for bytes that are none.
std::string read_text(const std::string& path, TextEncoding encoding = TextEncoding::utf8);
// Its lines, which end in LF or CR LF; none after the last of these.
std::vector<std::string> read_lines(const std::string& path, TextEncoding encoding = TextEncoding::utf8);

using TextPair = std::pair<std::string, std::string>;
// Lines with two texts between tabs (Tatoeba's sentences and translations, a label and a sentence); what
// follows a second tab is left out, and so are empty lines. There is no quoting: read_csv() reads that.
// Throws Error, with the line, where there is no tab or a text is empty.
std::vector<TextPair> read_pairs(const std::string& path, TextEncoding encoding = TextEncoding::utf8);
std::vector<TextPair> parse_pairs(std::string_view text, const std::string& where);

}  // namespace stithy

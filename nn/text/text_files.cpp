#include "nn/text/text_files.h"

#include <algorithm>

#include "engine/core/error.h"
#include "engine/core/file.h"
#include "nn/text/unicode.h"

namespace stithy {
namespace {

template <class F>
void each_line(std::string_view text, F take) {
  int64_t number = 1;
  for (size_t at = 0; at < text.size(); ++number) {
    const size_t end = std::min(text.find('\n', at), text.size());
    std::string_view line = text.substr(at, end - at);
    if (line.ends_with('\r')) line.remove_suffix(1);
    take(line, number);
    at = end + 1;
  }
}

// The code points of the bytes 0x80 to 0x9f.
constexpr char32_t kWindows1252[32] = {0x20ac, 0x81,   0x201a, 0x0192, 0x201e, 0x2026, 0x2020, 0x2021,
                                       0x02c6, 0x2030, 0x0160, 0x2039, 0x0152, 0x8d,   0x017d, 0x8f,
                                       0x90,   0x2018, 0x2019, 0x201c, 0x201d, 0x2022, 0x2013, 0x2014,
                                       0x02dc, 0x2122, 0x0161, 0x203a, 0x0153, 0x9d,   0x017e, 0x0178};

std::string from_bytes(std::string_view bytes, bool windows) {
  std::string converted;
  converted.reserve(bytes.size() + bytes.size() / 8);
  for (const char byte : bytes) {
    const char32_t c = static_cast<unsigned char>(byte);
    unicode::append(converted, windows && c >= 0x80 && c < 0xa0 ? kWindows1252[c - 0x80] : c);
  }
  return converted;
}

}  // namespace

std::string read_text(const std::string& path, TextEncoding encoding) {
  std::string text = read_file(path);
  if (encoding == TextEncoding::latin1) return from_bytes(text, false);
  if (const size_t bad = unicode::find_ill_formed(text); bad != std::string::npos) {
    if (encoding == TextEncoding::utf8_or_windows1252) return from_bytes(text, true);
    const auto line = 1 + std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(bad), '\n');
    throw Error(path,
                cat("line ", line, ": the byte 0x", hex({reinterpret_cast<const uint8_t*>(&text[bad]), 1}),
                    " is no valid UTF-8"),
                "a file of Western Europe from before Unicode may be TextEncoding::latin1");
  }
  if (text.starts_with("\xef\xbb\xbf")) text.erase(0, 3);
  return text;
}

std::vector<std::string> read_lines(const std::string& path, TextEncoding encoding) {
  const std::string text = read_text(path, encoding);
  std::vector<std::string> lines;
  each_line(text, [&](std::string_view line, int64_t) { lines.emplace_back(line); });
  return lines;
}

std::vector<TextPair> parse_pairs(std::string_view text, const std::string& where) {
  std::vector<TextPair> pairs;
  each_line(text, [&](std::string_view line, int64_t number) {
    if (line.empty()) return;
    const size_t tab = line.find('\t');
    if (tab == line.npos) throw Error(where, cat("line ", number, ": has no tab"));
    const std::string_view first = line.substr(0, tab), rest = line.substr(tab + 1);
    const std::string_view second = rest.substr(0, rest.find('\t'));
    if (first.empty() || second.empty())
      throw Error(where,
                  cat("line ", number, ": the ", first.empty() ? "first" : "second", " text is empty"));
    pairs.emplace_back(first, second);
  });
  return pairs;
}

std::vector<TextPair> read_pairs(const std::string& path, TextEncoding encoding) {
  return parse_pairs(read_text(path, encoding), path);
}

}  // namespace stithy

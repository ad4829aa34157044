#include "nn/text/pre_tokenizer.h"

#include <algorithm>
#include <array>
#include <utility>

#include "nn/text/unicode.h"

namespace stithy {
namespace {

using namespace unicode;

bool is_cjk(char32_t c) {
  constexpr std::array<std::pair<char32_t, char32_t>, 8> blocks = {{{0x4e00, 0x9fff},
                                                                    {0x3400, 0x4dbf},
                                                                    {0x20000, 0x2a6df},
                                                                    {0x2a700, 0x2b73f},
                                                                    {0x2b740, 0x2b81f},
                                                                    {0x2b820, 0x2ceaf},
                                                                    {0xf900, 0xfaff},
                                                                    {0x2f800, 0x2fa1f}}};
  return std::any_of(blocks.begin(), blocks.end(),
                     [&](const auto& block) { return c >= block.first && c <= block.second; });
}

std::string bert_normalized(std::string_view text, const BertNormalization& options) {
  std::string result;
  for (size_t at = 0; at < text.size();) {
    const char32_t c = next(text, at);
    if (options.clean) {
      if (c == '\t' || c == '\n' || c == '\r' || (is_space(c) && !in(c, kControl))) {
        result += ' ';
        continue;
      }
      if (c == 0 || c == 0xfffd || is_ill_formed(c) || in(c, kControl | kFormat | kPrivate)) continue;
    }
    const bool apart = options.space_cjk && is_cjk(c);
    if (apart) result += ' ';
    append(result, c);
    if (apart) result += ' ';
  }
  if (options.strip_accents.value_or(options.lower))
    result = without(normalize(result, Form::nfd), kNonspacing);
  return options.lower ? lower(result) : result;
}

// Reads code points of a text from a position on.
struct Cursor {
  std::string_view text;
  size_t at;
  bool done() const { return at == text.size(); }
  char32_t peek() const {
    size_t ahead = at;
    return done() ? 0 : next(text, ahead);
  }
  char32_t take() { return next(text, at); }
  template <class F>
  size_t take_while(F wanted, size_t most = std::string_view::npos) {
    size_t count = 0;
    for (size_t ahead = at; ahead < text.size() && count < most && wanted(next(text, ahead)); ++count)
      at = ahead;
    return count;
  }
};

bool is_letter(char32_t c) { return in(c, kLetter); }
bool is_number(char32_t c) { return in(c, kNumber); }
bool is_break(char32_t c) { return c == '\r' || c == '\n'; }
bool is_other(char32_t c) { return !is_space(c) && !in(c, kLetter | kNumber); }

// The length of 's, 't, 're, 've, 'm, 'll or 'd at text[at], or 0. In any case also with the long s, which
// folds to s.
size_t contraction(std::string_view text, size_t at, bool any_case) {
  if (text[at] != '\'') return 0;
  const std::string_view rest = text.substr(at + 1, 2);
  const auto letter = [&](size_t i) {
    const char c = i < rest.size() ? rest[i] : '\0';
    return any_case && c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  };
  const char a = letter(0), b = letter(1);
  if (a == 's' || a == 't' || a == 'm' || a == 'd') return 2;
  if ((a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l')) return 3;
  return any_case && rest == "\u017f" ? 3 : 0;
}

// \s+(?!\S)|\s+, with \s*[\r\n]+ in front where `breaks` is set.
size_t space_end(Cursor cursor, bool breaks) {
  size_t last = cursor.at, after_break = 0;  // where the last code point begins, and a line break ends
  const size_t begin = cursor.at;
  while (!cursor.done() && is_space(cursor.peek())) {
    last = cursor.at;
    if (is_break(cursor.take())) after_break = cursor.at;
  }
  if (breaks && after_break) return after_break;
  return cursor.done() || last == begin ? cursor.at : last;
}

size_t gpt2_end(std::string_view text, size_t at) {
  if (const size_t length = contraction(text, at, false)) return at + length;
  Cursor cursor{text, at};
  if (text[at] == ' ') ++cursor.at;
  if (cursor.take_while(is_letter) || cursor.take_while(is_number) || cursor.take_while(is_other))
    return cursor.at;
  return space_end({text, at}, false);
}

bool may_begin_word(char32_t c) { return !is_break(c) && !in(c, kLetter | kNumber); }

//  ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+, with '/' among the line breaks where `slash` is set.
size_t other_end(std::string_view text, size_t at, bool slash) {
  Cursor cursor{text, at};
  if (text[at] == ' ') ++cursor.at;
  if (cursor.take_while(is_other)) {
    cursor.take_while([&](char32_t c) { return is_break(c) || (slash && c == '/'); });
    return cursor.at;
  }
  return space_end({text, at}, true);
}

size_t cl100k_end(std::string_view text, size_t at, size_t digits) {
  if (const size_t length = contraction(text, at, true)) return at + length;
  Cursor cursor{text, at};
  if (may_begin_word(cursor.peek())) cursor.take();
  if (cursor.take_while(is_letter)) return cursor.at;
  cursor.at = at;
  if (cursor.take_while(is_number, digits)) return cursor.at;
  return other_end(text, at, false);
}

// [upper]*[lower]+ and, failing that, [upper]+[lower]*, from `at` on, where caseless letters and marks are in
// both classes; 0 where neither fits.
size_t cased_end(std::string_view text, size_t at, bool lower_needed) {
  constexpr unsigned kBoth = kModifier | kOtherLetter | kMark;
  const auto is_low = [](char32_t c) { return in(c, kLower | kBoth); };
  Cursor cursor{text, at};
  size_t after_both = 0;  // behind the last code point of both classes
  while (!cursor.done() && in(cursor.peek(), kUpper | kTitle | kBoth)) {
    const bool both = in(cursor.take(), kBoth);
    if (both) after_both = cursor.at;
  }
  const bool any_upper = cursor.at > at;
  const bool any_lower = cursor.take_while(is_low) > 0;
  if (lower_needed) return any_lower ? cursor.at : after_both;  // gives back what the second class can take
  return any_upper ? cursor.at : 0;
}

size_t o200k_end(std::string_view text, size_t at) {
  Cursor cursor{text, at};
  const char32_t first = cursor.take();
  // With the optional character in front, then without; first words that hold a lower-case letter.
  for (const bool lower_needed : {true, false})
    for (const bool prefix : {true, false}) {
      if (prefix && !may_begin_word(first)) continue;
      const size_t end = cased_end(text, prefix ? cursor.at : at, lower_needed);
      if (end) return end < text.size() ? end + contraction(text, end, true) : end;
    }
  cursor.at = at;
  if (cursor.take_while(is_number, 3)) return cursor.at;
  return other_end(text, at, true);
}

struct KnownPattern {
  std::string_view regular_expression;
  SplitPattern pattern;
};
// Several spellings of one expression are in use; the first is written.
constexpr KnownPattern kPatterns[] = {
    {R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)", SplitPattern::gpt2},
    {R"('(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)", SplitPattern::gpt2},
    {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     SplitPattern::cl100k},
    {R"('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     SplitPattern::cl100k},
    {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     SplitPattern::qwen2},
    {R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     SplitPattern::o200k},
};

bool is_ascii_punctuation(char32_t c) {
  return (c >= 33 && c <= 47) || (c >= 58 && c <= 64) || (c >= 91 && c <= 96) || (c >= 123 && c <= 126);
}

using Emit = std::function<void(std::string_view)>;

// Runs of what `apart` does not name, and each code point that it names: dropped, alone or in runs of its
// own.
enum class Kept { nowhere, alone, together };
template <class F>
void divide(std::string_view text, F apart, const Emit& piece) {
  size_t begin = 0;
  Kept run = Kept::together;
  bool inside = false;
  const auto end_piece = [&](size_t end) {
    if (end > begin) piece(text.substr(begin, end - begin));
  };
  for (size_t at = 0; at < text.size();) {
    const size_t here = at;
    const auto [is_apart, kept] = apart(next(text, at));
    if (is_apart != inside || (inside && (run != Kept::together || kept != run))) {
      if (!inside || run != Kept::nowhere) end_piece(here);
      begin = here;
    }
    inside = is_apart;
    run = kept;
  }
  if (!inside || run != Kept::nowhere) end_piece(text.size());
}

void split(SplitPattern pattern, std::string_view text, const Emit& piece) {
  for (size_t at = 0; at < text.size();) {
    const size_t end = piece_end(pattern, text, at);
    piece(text.substr(at, end - at));
    at = end;
  }
}

void apply(const std::vector<PreTokenizer::Step>& steps, size_t number, std::string_view text,
           const Emit& piece) {
  if (text.empty()) return;
  if (number == steps.size()) return piece(text);
  const PreTokenizer::Step& step = steps[number];
  const Emit inner = [&](std::string_view part) { apply(steps, number + 1, part, piece); };
  using Apart = std::pair<bool, Kept>;
  switch (step.kind) {
    case PreTokenizer::Kind::split: split(step.pattern, text, inner); break;
    case PreTokenizer::Kind::byte_level: {
      const std::string prefixed =
          step.prefix_space && text[0] != ' ' ? " " + std::string(text) : std::string();
      if (!prefixed.empty()) text = prefixed;
      if (step.divide)
        split(SplitPattern::gpt2, text, inner);
      else
        inner(text);
      break;
    }
    case PreTokenizer::Kind::digits: {
      const Kept kept = step.single_digits ? Kept::alone : Kept::together;
      divide(
          text, [&](char32_t c) { return Apart(is_number(c), kept); }, inner);
      break;
    }
    case PreTokenizer::Kind::separators:
      divide(
          text,
          [&](char32_t c) {
            const bool separates =
                c < 0x80 && step.separators.find(static_cast<char>(c)) != std::string::npos;
            return Apart(separates || is_space(c), Kept::nowhere);
          },
          inner);
      break;
    case PreTokenizer::Kind::bert:
      divide(
          text,
          [&](char32_t c) {
            if (is_space(c)) return Apart(true, Kept::nowhere);
            return Apart(is_ascii_punctuation(c) || in(c, kPunctuation), Kept::alone);
          },
          inner);
      break;
    case PreTokenizer::Kind::characters:
      divide(
          text, [&](char32_t) { return Apart(true, Kept::alone); }, inner);
      break;
  }
}

}  // namespace

std::string TextNormalizer::operator()(std::string_view text) const {
  std::string result(text);
  for (const Step& step : steps) switch (step.kind) {
      case Kind::nfc: result = normalize(result, Form::nfc); break;
      case Kind::nfd: result = normalize(result, Form::nfd); break;
      case Kind::nfkc: result = normalize(result, Form::nfkc); break;
      case Kind::nfkd: result = normalize(result, Form::nfkd); break;
      case Kind::lower: result = unicode::lower(result); break;
      case Kind::strip_accents: result = without(result, kMark); break;
      case Kind::bert: result = bert_normalized(result, step.bert); break;
    }
  return result;
}

std::optional<SplitPattern> find_split_pattern(std::string_view regular_expression) {
  for (const KnownPattern& known : kPatterns)
    if (known.regular_expression == regular_expression) return known.pattern;
  return std::nullopt;
}

std::string_view regular_expression(SplitPattern pattern) {
  return std::find_if(std::begin(kPatterns), std::end(kPatterns),
                      [&](const KnownPattern& known) { return known.pattern == pattern; })
      ->regular_expression;
}

size_t piece_end(SplitPattern pattern, std::string_view text, size_t at) {
  switch (pattern) {
    case SplitPattern::gpt2: return gpt2_end(text, at);
    case SplitPattern::cl100k: return cl100k_end(text, at, 3);
    case SplitPattern::qwen2: return cl100k_end(text, at, 1);
    case SplitPattern::o200k: break;
  }
  return o200k_end(text, at);
}

void PreTokenizer::operator()(std::string_view text,
                              const std::function<void(std::string_view)>& piece) const {
  apply(steps, 0, text, piece);
}

}  // namespace stithy

#include "nn/data/number_words.h"

#include <array>
#include <unordered_set>

#include "engine/core/error.h"
#include "engine/core/rng.h"

namespace stithy {
namespace {

struct Language {
  std::array<const char*, 20> small;
  std::array<const char*, 10> tens;
  const char *hundred, *thousand;
  const char* joint;  // between units and tens, which come in this order; empty: tens come first
  bool one;           // "one hundred", "one thousand", rather than "hundred" and "thousand"
};

constexpr Language kEnglish{
    {"zero",     "one",     "two",     "three",     "four",     "five",    "six",
     "seven",    "eight",   "nine",    "ten",       "eleven",   "twelve",  "thirteen",
     "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"},
    {"", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"},
    "hundred",
    "thousand",
    "",
    true};
constexpr Language kDutch{
    {"nul",      "een",      "twee",    "drie",      "vier",     "vijf",     "zes",
     "zeven",    "acht",     "negen",   "tien",      "elf",      "twaalf",   "dertien",
     "veertien", "vijftien", "zestien", "zeventien", "achttien", "negentien"},
    {"", "", "twintig", "dertig", "veertig", "vijftig", "zestig", "zeventig", "tachtig", "negentig"},
    "honderd",
    "duizend",
    "en",
    false};

std::string in_words(int64_t number, const Language& language) {
  if (number < 0 || number > 999'999) throw Error("number words", cat(number, " is not from 0 to 999999"));
  std::string text;
  const auto add = [&](const char* word) { text += cat(text.empty() ? "" : " ", word); };
  const auto below_hundred = [&](int64_t n) {
    const char* unit = language.small[static_cast<size_t>(n % 10)];
    if (n < 20) return add(language.small[static_cast<size_t>(n)]);
    if (*language.joint && n % 10) add(unit), add(language.joint);
    add(language.tens[static_cast<size_t>(n / 10)]);
    if (!*language.joint && n % 10) add(unit);
  };
  const auto below_thousand = [&](int64_t n) {
    if (n >= 200 || (n >= 100 && language.one)) add(language.small[static_cast<size_t>(n / 100)]);
    if (n >= 100) add(language.hundred);
    if (n % 100) below_hundred(n % 100);
  };
  if (number == 0) add(language.small[0]);
  if (number >= 2000 || (number >= 1000 && language.one)) below_thousand(number / 1000);
  if (number >= 1000) add(language.thousand);
  below_thousand(number % 1000);
  return text;
}

}  // namespace

std::string english_number(int64_t number) { return in_words(number, kEnglish); }
std::string dutch_number(int64_t number) { return in_words(number, kDutch); }

std::vector<TextPair> draw_number_words(int64_t count, uint64_t seed) {
  if (count < 0 || count > 500'000) throw Error("number words", cat("cannot draw ", count, " numbers"));
  Philox random(seed);
  std::vector<TextPair> pairs;
  std::unordered_set<int64_t> taken;
  while (static_cast<int64_t>(pairs.size()) < count) {
    uint64_t bound = 10;
    for (uint64_t digits = 1 + random.below(6); digits > 1; --digits) bound *= 10;
    const auto number = static_cast<int64_t>(random.below(bound));
    if (taken.insert(number).second) pairs.emplace_back(english_number(number), dutch_number(number));
  }
  return pairs;
}

}  // namespace stithy

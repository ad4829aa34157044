#include "nn/data/number_words.h"

#include <doctest/doctest.h>

#include <set>
#include <tuple>

#include "engine/core/error.h"

using namespace stithy;

TEST_SUITE("number_words") {
  TEST_CASE("numbers in English and Dutch") {
    const std::tuple<int64_t, const char*, const char*> numbers[] = {
        {0, "zero", "nul"},
        {7, "seven", "zeven"},
        {13, "thirteen", "dertien"},
        {20, "twenty", "twintig"},
        {45, "forty five", "vijf en veertig"},
        {100, "one hundred", "honderd"},
        {101, "one hundred one", "honderd een"},
        {219, "two hundred nineteen", "twee honderd negentien"},
        {1000, "one thousand", "duizend"},
        {1111, "one thousand one hundred eleven", "duizend honderd elf"},
        {21000, "twenty one thousand", "een en twintig duizend"},
        {100080, "one hundred thousand eighty", "honderd duizend tachtig"},
        {345001, "three hundred forty five thousand one", "drie honderd vijf en veertig duizend een"},
        {999999, "nine hundred ninety nine thousand nine hundred ninety nine",
         "negen honderd negen en negentig duizend negen honderd negen en negentig"}};
    for (const auto& [number, english, dutch] : numbers) {
      CHECK(english_number(number) == english);
      CHECK(dutch_number(number) == dutch);
    }
    CHECK_THROWS_AS(english_number(-1), Error);
    CHECK_THROWS_AS(dutch_number(1'000'000), Error);
  }

  TEST_CASE("drawn pairs are different and a function of the seed") {
    const std::vector<TextPair> pairs = draw_number_words(1000, 1);
    CHECK(std::set<TextPair>(pairs.begin(), pairs.end()).size() == 1000);
    CHECK(draw_number_words(10, 1) == std::vector<TextPair>(pairs.begin(), pairs.begin() + 10));
    CHECK(draw_number_words(10, 2) != draw_number_words(10, 1));
    CHECK_THROWS_AS(draw_number_words(-1), Error);
    CHECK_THROWS_AS(draw_number_words(500'001), Error);
  }
}

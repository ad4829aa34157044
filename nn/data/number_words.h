// Numbers in words, word by word with spaces between them: pairs for translation, where the order of words is
// not the same in both languages.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "nn/text/text_files.h"

namespace stithy {

// "three hundred forty five thousand one", and in Dutch "drie honderd vijf en veertig duizend een". 0 to
// 999,999; throw Error for other numbers.
std::string english_number(int64_t number);
std::string dutch_number(int64_t number);

// `count` different numbers in English and Dutch, as many of one digit as of six where there are that many; a
// pure function of its arguments. Throws Error for more than 500,000.
std::vector<TextPair> draw_number_words(int64_t count, uint64_t seed = 0);

}  // namespace stithy

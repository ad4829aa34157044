// What a model of characters can be trained on: the next character of a text, or the sums of numbers.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "nn/data/dataset.h"
#include "nn/text/tokenizer.h"

namespace stithy {

struct CharacterTask {
  TokenizerPtr tokenizer;
  // Columns "x" and "y" (i32 [length]): characters and those that follow them; of sums, those before the
  // answer are kIgnoreIndex in y. Nothing of `test` is in the others.
  DatasetPtr train, validation, test;
  std::string prompt;  // to go on from
};

// Sums as text, "027+058=580": two numbers of so many digits, and their sum the last digit first, which is
// the order in which it can be carried out. Each pair of numbers is in one of the parts alone. Throws Error
// for digits that are not from 1 to 4.
CharacterTask addition_task(int64_t digits, uint64_t seed);
// The test's pairs, as {"027+058=", "580"}.
std::vector<std::array<std::string, 2>> addition_examples(int64_t digits, uint64_t seed, size_t count);

// A file (or a folder's only .txt file), the last tenth of which is for validation, and is the test, too, as
// in nanoGPT's data. Training sees every window of `length` characters, in a shuffled order. Throws Error for
// a text that is too short, or no UTF-8.
CharacterTask text_task(const std::string& path, int64_t length);

}  // namespace stithy

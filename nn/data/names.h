// Names of nobody, where there is no list of real ones.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace stithy {

// `count` different names of small letters, made of two to four syllables by rules that reach across letters:
// all vowels of a name are dark (a, o, u) or light (e, i, y), endings go with them, and no syllable begins
// with the consonant with which the one before began. A pure function of its arguments. Throws Error for more
// than 100,000.
std::vector<std::string> invent_names(int64_t count, uint64_t seed = 0);

}  // namespace stithy

#include "nn/data/names.h"

#include <array>
#include <string_view>
#include <unordered_set>

#include "engine/core/error.h"
#include "engine/core/rng.h"

namespace stithy {
namespace {

template <class T, size_t n>
const T& pick(const std::array<T, n>& from, Philox& random) {
  return from[random.below(n)];
}

std::string invent(Philox& random) {
  using Texts = std::array<std::string_view, 6>;
  constexpr std::array<std::string_view, 18> kStarts{"b", "d", "f", "g", "h",  "k",  "l",  "m",  "n",
                                                     "r", "s", "t", "v", "br", "dr", "gl", "st", "tr"};
  constexpr std::array<std::string_view, 3> kDark{"a", "o", "u"}, kLight{"e", "i", "y"};
  constexpr Texts kCloses{"", "", "", "n", "l", "r"};
  constexpr Texts kDarkEnds{"", "r", "k", "gor", "nath", "lun"},
      kLightEnds{"", "l", "s", "wyn", "thiel", "nes"};
  const bool dark = random.uniform() < 0.5;
  const uint64_t syllables = 2 + random.below(2) + (random.uniform() < 0.2);
  std::string name;
  std::string_view before;
  for (uint64_t s = 0; s < syllables; ++s) {
    std::string_view start = pick(kStarts, random);
    while (!before.empty() && start.front() == before.front()) start = pick(kStarts, random);
    if (s == 0 && random.uniform() < 0.15) start = "";
    name += start;
    name += pick(dark ? kDark : kLight, random);
    if (s + 1 < syllables) name += pick(kCloses, random);
    before = start;
  }
  return name.append(pick(dark ? kDarkEnds : kLightEnds, random));
}

}  // namespace

std::vector<std::string> invent_names(int64_t count, uint64_t seed) {
  if (count < 0 || count > 100'000) throw Error("names", cat("cannot invent ", count, " different names"));
  Philox random(seed);
  std::vector<std::string> names;
  std::unordered_set<std::string> taken;
  while (static_cast<int64_t>(names.size()) < count)
    if (std::string name = invent(random); taken.insert(name).second) names.push_back(std::move(name));
  return names;
}

}  // namespace stithy

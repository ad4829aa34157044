#include "nn/data/names.h"

#include <doctest/doctest.h>

#include <set>

#include "engine/core/error.h"

using namespace stithy;

TEST_SUITE("names") {
  TEST_CASE("names are different, of one kind of vowels each, and a function of the seed") {
    const std::vector<std::string> names = invent_names(2000, 1);
    CHECK(std::set<std::string>(names.begin(), names.end()).size() == 2000);
    int dark_names = 0;
    for (const std::string& name : names) {
      const bool dark = name.find_first_of("aou") != name.npos,
                 light = name.find_first_of("eiy") != name.npos;
      CHECK_MESSAGE(dark != light, name);
      CHECK(name.size() >= 2);
      CHECK(name.size() <= 20);
      CHECK(name.find_first_not_of("abcdefghijklmnopqrstuvwxyz") == name.npos);
      dark_names += dark;
    }
    CHECK((dark_names > 900 && dark_names < 1100));
    const std::vector<std::string> fewer = invent_names(10, 1);
    CHECK(std::equal(fewer.begin(), fewer.end(), names.begin()));
    CHECK(invent_names(10, 2) != fewer);
    CHECK_THROWS_AS(invent_names(-1), Error);
    CHECK_THROWS_AS(invent_names(100'001), Error);
  }
}

#include "nn/data/ratings.h"

#include <doctest/doctest.h>

#include <set>

#include "engine/core/error.h"
#include "tests/hostile.h"
#include "tests/temporary_folder.h"

using namespace stithy;

TEST_SUITE("ratings") {
  TEST_CASE("tabs, double colons, commas; names of the columns; a file") {
    for (const char* text :
         {"u1\tx\t3\t88\r\n\nu2\ty\t4.5\t99\nu1\ty\t-1", "u1::x::3::88\nu2::y::4.5\nu1::y::-1\n",
          "userId,movieId,rating,timestamp\nu1,x,3,88\nu2,y,4.5,99\nu1,y,-1,9\n"}) {
      const Ratings ratings = parse_ratings(text, "r");
      CHECK(ratings.users == std::vector<std::string>{"u1", "u2"});
      CHECK(ratings.items == std::vector<std::string>{"x", "y"});
      CHECK(same_bytes(ratings.user, Array({3}, std::vector<int32_t>{0, 1, 0})));
      CHECK(same_bytes(ratings.item, Array({3}, std::vector<int32_t>{0, 1, 1})));
      CHECK(same_bytes(ratings.rating, Array({3}, {3, 4.5f, -1})));
      CHECK(ratings_dataset(ratings)->size() == 3);
    }
    const TemporaryFolder folder;
    CHECK(read_ratings(folder.write("r", "a\tb\t1\n")).rating.item() == 1);
  }

  TEST_CASE("what is damaged is refused with its line") {
    const auto refused = [](const char* text, const char* message) {
      CHECK_THROWS_WITH_AS(parse_ratings(text, "r"), doctest::Contains(message), Error);
    };
    refused("a,b,1\na,b\n", "r: line 2: has 2 of the fields");
    refused("a,b,1\n\na,b,x,1\n", "line 3: the rating 'x' is no number");
    refused("a,b,1\na,b,nan\n", "no number");
    refused("a,b,1\n,b,1\n", "line 2: a name is empty");
    refused("user,item,rating\n", "has no ratings");
    refused("", "has no ratings");
    const HostileResult damaged =
        feed_damaged("a::b::1::7\nc::d::2.5\n", [](std::string_view text) { parse_ratings(text, "r"); });
    CHECK(damaged.unexpected == "");
    CHECK(damaged.refused > 0);
    CHECK(damaged.accepted > 0);
  }

  TEST_CASE("drawn ratings") {
    const Ratings ratings = draw_ratings({.users = 100, .items = 50, .share = 0.3, .seed = 1});
    const auto count = static_cast<double>(ratings.rating.numel());
    CHECK((count > 1350 && count < 1650));
    std::set<double> values;
    for (int64_t i = 0; i < ratings.rating.numel(); ++i) values.insert(ratings.rating.at(i));
    CHECK(values == std::set<double>{1, 2, 3, 4, 5});
    CHECK(ratings.items[6] == "comedy 2");
    CHECK(same_bytes(ratings.rating,
                     draw_ratings({.users = 100, .items = 50, .share = 0.3, .seed = 1}).rating));
    CHECK_THROWS_AS(draw_ratings({.users = 0}), Error);
    CHECK_THROWS_AS(draw_ratings({.share = 0}), Error);
  }
}

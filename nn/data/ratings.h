// Ratings that users gave items: read from files, or drawn where there are none.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "nn/data/dataset.h"

namespace stithy {

struct Ratings {
  std::vector<std::string> users, items;  // names, in the order of their first ratings
  Array user, item;                       // i32 [n]: indices of these
  Array rating;                           // f32 [n]
};

// A line a rating: user, item and rating, between tabs (MovieLens 100K), "::" (MovieLens 1M) or commas
// (MovieLens 20M); what the first line has decides. What follows is left out, and so are empty lines and a
// first line whose third field is no number. Throws Error, with the line, for fewer fields, an empty name, a
// rating that is no finite number, and a file without ratings.
Ratings read_ratings(const std::string& path);
Ratings parse_ratings(std::string_view text, const std::string& where);

struct DrawnRatings {
  int64_t users = 400, items = 200;
  double share = 0.25;  // of all pairs that are rated
  double noise = 0.4;   // standard deviation
  uint64_t seed = 0;
};
// Ratings from 1 to 5, whole numbers, of works in five kinds: each user has a taste for each kind, kinder and
// stricter users and better and worse works there are too, and the rest is noise. Items are named "drama 7",
// so that one kind stands beside the other. Throws Error for options out of range.
Ratings draw_ratings(const DrawnRatings& options = {});
inline constexpr const char* kWorkKinds[] = {"drama", "comedy", "thriller", "fantasy", "history"};

// Columns "user", "item" (i32) and "rating" (f32).
DatasetPtr ratings_dataset(const Ratings& ratings);

}  // namespace stithy

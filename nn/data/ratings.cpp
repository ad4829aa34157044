#include "nn/data/ratings.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <iterator>
#include <optional>
#include <unordered_map>

#include "engine/core/error.h"
#include "engine/core/rng.h"
#include "nn/text/text_files.h"

namespace stithy {
namespace {

class Names {
 public:
  explicit Names(std::vector<std::string>& names) : names_(names) {}
  int32_t index(std::string_view name) {
    const auto [place, is_new] = indices_.emplace(name, static_cast<int32_t>(names_.size()));
    if (is_new) names_.emplace_back(name);
    return place->second;
  }

 private:
  std::vector<std::string>& names_;
  std::unordered_map<std::string, int32_t> indices_;
};

std::optional<float> number(std::string_view text) {
  float value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value)) return {};
  return value;
}

Ratings joined(std::vector<std::string> users, std::vector<std::string> items,
               const std::vector<int32_t>& user, const std::vector<int32_t>& item,
               const std::vector<float>& rating) {
  const Shape shape{static_cast<int64_t>(rating.size())};
  return {std::move(users), std::move(items), Array(shape, user), Array(shape, item), Array(shape, rating)};
}

}  // namespace

Ratings parse_ratings(std::string_view text, const std::string& where) {
  std::vector<std::string> users, items;
  Names user_names(users), item_names(items);
  std::vector<int32_t> user, item;
  std::vector<float> rating;
  std::string_view separator;
  int64_t line_number = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    std::string_view line = text.substr(at, end - at);
    at = end + 1;
    ++line_number;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty()) continue;
    const auto fail = [&](const std::string& message) {
      throw Error(where, cat("line ", line_number, ": ", message));
    };
    const bool first = separator.empty();
    if (first) separator = line.find('\t') != line.npos ? "\t" : line.find("::") != line.npos ? "::" : ",";
    std::array<std::string_view, 3> fields;
    size_t begin = 0;
    for (size_t f = 0; f < fields.size(); ++f) {
      if (begin > line.size()) fail(cat("has ", f, " of the fields user, item and rating"));
      const size_t stop = std::min(line.find(separator, begin), line.size());
      fields[f] = line.substr(begin, stop - begin);
      begin = stop + separator.size();
    }
    const std::optional<float> value = number(fields[2]);
    if (!value && first) continue;  // names of the columns
    if (!value) fail(cat("the rating '", fields[2].substr(0, 40), "' is no number"));
    if (fields[0].empty() || fields[1].empty()) fail("a name is empty");
    user.push_back(user_names.index(fields[0]));
    item.push_back(item_names.index(fields[1]));
    rating.push_back(*value);
  }
  if (rating.empty()) throw Error(where, "has no ratings");
  return joined(std::move(users), std::move(items), user, item, rating);
}

Ratings read_ratings(const std::string& path) {
  return parse_ratings(read_text(path, TextEncoding::utf8_or_windows1252), path);
}

Ratings draw_ratings(const DrawnRatings& options) {
  const DrawnRatings& o = options;
  if (o.users < 1 || o.items < 1 || o.users > 1'000'000 || o.items > 1'000'000 || o.share <= 0 ||
      o.share > 1 || o.noise < 0 || static_cast<double>(o.users) * static_cast<double>(o.items) > 1e9)
    throw Error("ratings", cat(o.users, " users, ", o.items, " items, a share of ", o.share, " and noise of ",
                               o.noise, " cannot be drawn"));
  constexpr int64_t kKinds = std::size(kWorkKinds);
  constexpr double kTaste = 0.8, kKindness = 0.35, kWorth = 0.4;
  Philox random(o.seed);
  std::vector<std::string> users, items;
  std::vector<double> worth, kindness, taste;
  for (int64_t i = 0; i < o.items; ++i) {
    items.push_back(cat(kWorkKinds[i % kKinds], " ", i / kKinds + 1));
    worth.push_back(kWorth * random.normal());
  }
  for (int64_t u = 0; u < o.users; ++u) {
    users.push_back(cat("user ", u + 1));
    kindness.push_back(kKindness * random.normal());
    for (int64_t k = 0; k < kKinds; ++k) taste.push_back(kTaste * random.normal());
  }
  std::vector<int32_t> user, item;
  std::vector<float> rating;
  for (int64_t u = 0; u < o.users; ++u)
    for (int64_t i = 0; i < o.items; ++i) {
      if (random.uniform() >= o.share) continue;
      const double opinion = 3.3 + kindness[static_cast<size_t>(u)] + worth[static_cast<size_t>(i)] +
                             taste[static_cast<size_t>(u * kKinds + i % kKinds)] + o.noise * random.normal();
      user.push_back(static_cast<int32_t>(u));
      item.push_back(static_cast<int32_t>(i));
      rating.push_back(static_cast<float>(std::clamp(std::round(opinion), 1.0, 5.0)));
    }
  return joined(std::move(users), std::move(items), user, item, rating);
}

DatasetPtr ratings_dataset(const Ratings& ratings) {
  return std::make_shared<InMemoryDataset>(std::vector<InMemoryDataset::Source>{
      {"user", ratings.user}, {"item", ratings.item}, {"rating", ratings.rating}});
}

}  // namespace stithy

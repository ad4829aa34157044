#include "nn/data/reviews.h"

#include <algorithm>
#include <filesystem>

#include "engine/core/error.h"
#include "engine/core/rng.h"
#include "nn/text/text_files.h"

namespace stithy {
namespace {

namespace fs = std::filesystem;

// Sorted, as folders have no order of their own.
std::vector<std::string> files_in(const fs::path& folder, const std::string& extension) {
  std::vector<std::string> paths;
  if (fs::is_directory(folder))
    for (const fs::directory_entry& entry : fs::directory_iterator(folder))
      if (entry.is_regular_file() && entry.path().extension() == extension)
        paths.push_back(entry.path().string());
  std::sort(paths.begin(), paths.end());
  return paths;
}

class Writer {
 public:
  Writer(uint64_t seed, int64_t index) : random_(seed, static_cast<uint64_t>(index)) {}

  Review review() {
    constexpr const char* kAside[] = {"i saw it with friends",         "it runs for two hours",
                                      "the director is new to this",   "we had seats in the last row",
                                      "it was shot in the north",      "the room was half full",
                                      "it is the second of two parts", "they say that it took a year",
                                      "my sister came along",          "it is set in a small town"};
    Review review{{}, chance(0.5)};
    const uint64_t judgements = 1 + random_.below(3), asides = random_.below(3);
    std::vector<bool> order(judgements, true);
    for (uint64_t i = 0; i < asides; ++i)
      order.insert(order.begin() + static_cast<long>(random_.below(order.size() + 1)), false);
    for (const bool judges : order) {
      if (!review.text.empty()) review.text += chance(0.5) ? " . " : " , and ";
      review.text += judges ? judgement(review.positive) : pick(kAside);
    }
    review.text += " .";
    return review;
  }

 private:
  bool chance(double p) { return random_.uniform() < p; }
  template <size_t n>
  std::string pick(const char* const (&from)[n]) {
    return from[random_.below(n)];
  }
  std::string word(bool positive) {
    constexpr const char* kGood[] = {"good",   "moving",   "clever", "funny",  "fresh",    "honest",
                                     "lively", "gripping", "warm",   "subtle", "charming", "bold"};
    constexpr const char* kBad[] = {"bad",     "dull",  "stupid", "flat",   "stale",    "false",
                                    "tedious", "empty", "cold",   "clumsy", "tiresome", "weak"};
    return positive ? pick(kGood) : pick(kBad);
  }
  std::string judgement(bool positive) {
    constexpr const char* kPart[] = {"the plot",   "the acting", "the script",   "the music",
                                     "the ending", "the cast",   "the dialogue", "the humour",
                                     "the pace",   "the story",  "the camera",   "the whole film"};
    constexpr const char* kDegree[] = {"", "", "", "very ", "really ", "quite ", "so ", "truly "};
    constexpr const char* kDenial[] = {"is not ", "is hardly ", "is never ", "is by no means ",
                                       "is not at all "};
    constexpr const char* kNobody[] = {"nobody can call ", "few will find ", "it is hard to call "};
    const std::string part = pick(kPart), right = word(positive), wrong = word(!positive);
    const double form = random_.uniform();
    if (form < 0.45) return cat(part, " is ", pick(kDegree), right);
    if (form < 0.65) return cat(part, " ", pick(kDenial), pick(kDegree), wrong);
    if (form < 0.75) return cat(pick(kNobody), part, " ", wrong);
    if (form < 0.85) return cat(part, " is more ", right, " than ", wrong);
    if (form < 0.93) return cat(part, " is ", right, " rather than ", wrong);
    return cat("not ", wrong, " but ", right, " is what i call ", part);
  }
  Philox random_;
};

}  // namespace

std::vector<Review> read_reviews(const std::string& folder) {
  std::vector<Review> reviews;
  for (const bool positive : {true, false}) {
    const std::string kind = positive ? "pos" : "neg";
    const auto add = [&](std::string text) {
      if (text.find_first_not_of(" \t\r\n") != std::string::npos)
        reviews.push_back({std::move(text), positive});
    };
    const size_t before = reviews.size();
    const std::vector<std::string> lists = files_in(folder, "." + kind);
    if (lists.size() > 1) throw Error(folder, cat("has more than one file *.", kind));
    if (lists.empty())
      for (const std::string& path : files_in(fs::path(folder) / kind, ".txt"))
        add(read_text(path, TextEncoding::utf8_or_windows1252));
    else
      for (std::string& line : read_lines(lists[0], TextEncoding::utf8_or_windows1252)) add(std::move(line));
    if (reviews.size() == before)
      throw Error(folder, cat("has no ", positive ? "positive" : "negative", " reviews"),
                  cat("they stand in a file *.", kind, ", a review a line, or in ", kind, "/*.txt"));
  }
  return reviews;
}

std::vector<Review> write_reviews(int64_t count, uint64_t seed) {
  if (count < 0) throw Error("reviews", cat("cannot write ", count));
  std::vector<Review> reviews;
  for (int64_t i = 0; i < count; ++i) reviews.push_back(Writer(seed, i).review());
  return reviews;
}

}  // namespace stithy

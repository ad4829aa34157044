// Texts with a verdict, for sentiment analysis: read from files, or written by rules where there are none.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace stithy {

struct Review {
  std::string text;
  bool positive = false;
};

// The reviews of a folder, positive ones first: of one file *.pos and one *.neg, a review a line (Pang and
// Lee 2005), or else of the folders pos and neg, a file *.txt a review (Maas et al. 2011). UTF-8 or
// windows-1252. Empty ones are left out. Throws Error where either kind of review is missing.
std::vector<Review> read_reviews(const std::string& folder);

// Reviews of films, each of one to three sentences that pass the same judgement, with others between them.
// The words alone tell little, as praise is as often denied as given: "hardly clever", "more dull than
// clever". A pure function of the seed; longer ones begin with the shorter.
std::vector<Review> write_reviews(int64_t count, uint64_t seed);

}  // namespace stithy

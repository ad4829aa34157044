#include "nn/data/reviews.h"

#include <doctest/doctest.h>

#include <filesystem>
#include <map>
#include <set>
#include <sstream>

#include "engine/core/error.h"
#include "tests/temporary_folder.h"

using namespace stithy;

TEST_SUITE("reviews") {
  TEST_CASE("files of lines, and folders of files") {
    const TemporaryFolder folder;
    folder.write("films.pos", "fine \x96 really\n\n  \ncaf\xe9\r\n");
    CHECK_THROWS_WITH_AS(read_reviews(folder.path()), doctest::Contains("has no negative reviews"), Error);
    folder.write("films.neg", "d\u00e9j\u00e0 vu\n");
    const std::vector<Review> lines = read_reviews(folder.path());
    REQUIRE(lines.size() == 3);
    CHECK(lines[0].text == "fine \u2013 really");
    CHECK(lines[1].text == "caf\u00e9");
    CHECK(lines[2].text == "d\u00e9j\u00e0 vu");
    CHECK((lines[0].positive && lines[1].positive && !lines[2].positive));
    folder.write("other.neg", "x\n");
    CHECK_THROWS_WITH_AS(read_reviews(folder.path()), doctest::Contains("more than one file *.neg"), Error);

    const TemporaryFolder files;
    std::filesystem::create_directories(files / "pos");
    std::filesystem::create_directories(files / "neg");
    files.write("pos/2.txt", "two\nlines");
    files.write("pos/1.txt", "one");
    files.write("pos/ignored.md", "no");
    files.write("neg/1.txt", "bad");
    const std::vector<Review> each = read_reviews(files.path());
    REQUIRE(each.size() == 3);
    CHECK(each[0].text == "one");
    CHECK(each[1].text == "two\nlines");
    CHECK(!each[2].positive);
    CHECK_THROWS_WITH_AS(read_reviews(files / "nothing"), doctest::Contains("has no positive reviews"),
                         Error);
  }

  TEST_CASE("written reviews are a function of the seed, balanced, and their words tell little") {
    const std::vector<Review> reviews = write_reviews(2000, 3);
    const std::vector<Review> fewer = write_reviews(10, 3);
    std::set<std::string> different;
    std::map<std::string, std::pair<int, int>> with;  // reviews of either kind with a word
    int positive = 0;
    for (size_t i = 0; i < reviews.size(); ++i) {
      if (i < fewer.size()) CHECK(reviews[i].text == fewer[i].text);
      different.insert(reviews[i].text);
      positive += reviews[i].positive;
      std::istringstream stream(reviews[i].text);
      std::set<std::string> words;
      for (std::string word; stream >> word;) words.insert(word);
      for (const std::string& word : words) ++(reviews[i].positive ? with[word].first : with[word].second);
    }
    CHECK(different.size() > 1900);
    CHECK((positive > 900 && positive < 1100));
    for (const auto& [word, counts] : with) {
      const double share = static_cast<double>(counts.first) / (counts.first + counts.second);
      if (counts.first + counts.second > 50) CHECK_MESSAGE((share > 0.25 && share < 0.75), word, " ", share);
    }
    CHECK(write_reviews(1, 4)[0].text != reviews[0].text);
    CHECK_THROWS_AS(write_reviews(-1, 0), Error);
  }
}

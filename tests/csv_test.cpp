#include "nn/data/csv.h"

#include <doctest/doctest.h>

#include <cmath>

#include "engine/core/error.h"
#include "tests/hostile.h"
#include "tests/temporary_folder.h"

using namespace stithy;

namespace {
CsvTable parse(std::string_view text, const CsvOptions& options = {}) {
  return CsvTable(text, "t.csv", options);
}
}  // namespace

TEST_SUITE("csv") {
  TEST_CASE("RFC 4180: quotes, line breaks inside, both line ends") {
    const CsvTable table =
        parse("a,\"b \"\"x\"\"\",c\r\n1,\"two\r\nlines, and a comma\",\r\n\"\",\" y \",3\n4,5,6");
    CHECK(table.header() == std::vector<std::string>{"a", "b \"x\"", "c"});
    REQUIRE(table.rows() == 3);
    CHECK(table.cell(0, 1) == "two\r\nlines, and a comma");
    CHECK(table.cell(0, 2) == "");
    CHECK(table.cell(1, 0) == "");
    CHECK(table.cell(1, 1) == " y ");
    CHECK(table.cell(2, 2) == "6");
    CHECK(table.line(0) == 2);
    CHECK(table.line(1) == 4);
  }

  TEST_CASE("edges") {
    CHECK(parse("a,b\n1,").cell(0, 1) == "");
    CHECK(parse("a,b\n\n1,2\n\n\n").rows() == 1);
    CHECK(parse("a\n1\n\n2\n").rows() == 3);
    CHECK(parse("\xef\xbb\xbf"
                "a,b\n")
              .header()[0] == "a");
    const CsvTable bare = parse("1;2\n3;4\n", {.delimiter = ';', .header = false});
    CHECK(bare.rows() == 2);
    CHECK(bare.header() == std::vector<std::string>{"0", "1"});
    CHECK(bare.numbers({"1"}).at(1) == 4);
    CHECK(parse("a,b").rows() == 0);
  }

  TEST_CASE("errors name file and line") {
    const auto refused = [](std::string_view text, const char* reason) {
      CHECK_THROWS_WITH_AS(parse(text), doctest::Contains(reason), Error);
    };
    refused("a,b\n1,2\n1,2,3\n", "t.csv: line 3: has 3 fields, expected 2");
    refused("a,b\n1,\"x\ny\"\n1\n", "line 4: has 1 fields, expected 2");
    refused("a,b\n1,\"x", "line 2: a quote is not closed");
    refused("a,b\n1,\"x\"y\n", "line 2: text follows a closing quote");
    refused("a,b\n1,x\"y\"\n", "line 2: a quote stands inside");
    refused("a,a\n", "column 'a' is named twice");
    refused("", "has no header line");
    CHECK_THROWS_WITH_AS(parse("a,b\n").column("c"), doctest::Contains("its columns are a, b"), Error);
  }

  TEST_CASE("numbers and what is missing") {
    const CsvTable table = parse("x,y\n1.5,-2e3\n +7 ,NA\n1e-60,3\n");
    CHECK(table.numbers({"x"}).at(1) == 7);
    CHECK(table.numbers({"x"}).at(2) == 0);
    CHECK_THROWS_WITH_AS(table.numbers({"x", "y"}), doctest::Contains("line 3: column 'y' is missing"),
                         Error);
    const Array both = table.numbers({"y", "x"}, true);
    CHECK(both.shape() == Shape{3, 2});
    CHECK(both.at(0) == -2000);
    CHECK(std::isnan(both.at(2)));
    const CsvTable kept = table.without_missing();
    CHECK(kept.rows() == 2);
    CHECK(kept.line(1) == 4);
    CHECK(kept.numbers({"y"}).at(1) == 3);
    CHECK(table.without_missing({"x"}).rows() == 3);
    for (const char* bad : {"1.5x", "0x10", "inf", "1e99", "--1", "1 2"})
      CHECK_THROWS_WITH_AS(parse(std::string("x\n") + bad + "\n").numbers({"x"}),
                           doctest::Contains("is no number"), Error);
  }

  TEST_CASE("categories") {
    const CsvTable table = parse("k\nred\nblue\nNA\nred\n");
    const CsvTable::Categories found = table.categories("k");
    CHECK(found.vocabulary == std::vector<std::string>{"blue", "red"});
    CHECK(found.ids.at(0) == 1);
    CHECK(found.ids.at(2) == -1);
    CHECK(table.categories("k", {"blue", "green", "red"}).ids.at(0) == 2);
    CHECK_THROWS_WITH_AS(table.categories("k", {"blue"}),
                         doctest::Contains("line 2: column 'k': 'red' is not in"), Error);
    CHECK_THROWS_AS(table.categories("k", {"red", "blue"}), Error);
  }

  TEST_CASE("hostile") {
    const auto read = [](std::string_view bytes) {
      const CsvTable table = parse(bytes);
      table.categories(table.header()[0]);
      table.numbers({table.header()[0]}, true);
    };
    CHECK(feed_damaged("a,\"b\"\r\n1,\"2\"\r\n3,\"\"\"4\"\n5,6\n", read).unexpected == "");
    // Memory stays within a small multiple of the text.
    const AllocationLimit bounded(20 << 20);
    CHECK_THROWS_WITH_AS(parse(std::string(1 << 20, ',')), doctest::Contains("more than 65536"), Error);
    std::string rows;
    for (int i = 0; i < 1 << 18; ++i) rows += ",,,\n";
    CHECK(parse(rows, {.header = false}).rows() == 1 << 18);
  }
}

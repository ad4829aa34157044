#include "tools/stithy/profile_html.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "tests/made_up_profile.h"

using namespace stithy;
using namespace stithy::profiling;

namespace {

size_t occurrences(const std::string& text, const std::string& part) {
  size_t count = 0;
  for (size_t at = 0; (at = text.find(part, at)) != text.npos; at += part.size()) ++count;
  return count;
}

std::string page_of(const Profile& profile) { return to_html(analyse(profile)); }

// The text between the tags of the element with the data.
std::string data_text(const std::string& page) {
  const std::string tag = "<script type=\"application/json\" id=\"data\">";
  const size_t begin = page.find(tag) + tag.size();
  return page.substr(begin, page.find("</script>", begin) - begin);
}
nlohmann::json data_of(const Profile& profile) { return nlohmann::json::parse(data_text(page_of(profile))); }

constexpr const char* kHostile =
    "</script><script>alert(1)</script><!--<img src=x onerror='y'>\"&\\ {{data}} \xe2\x80\xa8 \xe2\x80\xa9 "
    "\x01";

}  // namespace

TEST_SUITE("profile_html") {
  TEST_CASE("names that try to be markup stay text") {
    const std::string plain = page_of(testing::made_up_profile());
    const std::string page = page_of(testing::made_up_profile({.name = kHostile}));
    CHECK(occurrences(page, "<script") == occurrences(plain, "<script"));
    CHECK(occurrences(page, "</script") == occurrences(plain, "</script"));
    CHECK(page.find("<img") == page.npos);
    CHECK(page.find("<!--") == page.npos);
    CHECK(data_text(page).find("\xe2\x80\xa8") == page.npos);  // ends a line in scripts
    CHECK(data_text(page).find("\xe2\x80\xa9") == page.npos);
    CHECK(page.find('\x01') == page.npos);
    const std::string data = data_text(page);
    CHECK(data.find_first_of("<>&") == data.npos);
    // They come through whole.
    const auto json = nlohmann::json::parse(data);
    CHECK(json["device"] == kHostile);
    CHECK(json["calls"][1]["op"] == kHostile);
    CHECK(json["kernels"][1]["fused"] == "// " + std::string(kHostile));
  }

  TEST_CASE("nothing is loaded from anywhere") {
    const std::string page = page_of(testing::made_up_profile());
    CHECK(page.find("default-src 'none'") != page.npos);
    CHECK(page.find("http:") == page.npos);
    CHECK(page.find("https:") == page.npos);
    CHECK(page.find("src=\"") == page.npos);
    CHECK(page.find("url(") == page.npos);
    CHECK(page.find("@import") == page.npos);
    CHECK(page.find("innerHTML") == page.npos);  // text is set as text
    CHECK(page.find("{{") == page.npos);
  }

  TEST_CASE("every kernel of the program, with its source") {
    Profile profile = testing::made_up_profile();
    profile.kernels.push_back(profile.kernels[0]);  // of another program
    profile.kernels.back().name = "elsewhere";
    const auto data = data_of(profile);
    REQUIRE(data["kernels"].size() == 5);
    for (size_t i = 0; i < 4; ++i) {
      CHECK(data["kernels"][i]["name"] == profile.kernels[i].name);
      CHECK(data["kernels"][i]["used"] == true);
      CHECK(data["kernels"][i]["constants"][0] == nlohmann::json::array({"TILE", 64}));
    }
    CHECK(data["kernels"][4]["used"] == false);
    CHECK(data["kernels"][0]["files"][0] == "matmul.comp");
    CHECK(data["kernels"][0]["files"].size() > 1);  // what it includes
    for (const auto& file : data["kernels"][0]["files"])
      CHECK(data["shaders"][file.get<std::string>()].get<std::string>().size() > 100);
    CHECK(data["kernels"][0]["statistics"]["registers"] == 40);
    CHECK(data["kernels"][0]["statistics"]["spills"] == 0);
    CHECK(data["kernels"][0]["statistics"].contains("code_bytes") == false);
    CHECK(data["kernels"][0]["another"] == true);  // its hash is made up
    CHECK(data["kernels"][1]["fused"] == "// made while planning");
    CHECK(data["kernels"][2]["statistics"].is_null());
    CHECK(data["kernels"][3]["files"].empty());
  }

  TEST_CASE("figures are the analysis', in every view") {
    const Profile profile = testing::made_up_profile();
    const Analysis analysis = analyse(profile);
    const auto data = data_of(profile);
    REQUIRE(data["calls"].size() == 6);
    CHECK(data["calls"][2]["op"] == "add");
    CHECK(data["calls"][2]["time"] == 80e3);
    CHECK(data["calls"][1]["isolated"] == 30e3);
    CHECK(data["calls"][0]["flops"] == 0);
    CHECK(data["calls"][0]["gflops"].is_null());
    CHECK(data["calls"][0]["gbs"].is_number());
    CHECK(data["calls"][5]["barrier"] == "needless");
    for (const auto& [name, view] : {std::pair{"op", View::op}, std::pair{"layer", View::layer},
                                     std::pair{"kernel", View::kernel}, std::pair{"call", View::call}}) {
      const std::vector<Row> rows = rows_of(analysis, view);
      REQUIRE(data["rows"][name].size() == rows.size());
      for (size_t i = 0; i < rows.size(); ++i) CHECK(data["rows"][name][i]["time"] == rows[i].time.p50);
    }
    CHECK(data["step"]["device"]["p50"] == 320e3);
    CHECK(data["step"]["needless"] == nlohmann::json::array({5}));
    CHECK(data["run"]["number"] == 7);
    CHECK(data["run"]["begin"][1] == 20e3);
    CHECK(data["memory"]["live"] == nlohmann::json::array({1000, 4000, 3000, 3000, 500, 0}));
    CHECK(data["memory"]["peak"] == 1);
    CHECK(data["memory"]["arena"] == 5000);
  }

  TEST_CASE("what was not measured is not there, and never a number") {
    const auto without = data_of(testing::made_up_profile({.timestamps = false, .peaks = false}));
    CHECK(without["step"]["device"].is_null());
    CHECK(without["step"]["host"]["p50"].is_number());
    CHECK(!without["step"].contains("kernels"));
    CHECK(!without["step"].contains("cost"));
    CHECK(without["peaks"].is_null());
    CHECK(without["timestampPeriod"].is_null());
    CHECK(without["byHost"] == true);
    CHECK(without["timed"] == true);  // alone, by the host
    CHECK(without["calls"][0]["roof"].is_null());
    CHECK(without["run"]["copiedIn"].is_null());

    Profile untimed = testing::made_up_profile({.timestamps = false});
    for (ProfiledRun& run : untimed.programs[0].measured) run.times.kernels.clear();
    const auto data = data_of(untimed);
    CHECK(data["timed"] == false);
    CHECK(data["run"].is_null());
    for (const auto& call : data["calls"]) {
      CHECK(call["time"].is_null());
      CHECK(call["share"].is_null());
      CHECK(call["gbs"].is_null());
    }

    Profile odd = testing::made_up_profile();
    for (ProfiledRun& run : odd.programs[0].measured) {
      run.times.copied_in = run.times.host_copied = std::nan("");
      if (!run.times.kernels.empty()) run.times.kernels[2].second = std::nan("");
    }
    odd.timestamp_period_ns = std::numeric_limits<double>::infinity();
    odd.programs[0].plan_ns = std::nan("");
    const std::string text = data_text(page_of(odd));
    CHECK(text.find(":nan") == text.npos);
    CHECK(text.find(":inf") == text.npos);
    const auto json = nlohmann::json::parse(text);
    CHECK(json["timestampPeriod"].is_null());
    CHECK(json["calls"][2]["time"].is_null());
    CHECK(json["program"]["making"][0].is_null());
  }

  TEST_CASE("hardware counters join the views, or the page says why not") {
    CHECK(data_of(testing::made_up_profile())["counters"].is_null());
    const auto data = data_of(testing::made_up_profile({.counters = true}));
    CHECK(data["counters"]["counted"] == true);
    CHECK(data["counters"]["names"][1]["name"] == "busy [%]");
    CHECK(data["rows"]["call"].size() == 6);
    for (const auto& row : data["rows"]["call"]) {
      const int call = row["calls"][0];
      CHECK(row["counters"][0] == 100 * call);
      CHECK(row["counters"][1] == (call == 5 ? nlohmann::json() : nlohmann::json(50)));
    }
    for (const auto& row : data["rows"]["kernel"])
      if (row["kernel"] == "matmul") CHECK(row["counters"][0] == 400);  // calls 1 and 3
    Profile refused = testing::made_up_profile({.counters = true});
    refused.programs[0].counters.clear();
    refused.counters_refused = "no right to";
    CHECK(data_of(refused)["counters"]["counted"] == false);
    CHECK(data_of(refused)["counters"]["refused"] == "no right to");
  }

  // For profile_page.sh, which opens them in a browser.
  TEST_CASE("pages for a browser") {
    const char* folder = std::getenv("STITHY_PAGES");
    if (!folder) return;
    const auto write = [&](const std::string& name, const Profile& profile) {
      std::ofstream(std::string(folder) + "/" + name + ".html", std::ios::binary) << page_of(profile);
    };
    write("plain", testing::made_up_profile());
    write("hostile", testing::made_up_profile({.name = kHostile}));
    write("counters", testing::made_up_profile({.counters = true}));
    write("host", testing::made_up_profile({.timestamps = false, .peaks = false}));
    Profile untimed = testing::made_up_profile({.timestamps = false});
    for (ProfiledRun& run : untimed.programs[0].measured) run.times.kernels.clear();
    write("untimed", untimed);
  }
}

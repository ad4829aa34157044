#include "nn/run/report.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "engine/core/error.h"
#include "nn/run/png.h"

using namespace stithy;

namespace {
size_t occurrences(const std::string& text, const std::string& part) {
  size_t count = 0;
  for (size_t at = 0; (at = text.find(part, at)) != text.npos; at += part.size()) ++count;
  return count;
}
}  // namespace

TEST_SUITE("report") {
  TEST_CASE("ticks are round and inside") {
    CHECK(ticks(0, 1, 5) == std::vector<double>{0, 0.2, 0.4, 0.6000000000000001, 0.8, 1});
    CHECK(ticks(-12, 31, 4) == std::vector<double>{-10, 0, 10, 20, 30});
    CHECK(ticks(1, 1, 5).empty());
    CHECK(ticks(0, std::numeric_limits<double>::infinity(), 5).empty());
  }

  TEST_CASE("a chart of nothing, of one point, of NaN, of many points") {
    CHECK(chart_svg({"t", "x", {}}).find("no data") != std::string::npos);
    CHECK(chart_svg({"t", "x", {{"a", {{1, std::nan("")}}}}}).find("no data") != std::string::npos);
    CHECK(chart_svg({"t", "x", {{"a", {{1, 2}}}}}).find("2.000") != std::string::npos);
    const std::string gap = chart_svg({"t", "x", {{"a", {{0, 1}, {1, std::nan("")}, {2, 1}, {3, 2}}}}});
    CHECK(gap.find("nan") == gap.npos);
    ChartLine many{"a", {}};
    for (int i = 0; i < 100000; ++i) many.points.emplace_back(i, i == 77777 ? 50 : i % 7);
    const std::string svg = chart_svg({"t", "x", {many}});
    CHECK(svg.size() < 20000);
    CHECK(svg.find(">50<") != svg.npos);  // the spike reaches the axis' range
  }

  TEST_CASE("all text is escaped, wherever it stands") {
    const std::string bad = "</script><script>alert(1)</script><img src=x onerror='y'>\"&\x01";
    Report report;
    report.title = report.summary = bad;
    report.result = {{bad, bad}};
    report.charts = {{bad, bad, {{bad, {{1, 2}, {2, 3}}}}}};
    report.confusion = ConfusionMatrix(2);
    report.class_names = {bad, bad};
    report.pictures = {{Array({2, 2}, DType::u8), bad, bad}, {Array({2, 2, 3}, DType::u8), bad, "other"}};
    report.figures = {{"name", bad, "bytes"}};
    report.samples = {{bad, bad}};
    report.tables = {{bad, {bad}, {{bad}}}};
    report.config = {{bad, bad}};
    const std::string html = render_report(report);
    CHECK(html.find("<script") == html.npos);
    CHECK(html.find("<img src=x") == html.npos);
    CHECK(html.find("onerror='") == html.npos);
    CHECK(html.find('\x01') == html.npos);
    CHECK(occurrences(html, "&lt;script&gt;alert(1)") >= 18);
    CHECK(html.find("http") == html.rfind("http-equiv"));  // no address in it
    CHECK(html.find("default-src 'none'") != html.npos);
  }

  TEST_CASE("right and wrong pictures, the matrix's counts") {
    Report report;
    report.pictures = {{Array({2, 2}, DType::u8), "7", "7", 0.93}, {Array({2, 2}, DType::u8), "1", "7"}};
    report.confusion = ConfusionMatrix(3);
    report.confusion->add(std::vector<int32_t>{0, 0, 1, 2}, std::vector<int32_t>{0, 1, 1, 1});
    const std::string html = render_report(report);
    CHECK(occurrences(html, "&#10003; 7") == 1);
    CHECK(occurrences(html, "&#10007; 1</span><span> is 7") == 1);
    CHECK(html.find(" 93%") != html.npos);
    CHECK(html.find("Accuracy 50.00 % of 4") != html.npos);
    CHECK(occurrences(html, "&#183;") == 5);
    report.class_names = {"one"};
    CHECK_THROWS_AS(render_report(report), Error);
    report.class_names.clear();
    report.tables = {{"t", {"a", "b"}, {{"1"}}}};
    CHECK_THROWS_AS(render_report(report), Error);
  }

  TEST_CASE("figures are embedded whole and large, in their order") {
    Report report;
    const std::string png = encode_png(Array({3, 400}, DType::u8));
    report.figures = {{"first", "rows of things", png}, {"second", "more", "abc"}};
    const std::string html = render_report(report);
    const size_t first =
        html.find("<figure class=\"large\"><img src=\"data:image/png;base64," + base64(png) + "\"");
    const size_t second = html.find("<figure class=\"large\"><img src=\"data:image/png;base64,YWJj\"");
    CHECK(first < second);
    CHECK(second != html.npos);
    CHECK(html.find("<figcaption>rows of things</figcaption>") != html.npos);
    CHECK(html.find(".large img{aspect-ratio:auto") != html.npos);
  }

  TEST_CASE("a chart of logged metrics") {
    const Chart chart = metrics_chart({{1, {{"loss", 3}}}, {2, {{"acc", 1}}}, {3, {{"loss", 2}}}}, "Loss",
                                      {{"loss", "train"}});
    CHECK(chart.lines[0].points == std::vector<std::pair<double, double>>{{1, 3}, {3, 2}});
  }
}

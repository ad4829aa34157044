#include "nn/run/run_folder.h"

#include <doctest/doctest.h>

#include <algorithm>

#include <cmath>
#include <limits>

#include "engine/core/error.h"
#include "engine/core/file.h"
#include "tests/hostile.h"
#include "tests/temporary_folder.h"

using namespace stithy;

namespace {
const Config kConfig = {{"lr", "0.1"}, {"note", "\"quotes\", \xc3\xa9 and\nlines"}};
const double kNaN = std::numeric_limits<double>::quiet_NaN();
}  // namespace

TEST_SUITE("run_folder") {
  TEST_CASE("log, finish, read back") {
    TemporaryFolder folder;
    RunFolder run = RunFolder::create(folder / "runs/a", kConfig);
    CHECK(read_config(run / "config.json") == kConfig);
    run.log(1, {{"epoch", 0}, {"train_loss", 0.1}});
    CHECK(read_file(run / "metrics.jsonl") ==
          "{\"step\":1,\"epoch\":0.0,\"train_loss\":0.1}\n");  // flushed by line
    run.log(2, {{"train_loss", kNaN}, {"val,loss", 2}});
    const auto rows = run.metrics();
    REQUIRE(rows.size() == 2);
    CHECK(rows[0].values == Metrics{{"epoch", 0}, {"train_loss", 0.1}});
    CHECK(std::isnan(rows[1].values[0].second));
    CHECK_FALSE(run.finished());
    run.finish({{"test_acc", 0.98}});
    CHECK(run.finished());
    CHECK(read_file(run / "metrics.csv") == "step,epoch,train_loss,\"val,loss\"\n1,0.0,0.1,\n2,,nan,2.0\n");
  }

  TEST_CASE("a folder with a run of another config is refused; the same config starts over") {
    TemporaryFolder folder;
    {
      RunFolder run = RunFolder::create(folder / "a", kConfig);
      run.log(1, {{"x", 1}});
      run.finish({});
    }
    CHECK_THROWS_WITH_AS(RunFolder::create(folder / "a", {{"lr", "0.2"}, kConfig[1]}),
                         doctest::Contains("holds a run with lr '0.1'; this one has '0.2'"), Error);
    CHECK_THROWS_AS(RunFolder::create(folder / "a", {{"lr", "0.1"}}), Error);
    CHECK_THROWS_WITH_AS(RunFolder::create(folder / "a", {{"lr", "0.1"}, {"new", "1"}}),
                         doctest::Contains("no new"), Error);
    CHECK(RunFolder::resume(folder / "a", 9).metrics().size() == 1);
    RunFolder again = RunFolder::create(folder / "a", kConfig);
    CHECK(again.metrics().empty());
    CHECK_FALSE(again.finished());
    folder.write("file", "x");
    CHECK_THROWS_WITH_AS(RunFolder::create(folder / "file", kConfig), doctest::Contains("cannot be made"),
                         Error);
  }

  TEST_CASE("resuming drops later steps and a line that was cut off") {
    TemporaryFolder folder;
    {
      RunFolder run = RunFolder::create(folder / "a", kConfig);
      for (int step = 1; step <= 5; ++step) run.log(step, {{"x", step}});
    }
    const std::string whole = read_file(folder / "a/metrics.jsonl");
    for (size_t length = 0; length <= whole.size(); ++length) {
      folder.write("a/metrics.jsonl", whole.substr(0, length));
      RunFolder run = RunFolder::resume(folder / "a", 3);
      const size_t complete =
          static_cast<size_t>(std::count(whole.begin(), whole.begin() + static_cast<long>(length), '\n'));
      run.log(4, {{"x", 44}});
      const auto rows = run.metrics();
      REQUIRE(rows.size() == std::min<size_t>(complete, 3) + 1);
      CHECK(rows.back().values[0].second == 44);
    }
    CHECK_THROWS_WITH_AS(RunFolder::resume(folder / "none", 1), doctest::Contains("holds no run"), Error);
  }

  TEST_CASE("hostile metrics and config") {
    TemporaryFolder folder;
    for (const char* line :
         {"[]", "{}", "{\"step\":1.5}", "{\"step\":1,\"x\":\"y\"}", "{\"step\":1,\"x\":{}}", "nonsense", ""})
      CHECK_THROWS_WITH_AS(read_metrics(folder.write("m", std::string("{\"step\":1}\n") + line + "\n")),
                           doctest::Contains("line 2 is no object"), Error);
    CHECK_THROWS_AS(read_metrics(folder.write("m", std::string(1 << 20, '[') + "\n")), Error);
    CHECK_THROWS_AS(read_config(folder.write("c", std::string(1 << 19, '['))), Error);
    CHECK_THROWS_AS(read_config(folder.write("c", "{\"a\":1}")), Error);
    const auto read = [&](std::string_view bytes) { read_metrics(folder.write("m", bytes)); };
    CHECK(feed_damaged("{\"step\":1,\"x\":0.5}\n{\"step\":2,\"x\":null}\n", read).unexpected == "");
  }
}

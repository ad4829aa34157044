// What stithy bench makes of its measurements: statistics, JSON, comparisons, and the BLAS beside it.
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>
#include <set>

#include "engine/core/error.h"
#include "engine/graph/device.h"
#include "tools/stithy/bench_blas.h"
#include "tools/stithy/bench_cases.h"
#include "tools/stithy/bench_results.h"

using namespace stithy;
using namespace stithy::measure;

namespace {

Result result_of(const std::string& op, double ms, double spread = 0.01) {
  return {.op = op, .shape = "8x8", .ms = {.median = ms, .best = ms, .spread = spread, .samples = 9}};
}

std::string error_of(const std::string& text) {
  try {
    parse_results(text, "old.jsonl");
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

bool says(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_SUITE_BEGIN("bench");

TEST_CASE("median, best and spread") {
  const Timing odd = timing_of({5, 1, 3, 2, 4});
  CHECK(odd.median == 3);
  CHECK(odd.best == 1);
  CHECK(odd.spread == doctest::Approx(2.0 / 3));  // quartiles 2 and 4
  CHECK(odd.samples == 5);
  CHECK(timing_of({1, 2, 3, 10}).median == 2.5);
  CHECK(timing_of({7}).spread == 0);
  CHECK(timing_of({0, 0}).spread == 0);
  CHECK_THROWS_AS(timing_of({}), Error);
}

TEST_CASE("a result is a line of JSON, which a comparison reads") {
  Result result = result_of("matmul_nn", 1.23456);
  result.ratio_blas = 0.25;
  result.gflops = 123456.7;
  const std::string line = to_json(result);
  CHECK_FALSE(says(line, "\n"));
  const auto json = nlohmann::json::parse(line);
  CHECK(json["op"] == "matmul_nn");
  CHECK(json["dtype"] == "f32");
  CHECK(json["ms"] == 1.235);
  CHECK(json["gflops"] == 123500);
  CHECK(json["ratio_blas"] == 0.25);
  CHECK_FALSE(json.contains("submissions"));
  result.workload = WorkloadFacts{.unit = "img", .submissions = 1};
  CHECK(nlohmann::json::parse(to_json(result))["submissions"] == 1);

  const std::string machine = to_json(Machine{.device = "voodoo", .peak_gflops = 1});
  CHECK(nlohmann::json::parse(machine)["blas"].is_null());
  const EarlierRun run = parse_results(machine + "\r\n\n" + line + "\n", "old.jsonl");
  CHECK(run.device == "voodoo");
  REQUIRE(run.results.size() == 1);
  CHECK(run.results[0].ms == 1.235);
  CHECK(run.results[0].shape == "8x8");
}

TEST_CASE("a file that bench did not write is refused, with its line") {
  CHECK(says(error_of(""), "old.jsonl: holds no result"));
  CHECK(says(error_of("{\"device\":\"x\"}"), "holds no result"));
  CHECK(says(error_of("\nms 3"), "line 2 is no JSON object\nHINT: "));
  CHECK(says(error_of("[1]"), "line 1 is no JSON object"));
  CHECK(says(error_of("{\"op\":1}"), "line 1 has no text \"op\""));
  CHECK(says(error_of(R"({"op":"a","shape":"b","dtype":"f32"})"), "no number \"ms\""));
  CHECK(says(error_of(R"({"op":"a","shape":"b","dtype":"f32","ms":0,"spread":0})"), "no number \"ms\""));
  CHECK(
      says(error_of(R"({"op":"a","shape":"b","dtype":"f32","ms":1,"spread":"x"})"), "no number \"spread\""));
  CHECK(says(error_of(std::string(100000, '[')), "no JSON object"));
}

TEST_CASE("a change counts beyond the spread of both runs") {
  const EarlierRun earlier =
      parse_results(to_json(result_of("a", 2)) + "\n" + to_json(result_of("b", 2, 0.5)), "f");
  const Comparison faster = compare(result_of("a", 1), earlier);
  CHECK(faster.speedup == 2);
  CHECK(faster.change == Change::faster);
  CHECK(compare(result_of("a", 4), earlier).change == Change::slower);
  CHECK(compare(result_of("a", 1.96), earlier).change == Change::same);
  CHECK(compare(result_of("a", 1.9, 0.2), earlier).change == Change::same);
  CHECK(compare(result_of("b", 1.5), earlier).change == Change::same);
  CHECK(compare(result_of("c", 1), earlier).change == Change::added);
}

TEST_CASE("cases have names of their own, and the workloads are those of the yardstick") {
  std::set<std::string> names;
  for (const OpCase& c : op_cases()) CHECK_MESSAGE(names.insert(c.op + "/" + c.shape).second, c.op, c.shape);
  for (const Workload& w : workloads()) {
    CHECK_MESSAGE(names.insert(w.name + "/" + w.shape).second, w.name);
    if (w.name == "mlp") CHECK(w.shape == "128x1x28x28");
  }
}

TEST_CASE("a BLAS computes row-major products in every layout") {
  const std::optional<Blas> blas = Blas::open("");
  if (!blas) return;
  for (const bool transpose_a : {false, true})
    for (const bool transpose_b : {false, true}) {
      const Gemm g{3, 4, 5, 2, transpose_a, transpose_b};
      std::vector<float> a(2 * 15), b(2 * 20), c(2 * 12);
      for (size_t i = 0; i < a.size(); ++i) a[i] = static_cast<float>(i % 7) - 3;
      for (size_t i = 0; i < b.size(); ++i) b[i] = static_cast<float>(i % 5) - 2;
      blas->gemm(g, a.data(), b.data(), c.data());
      for (size_t batch = 0; batch < 2; ++batch)
        for (size_t m = 0; m < 3; ++m)
          for (size_t n = 0; n < 4; ++n) {
            float expected = 0;
            for (size_t k = 0; k < 5; ++k)
              expected += a[batch * 15 + (transpose_a ? k * 3 + m : m * 5 + k)] *
                          b[batch * 20 + (transpose_b ? n * 5 + k : k * 4 + n)];
            CHECK(c[batch * 12 + m * 4 + n] == expected);
          }
    }
  CHECK_THROWS_AS(Blas::open("/no/such/blas.so"), Error);
}

TEST_SUITE_END();

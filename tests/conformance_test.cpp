// `stithy conformance`: what it compares, how it survives drivers, and what it writes.
#include <doctest/doctest.h>

#include <unistd.h>

#include <cmath>
#include <csignal>
#include <limits>
#include <nlohmann/json.hpp>

#include "engine/core/error.h"
#include "engine/core/hash.h"
#include "engine/graph/op.h"
#include "engine/ops.h"
#include "nn/interrupt.h"
#include "tools/stithy/conformance_certificate.h"
#include "tools/stithy/conformance_training.h"
#include "tools/stithy/conformance_worker.h"
#include "tools/stithy/self_test.h"

using namespace stithy;
using namespace stithy::certify;

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

struct Seen {
  std::vector<std::string> lines;
  bool ended = false;
};
Seen watch(size_t count, double limit, const std::function<Reply(size_t)>& work) {
  Seen seen;
  seen.ended = supervise(
      count,
      {.work = work,
       .take = [&](size_t item, const std::string& text) { seen.lines.push_back(cat(item, " ", text)); },
       .failed = [&](size_t item,
                     const std::string& why) { seen.lines.push_back(cat(item, " failed: ", why)); },
       .limit = limit});
  return seen;
}

CaseResult good_case() {
  return {.op = "softmax",
          .name = "rows",
          .forward_error = 1.5e-7,
          .tolerance = 2e-6,
          .gradient_checks = 1,
          .gradient_error = 3e-6,
          .gradient_tolerance = 2e-5,
          .kernels = {"softmax", "softmax_backward"},
          .seconds = 0.25};
}

Certificate good_certificate() {
  Certificate certificate;
  certificate.date = "2026-11-23 08:30 UTC";
  certificate.seconds = 71;
  certificate.device = {{"device", "Radeon | <b>RX</b>"},
                        {"driver", "radv"},
                        {"driver version", "Mesa 25"},
                        {"Vulkan", "1.4.305"}};
  certificate.cases = {good_case()};
  certificate.kernels = {{"softmax", "0000000000000001", 1, 0, ""},
                         {"matmul_texel", "0000000000000002", 0, 0, "for other devices"}};
  certificate.training = {{.name = "mlp",
                           .about = "Linear; Adam",
                           .losses = {2, 1},
                           .reference = {2, 1.0000001},
                           .deviation = 1e-7,
                           .tolerance = 1e-5}};
  return certificate;
}

void check_refused(const std::string& text, const char* words) {
  std::string message;
  try {
    read_summary(text, "file.json");
  } catch (const Error& error) {
    message = error.what();
  }
  INFO(message);
  CHECK(message.starts_with("file.json"));
  CHECK(message.find(words) != std::string::npos);
}

}  // namespace

TEST_SUITE_BEGIN("conformance");

TEST_CASE("the deviation of a curve") {
  const std::vector<double> reference{4, 1, 0.5};
  CHECK(deviation(reference, reference) == 0);
  CHECK(deviation(std::vector<double>{4.4, 1, 0.5}, reference) == doctest::Approx(0.1));  // of 4
  CHECK(deviation(std::vector<double>{4, 1, 0.25}, reference) == doctest::Approx(0.25));  // of 1
  CHECK(deviation(std::vector<double>{4, kNan, 0.5}, reference) == kInfinity);
  CHECK(deviation(std::vector<double>{kInfinity, 1, 0.5}, reference) == kInfinity);
  CHECK(deviation(std::vector<double>{4, 1}, reference) == kInfinity);
  CHECK(deviation(std::vector<double>{4, 1, 0.5, 0.25}, reference) == kInfinity);
}

TEST_CASE("every training run has a reference") {
  CHECK(training_runs().size() == 4);
  for (const TrainingRun& run : training_runs()) {
    CAPTURE(run.name);
    CHECK(run.reference.size() >= 20);
    CHECK(run.reference.back() < 0.3 * run.reference.front());  // it learns
    CHECK(run.tolerance > 0);
    CHECK(run.tolerance < 1e-3);
  }
  CHECK_THROWS_AS(read_training_runs("{\"runs\":[]}"), Error);
  CHECK_THROWS_AS(read_training_runs("no JSON"), Error);
}

TEST_CASE("training runs follow their references, and no other curve") {
  for (const TrainingRun& run : training_runs()) {
    CAPTURE(run.name);
    const std::vector<double> losses = train(run.name);
    CHECK(deviation(losses, run.reference) <= run.tolerance);
    std::vector<double> other = run.reference;
    other[5] += 1.1 * run.tolerance * std::max(1.0, other[5]);
    CHECK(deviation(losses, other) > run.tolerance / 2);
    CHECK(deviation(train(run.name), losses) == 0);
  }
  CHECK_THROWS_AS(train("resnet"), Error);
}

TEST_CASE("work goes on after a throw, an end, a signal and a hang") {
  const Seen seen = watch(7, 3, [](size_t item) -> Reply {
    if (item == 1) throw Error("softmax", "on purpose");
    if (item == 2) _exit(3);
    if (item == 3) kill(getpid(), SIGKILL);
    if (item == 4)
      for (;;) pause();
    return {cat("good")};
  });
  CHECK(seen.ended);
  REQUIRE(seen.lines.size() == 7);
  CHECK(seen.lines[0] == "0 good");
  CHECK(seen.lines[1] == "1 failed: softmax: on purpose");
  CHECK(seen.lines[2] == "2 failed: the process that ran it ended with status 3");
  CHECK(seen.lines[3].starts_with("3 failed: the process that ran it was ended by signal 9"));
  CHECK(seen.lines[4] == "4 failed: it did not end within 3 seconds");
  CHECK(seen.lines[5] == "5 good");
  CHECK(seen.lines[6] == "6 good");
}

TEST_CASE("one process does all, until it is spent or something is thrown") {
  const Seen seen = watch(6, 10, [](size_t item) -> Reply {
    if (item == 4) throw Error("softmax", "on purpose");
    return {cat(getpid()), item == 2};
  });
  CHECK(seen.ended);
  REQUIRE(seen.lines.size() == 6);
  const auto process = [&](size_t item) { return seen.lines[item].substr(2); };
  CHECK(process(0) != cat(getpid()));
  CHECK(process(1) == process(0));
  CHECK(process(2) == process(0));
  CHECK(process(3) != process(0));
  CHECK(process(5) != process(3));
}

TEST_CASE("texts of any size and content arrive whole") {
  const std::string zeros(1 << 20, '\0');
  std::vector<std::string> texts;
  CHECK(supervise(3, {.work = [&](size_t item) -> Reply { return {item == 1 ? zeros : ""}; },
                      .take = [&](size_t, const std::string& text) { texts.push_back(text); },
                      .failed = [](size_t, const std::string& why) { FAIL_CHECK(why); }}));
  CHECK(texts == std::vector<std::string>{"", zeros, ""});
}

TEST_CASE("a signal ends the work") {
  const nn::InterruptGuard guard;
  const pid_t parent = getpid();
  const Seen seen = watch(3, 10, [&](size_t item) -> Reply {
    if (item == 1) {
      kill(parent, SIGINT);
      for (;;) pause();
    }
    return {"good"};
  });
  CHECK_FALSE(seen.ended);
  CHECK(seen.lines.size() <= 1);  // what came before the signal
  nn::clear_interrupt();
}

TEST_CASE("a case that fails names its kernels, also where none ran") {
  const testing::Row row{
      "neg",
      {{.name = "wrong reference",
        .arguments = {{.shape = {5}}},
        .build = [](auto xs) { return std::vector<Tensor>{neg(xs[0])}; },
        .reference = [](auto xs) { return std::vector<testing::Reference>{xs[0]}; }},
       {.name = "no reference",
        .arguments = {{.shape = {5}}},
        .build = [](auto xs) { return std::vector<Tensor>{neg(xs[0])}; },
        .reference = [](auto) -> std::vector<testing::Reference> { throw Error("neg", "on purpose"); }}}};
  for (const testing::Case& test : row.cases) {
    CAPTURE(test.name);
    const testing::Verdict verdict = run_case(row, test, true);
    CHECK_FALSE(verdict.failures.empty());
    CHECK(verdict.kernels.contains("unary_neg"));
  }
  CHECK(run_case(row, row.cases[0], true).gradient_checks == 1);
}

TEST_CASE("a case as JSON and back") {
  CaseResult test = good_case();
  test.failures = {"forward, contiguous", "gradient"};
  test.forward_error = kInfinity;
  const CaseResult back = case_from_json(nlohmann::ordered_json::parse(to_json(test).dump()));
  CHECK(back.op == test.op);
  CHECK(back.name == test.name);
  CHECK(back.failures == test.failures);
  CHECK(back.forward_error == kInfinity);
  CHECK(back.tolerance == test.tolerance);
  CHECK(back.gradient_checks == 1);
  CHECK(back.gradient_error == test.gradient_error);
  CHECK(back.gradient_tolerance == test.gradient_tolerance);
  CHECK(back.kernels == test.kernels);
  CHECK(back.seconds == test.seconds);
}

TEST_CASE("totals") {
  Certificate certificate = good_certificate();
  CHECK(totals_of(certificate).passed());
  CHECK(totals_of(certificate).kernels_not_launched == 1);
  CaseResult wrong = good_case();
  wrong.name = "columns", wrong.failures = {"gradient"}, wrong.gradient_error = kInfinity;
  certificate.cases.push_back(wrong);
  const Totals t = totals_of(certificate);
  CHECK_FALSE(t.passed());
  CHECK(t.rows == 1);
  CHECK(t.rows_passed == 0);
  CHECK(t.cases == 2);
  CHECK(t.cases_passed == 1);
  CHECK(t.gradients == 2);
  CHECK(t.gradients_passed == 1);
  certificate = good_certificate();
  certificate.training[0].failure = "the loss is off";
  CHECK_FALSE(totals_of(certificate).passed());
  certificate = good_certificate();
  certificate.kernels[0].failed = 1;
  CHECK_FALSE(totals_of(certificate).passed());
}

TEST_CASE("the certificate, whole and compact") {
  Certificate certificate = good_certificate();
  CaseResult wrong = good_case();
  wrong.name = "columns", wrong.failures = {"forward: at [1] the device gives \xff"};
  wrong.forward_error = 1e-3;
  certificate.cases.push_back(wrong);
  const auto whole = nlohmann::json::parse(to_json(certificate));
  CHECK(whole.at("cases").size() == 2);
  CHECK(whole.at("kernels").at(0).at("hash") == "0000000000000001");
  CHECK(whole.at("kernels").at(1).at("not_launched") == "for other devices");
  CHECK(whole.at("device").at("device") == "Radeon | <b>RX</b>");
  CHECK(whole.at("training").at(0).at("losses").size() == 2);
  CHECK(whole.at("shaders").at("all") == hash_of_all());
  const auto compact = nlohmann::json::parse(to_json(certificate, true));
  CHECK_FALSE(compact.contains("cases"));
  CHECK(compact.at("failed_cases").size() == 1);
  CHECK(compact.at("not_launched").at("for other devices").at(0) == "matmul_texel");
  CHECK(compact.at("totals") == whole.at("totals"));
  // Of an op's cases the one that uses the most of its tolerance.
  CHECK(compact.at("ops").at(0).at("forward_error") == 1e-3);

  const std::string html = to_html(certificate);
  CHECK(html.find("<b>RX</b>") == std::string::npos);
  CHECK(html.find("&lt;b&gt;RX") != std::string::npos);
  CHECK(html.find("the device gives") != std::string::npos);
  CHECK(html.find("FAILED") != std::string::npos);
  CHECK(html.find("<svg") != std::string::npos);
  CHECK(html.find("http:") == std::string::npos);
  CHECK(to_html(good_certificate()).find("FAILED") == std::string::npos);
}

TEST_CASE("hashes tell shaders apart") {
  CHECK(hash_text("") == "cbf29ce484222325");
  CHECK(hash_text("foobar") == "85944171f73967e8");  // draft-eastlake-fnv, appendix C
  const auto kernels = all_kernels();
  CHECK(spirv_hash(*kernels[0]).size() == 16);
  CHECK(spirv_hash(*kernels[0]) != spirv_hash(*kernels[1]));
  CHECK(hash_of_all().size() == 16);
}

TEST_CASE("a table from certificates") {
  Certificate certificate = good_certificate();
  for (const bool compact : {false, true}) {
    const Summary summary = read_summary(to_json(certificate, compact), "file.json");
    const std::pair<std::string, Summary> files[] = {{"tests/some_card.json", summary}};
    const std::string table = markdown(files);
    CHECK(table.find("\n| [some\\_card](tests/some_card.json) | radv, Mesa 25 | Radeon \\| &lt;b>RX&lt;/b> | "
                     "1.4.305 | 1 passed | 1 passed | 1 passed | 2026-11-23 |\n") != std::string::npos);
  }
  certificate.cases[0].failures = {"forward"};
  certificate.cases[0].gradient_error = 1;
  certificate.quick = true;
  const std::pair<std::string, Summary> failed[] = {
      {"a.json", read_summary(to_json(certificate), "file.json")}};
  CHECK(markdown(failed).find("| 0 passed, 1 failed (quick) | 0 passed, 1 failed | 1 passed |") !=
        std::string::npos);
}

TEST_CASE("what is no certificate of a whole device is refused") {
  check_refused("", "is no certificate");
  check_refused("[1]", "is no certificate");
  check_refused("{\"format\":7}", "is no certificate");
  Certificate certificate = good_certificate();
  certificate.only = "soft*";
  check_refused(to_json(certificate), "is of a part of the checks: soft*");
  certificate = good_certificate();
  certificate.environment = {"STITHY_DEBUG=plan", "STITHY_PRETEND=gpu"};
  check_refused(to_json(certificate), "pretended");
  auto json = nlohmann::ordered_json::parse(to_json(good_certificate()));
  json["totals"].erase("rows");
  check_refused(json.dump(), "is a damaged certificate");
  json = nlohmann::ordered_json::parse(to_json(good_certificate()));
  json["totals"]["rows"] = "many";
  check_refused(json.dump(), "is a damaged certificate");
  json = nlohmann::ordered_json::parse(to_json(good_certificate()));
  json["device"] = 3;
  check_refused(json.dump(), "is a damaged certificate");
}

TEST_SUITE_END();

#include "nn/run/session.h"

#include <doctest/doctest.h>

#include <csignal>
#include <filesystem>

#include "engine/core/file.h"
#include "nn/interrupt.h"
#include "nn/nn.h"
#include "tests/temporary_folder.h"

using namespace stithy;

namespace {

struct Counts {
  int64_t first = 0, second = 0;  // steps that each stage took in this process
};
// Two stages: a model, then one with noise on top of it. SIGINT comes after so many steps of all.
int run_stages(const std::string& folder, bool resume, int64_t interrupt_after, Counts& counts) {
  nn::Session session("test", "tests stages", {.epochs = 4, .batch = 4});
  const char* words[] = {"test", resume ? "--resume" : "--out", folder.c_str()};
  const int status = session.run(3, words, [&] {
    Array x({20, 3}, DType::f32), y({20, 1}, DType::f32);
    for (int64_t i = 0; i < x.numel(); ++i) x.set(i, static_cast<double>(i * 7 % 11) / 11);
    for (int64_t i = 0; i < 20; ++i) y.set(i, x.at(3 * i) - x.at(3 * i + 1));
    DataLoader train(
        std::make_shared<InMemoryDataset>(std::vector<InMemoryDataset::Source>{{"x", x}, {"y", y}}),
        {.batch = 4, .workers = 0});
    const auto count = [&](int64_t& steps) {
      return nn::FitOptions{.on_step = [&](const nn::StepReport&) {
        ++steps;
        if (counts.first + counts.second == interrupt_after) std::raise(SIGINT);
      }};
    };
    nn::Sequential base{nn::Linear(3, 4), nn::Tanh(), nn::Dropout(0.2f), nn::Linear(4, 1)};
    nn::Trainer first(base, nn::Mse{}, nn::Adam());
    session.fit(first, train, count(counts.first), {"first", 0.5});
    nn::Sequential top{base, nn::Dropout(0.1f), nn::Linear(1, 1)};
    nn::Trainer second(top, nn::Mse{}, nn::Adam());
    session.fit(second, train, count(counts.second), {.name = "second"});
    session.finish({{"score", 1}});
  });
  nn::clear_interrupt();
  return status;
}

std::string bytes_of(const std::string& path) { return read_file(path, 1 << 20); }

}  // namespace

TEST_SUITE("session") {
  TEST_CASE("stages come one after another; a run that is stopped in any of them goes on, bit for bit") {
    const TemporaryFolder folder;
    const std::string whole = folder / "whole";
    Counts counts;
    REQUIRE(run_stages(whole, false, -1, counts) == 0);
    CHECK(counts.first == 10);  // half of 4 epochs of 5 steps
    CHECK(counts.second == 20);
    std::vector<int64_t> steps;
    for (const MetricsRow& row : read_metrics(whole + "/metrics.jsonl"))
      for (const auto& [name, value] : row.values)
        if (name == (row.step <= 10 ? "first/train_loss" : "second/train_loss")) steps.push_back(row.step);
    CHECK(steps.size() == 30);
    CHECK(steps.back() == 30);
    const std::string report = bytes_of(whole + "/report.html");
    CHECK(report.find("loss, first") != std::string::npos);
    CHECK(report.find("loss, second") != std::string::npos);

    for (const int64_t stop : {3, 17}) {
      CAPTURE(stop);
      const std::string stopped = folder / cat("stopped-", stop);
      Counts before, after;
      CHECK(run_stages(stopped, false, stop, before) == 128 + SIGINT);
      CHECK(std::filesystem::exists(stopped + "/second/checkpoint.safetensors") == (stop > 10));
      CHECK(run_stages(stopped, true, -1, after) == 0);
      CHECK(before.first + after.first == 10);
      CHECK(before.second + after.second == 20);
      for (const char* stage : {"first", "second"})
        CHECK(bytes_of(cat(stopped, "/", stage, "/checkpoint.safetensors")) ==
              bytes_of(cat(whole, "/", stage, "/checkpoint.safetensors")));
      const auto expected = read_metrics(whole + "/metrics.jsonl"),
                 found = read_metrics(stopped + "/metrics.jsonl");
      REQUIRE(found.size() == expected.size());
      for (size_t i = 0; i < found.size(); ++i) {
        CHECK(found[i].step == expected[i].step);
        for (size_t v = 0; v < found[i].values.size(); ++v) {
          CHECK(found[i].values[v].first == expected[i].values[v].first);
          if (found[i].values[v].first != "seconds")
            CHECK(found[i].values[v].second == expected[i].values[v].second);
        }
      }
    }
  }

  TEST_CASE("a stage is a folder") {
    nn::Session session("test", "tests stages", {.epochs = 1});
    const char* words[] = {"test", "--out", "none"};
    CHECK(session.run(3, words, [&] {
      nn::Linear model(1, 1);
      nn::Trainer trainer(model, nn::Mse{}, nn::Sgd());
      DataLoader train(
          std::make_shared<InMemoryDataset>(std::vector<InMemoryDataset::Source>{{"x", Array({1, 1}, {1})}}),
          {.batch = 1, .workers = 0});
      CHECK_THROWS_WITH_AS(session.fit(trainer, train, {}, {.name = "../up"}),
                           doctest::Contains("'../up' is no name for a file"), Error);
    }) == 0);
  }
}

// Training end to end: small problems are learnt, runs repeat, and a resumed run gives the bytes of one that
// was not interrupted.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <csignal>
#include <filesystem>
#include <numbers>

#include "engine/core/file.h"
#include "nn/data/digits.h"
#include "nn/data/idx.h"
#include "nn/interrupt.h"
#include "nn/metrics.h"
#include "nn/nn.h"
#include "tests/temporary_folder.h"

using namespace stithy;

namespace {
const Array kXorX({4, 2}, {0, 0, 0, 1, 1, 0, 1, 1}), kXorY({4, 1}, {0, 1, 1, 0});

nn::Sequential xor_model() { return nn::Sequential{nn::Linear(2, 16), nn::Tanh(), nn::Linear(16, 1)}; }

// Two arms of a spiral.
DatasetPtr spiral(int64_t count) {
  Philox random(3);
  Array x({count, 2}, DType::f32), y({count}, DType::i32);
  for (int64_t i = 0; i < count; ++i) {
    const double t = random.uniform(), angle = 1.5 * 2 * std::numbers::pi * t;
    const double side = i % 2 ? 1 : -1;
    x.set(2 * i, side * t * std::cos(angle) + 0.02 * random.normal());
    x.set(2 * i + 1, side * t * std::sin(angle) + 0.02 * random.normal());
    y.set(i, static_cast<double>(i % 2));
  }
  return std::make_shared<InMemoryDataset>(std::vector<InMemoryDataset::Source>{{"x", x}, {"y", y}});
}

// What a run needs, made anew for each: a model with dropout, accumulation, a plateau schedule.
struct Run {
  nn::Sequential model;
  std::unique_ptr<nn::Trainer> trainer;
  std::unique_ptr<DataLoader> train, validation;

  explicit Run(bool validated = true) {
    nn::manual_seed(5);
    model = nn::Sequential{nn::Linear(2, 24), nn::Relu(), nn::Dropout(0.2f), nn::Linear(24, 2)};
    trainer = std::make_unique<nn::Trainer>(
        model, nn::CrossEntropy{}, nn::AdamW({.lr = 0.02f}),
        nn::TrainerOptions{.schedule = nn::schedule::linear_warmup(5, nn::schedule::cosine(60)),
                           .plateau = nn::PlateauOptions{.factor = 0.5, .patience = 0, .threshold = 0.2},
                           .accumulate = 2,
                           .clip_norm = 1});
    train = std::make_unique<DataLoader>(spiral(200), LoaderOptions{.batch = 10, .seed = 5});
    if (validated)
      validation = std::make_unique<DataLoader>(
          spiral(50), LoaderOptions{.batch = 20, .shuffle = false, .last = LastBatch::keep});
  }

  nn::FitOptions options(const std::string& folder) const {
    return {.epochs = 4, .validation = validation.get(), .folder = folder, .metadata = {{"seed", "5"}}};
  }
};

std::string latest(const TemporaryFolder& folder) { return read_file(folder / nn::kLatestCheckpoint); }
}  // namespace

TEST_SUITE("train") {
  TEST_CASE("a multilayer perceptron learns XOR") {
    nn::manual_seed(0);
    nn::Sequential model = xor_model();
    nn::Trainer trainer(model, nn::BceWithLogits{}, nn::Adam({.lr = 0.05f}));
    for (int step = 0; step < 200; ++step) trainer.step({kXorX, kXorY});
    CHECK(trainer.metrics().loss < 0.02);
    CHECK(trainer.steps() == 200);
    const Array logits = trainer.predict(kXorX);
    for (int64_t i = 0; i < 4; ++i) CHECK((logits.at(i) > 0) == (kXorY.at(i) > 0.5));
  }

  TEST_CASE("a step is one submission of a program recorded once") {
    nn::Sequential model = xor_model();
    nn::Trainer trainer(model, nn::BceWithLogits{}, nn::Adam());
    const uint64_t planned = trainer.plan({kXorX, kXorY}).peak_bytes();
    CHECK(planned > 0);
    for (int step = 0; step < 5; ++step) trainer.step({kXorX, kXorY});
    trainer.metrics();
    CHECK(trainer.program_count() == 1);
    trainer.step({kXorX.rows(0, 2), kXorY.rows(0, 2)});
    trainer.step({kXorX, kXorY});
    CHECK(trainer.program_count() == 2);
  }

  TEST_CASE("a column that the step does not use is not asked for") {
    nn::Linear model(2, 1);
    nn::Trainer trainer(
        model, [&](std::span<const Tensor> batch) { return nn::StepOutputs{.loss = mean(model(batch[1]))}; },
        nn::Sgd());
    const std::vector<Array> batch{Array({4}, DType::i32), Array({4, 2}, DType::f32)};
    trainer.step(batch);
    // x is 0, so the loss is the bias, whose gradient is 1.
    CHECK(trainer.evaluate(batch).metrics.loss == doctest::Approx(trainer.metrics().loss - 0.01));
  }

  TEST_CASE("metrics belong to their step") {
    nn::manual_seed(0);
    nn::Sequential model = xor_model();
    nn::Trainer trainer(model, nn::BceWithLogits{}, nn::Sgd({.lr = 0.5f}));
    CHECK_THROWS_AS(trainer.metrics(), Error);
    trainer.step({kXorX, kXorY});
    CHECK_FALSE(trainer.previous_metrics());
    const double first = trainer.metrics().loss;
    trainer.step({kXorX, kXorY});
    CHECK(trainer.previous_metrics()->loss == first);
    CHECK(trainer.metrics().loss < first);
    CHECK(trainer.metrics().step == 1);
    CHECK_THROWS_AS(trainer.step({kXorX}), Error);
    CHECK_THROWS_AS(trainer.step({}), Error);
  }

  TEST_CASE("a spiral is learnt, with early stopping and the best kept") {
    const TemporaryFolder folder;
    nn::manual_seed(1);
    nn::Sequential model{nn::Linear(2, 64), nn::Relu(), nn::Linear(64, 64), nn::Relu(), nn::Linear(64, 2)};
    nn::Trainer trainer(model, nn::CrossEntropy{}, nn::Adam({.lr = 0.01f}));
    DataLoader train(spiral(400), {.batch = 40}), validation(spiral(400), {.batch = 200, .shuffle = false});
    int epochs = 0;
    double best = 0;
    nn::Fit fit(trainer, train,
                {.epochs = 200,
                 .validation = &validation,
                 .monitor = "accuracy",
                 .maximize = true,
                 .patience = 30,
                 .folder = folder.path(),
                 .keep = 2,
                 .on_epoch = [&](const nn::EpochReport& report) {
                   ++epochs;
                   best = std::max(best, report.validation.at("accuracy"));
                 }});
    const nn::FitResult result = fit.run();
    CHECK(result.best == best);
    CHECK(best > 0.97);
    CHECK(result.steps == 10 * epochs);
    CHECK((epochs < 200) == (result.reason == nn::FitResult::Reason::early_stop));
    CHECK(folder.files() == 4);  // latest, best, and two by step
    trainer.load(folder / nn::kBestCheckpoint);
    CHECK(nn::evaluate(trainer, validation).at("accuracy") == doctest::Approx(best));
  }

  TEST_CASE("the parameters of the best epoch come back, also in a resumed run") {
    const TemporaryFolder folder;
    for (const std::string& path : {std::string(), folder.path()}) {
      Run run;
      double best = 0, last = 0;
      const auto options = [&] {
        return nn::FitOptions{.epochs = 6,
                              .validation = run.validation.get(),
                              .monitor = "accuracy",
                              .folder = path,
                              .restore_best = true,
                              .on_epoch = [&](const nn::EpochReport& report) {
                                last = report.validation.at("loss");
                                if (report.best) best = last;
                              }};
      };
      // The least accuracy is the first epoch's, or nearly, so that the best epoch is not the last one.
      nn::Fit(*run.trainer, *run.train, options()).run();
      CHECK(best != doctest::Approx(last));
      CHECK(nn::evaluate(*run.trainer, *run.validation).at("loss") == doctest::Approx(best));
      if (path.empty()) continue;
      Run resumed;
      nn::Fit fit(*resumed.trainer, *resumed.train, options());
      fit.resume(folder / nn::kLatestCheckpoint);
      fit.run();
      CHECK(nn::evaluate(*resumed.trainer, *resumed.validation).at("loss") == doctest::Approx(best));
    }
  }

  TEST_CASE("digits are learnt") {
    nn::manual_seed(2);
    nn::Sequential model{nn::FromBytes(), nn::Flatten(), nn::Linear(784, 64), nn::Relu(), nn::Linear(64, 10)};
    nn::Trainer trainer(model, nn::CrossEntropy{}, nn::Adam({.lr = 2e-3f}));
    DataLoader train(std::make_shared<DigitsDataset>(DigitsSplit::train, 4000), {.batch = 50});
    DataLoader test(std::make_shared<DigitsDataset>(DigitsSplit::test, 530),
                    {.batch = 100, .shuffle = false, .last = LastBatch::pad});
    nn::Fit(trainer, train, {.epochs = 3}).run();
    ConfusionMatrix confusion(10);
    const nn::MeanMetrics means = nn::evaluate(trainer, test, [&](const Batch& batch, const Array& logits) {
      confusion.add(logits, batch.columns[1]);
    });
    CHECK(confusion.total() == 530);
    // The padding counts for nothing, on the device as on the host.
    CHECK(means.at("accuracy") == doctest::Approx(confusion.accuracy()));
    CHECK(means.at("accuracy") > 0.85);
  }

  TEST_CASE("two runs give the same bytes") {
    const TemporaryFolder a, b;
    Run first, second;
    nn::manual_seed(5);
    nn::Fit(*first.trainer, *first.train, first.options(a.path())).run();
    nn::manual_seed(5);
    nn::Fit(*second.trainer, *second.train, second.options(b.path())).run();
    CHECK(latest(a) == latest(b));
  }

  TEST_CASE("a run that is interrupted anywhere and resumed ends with the same bytes") {
    for (const bool validated : {true, false}) {
      const TemporaryFolder whole;
      {
        Run run(validated);
        nn::Fit(*run.trainer, *run.train, run.options(whole.path())).run();
      }
      // 20 micro-batches an epoch: within an update, within an epoch, at the end of one.
      for (const int64_t stop : {7, 14, 20, 33}) {
        CAPTURE(stop);
        const TemporaryFolder parts;
        {
          Run run(validated);
          nn::FitOptions options = run.options(parts.path());
          int64_t seen = 0;
          // The signal comes while the step after the one reported is in flight.
          options.on_step = [&](const nn::StepReport&) {
            if (++seen == stop - 1) std::raise(SIGTERM);
          };
          nn::Fit fit(*run.trainer, *run.train, options);
          CHECK(fit.run().reason == nn::FitResult::Reason::interrupted);
          CHECK(run.train->position() == LoaderPosition{stop / 20, stop % 20});
          nn::clear_interrupt();
        }
        Run run(validated);
        nn::Fit fit(*run.trainer, *run.train, run.options(parts.path()));
        fit.resume(parts / nn::kLatestCheckpoint);
        CHECK(fit.run().reason == nn::FitResult::Reason::finished);
        CHECK(latest(parts) == latest(whole));
      }
    }
  }

  TEST_CASE("a checkpoint of another run is refused, and changes nothing") {
    const TemporaryFolder folder;
    Run run;
    run.trainer->save(folder / "a.safetensors");
    nn::Fit fit(*run.trainer, *run.train, run.options({}));
    CHECK_THROWS_AS(fit.resume(folder / "a.safetensors"), Error);  // no position
    nn::Sequential other = xor_model();
    nn::Trainer wrong(other, nn::BceWithLogits{}, nn::Adam());
    const Array before = other.named_parameters()[0].variable.value();
    CHECK_THROWS_AS(wrong.load(folder / "a.safetensors"), Error);
    CHECK(same_bytes(other.named_parameters()[0].variable.value(), before));
    const std::string bytes = read_file(folder / "a.safetensors");
    CHECK_THROWS_AS(run.trainer->load(folder.write("b.safetensors", bytes.substr(0, bytes.size() / 2))),
                    Error);
  }

  TEST_CASE("a fast dev run ends after three steps, overfitting uses one batch") {
    Run run;
    nn::FitOptions options = run.options({});
    options.fast_dev_run = true;
    int epochs = 0;
    options.on_epoch = [&](const nn::EpochReport& report) {
      ++epochs;
      CHECK(report.validation.count("accuracy") == 1);
    };
    CHECK(nn::Fit(*run.trainer, *run.train, options).run().steps == 3);
    CHECK(epochs == 1);

    nn::manual_seed(0);
    nn::Sequential model{nn::Linear(2, 64), nn::Relu(), nn::Linear(64, 64), nn::Relu(), nn::Linear(64, 2)};
    nn::Trainer trainer(model, nn::CrossEntropy{}, nn::Adam({.lr = 0.01f}));
    nn::Fit(trainer, *run.train, {.most_steps = 150, .overfit_batch = true}).run();
    CHECK(trainer.metrics().loss < 0.05);
  }

  TEST_CASE("steps that never give a finite gradient end the run") {
    nn::Sequential model{nn::Linear(2, 2)};
    nn::Trainer trainer(
        model,
        [&](std::span<const Tensor> batch) {
          return nn::StepOutputs{.loss = sum(log(model(batch[0]) * 0.0f))};  // gradient: 0 / 0
        },
        nn::Sgd());
    DataLoader train(spiral(200), {.batch = 4});
    CHECK_THROWS_WITH_AS(nn::Fit(trainer, train, {.epochs = 1}).run(),
                         doctest::Contains("the gradient was not finite for 20 steps in a row"), Error);
  }

  TEST_CASE("too large a batch says which one fits") {
    nn::Sequential model{nn::Linear(64, 256), nn::Relu(), nn::Linear(256, 1)};
    nn::Trainer trainer(model, nn::Mse{}, nn::Sgd());
    trainer.step({Array({4, 64}, DType::f32), Array({4, 1}, DType::f32)});
    trainer.metrics();
    const uint64_t limit = device_allocated_bytes() + (uint64_t{8} << 20);
    setenv("STITHY_MEMORY_LIMIT", std::to_string(limit).c_str(), 1);
    const int64_t rows = 1 << 16;
    int64_t fits = 0;
    try {
      trainer.step({Array({rows, 64}, DType::f32), Array({rows, 1}, DType::f32)});
      FAIL("the batch fitted");
    } catch (const OutOfMemory& error) {
      CAPTURE(error.what());
      REQUIRE(std::sscanf(error.hint().c_str(), "a batch of %ld fits", &fits) == 1);
      CHECK(fits > 100);
      CHECK(fits < rows);
    }
    CHECK_NOTHROW(trainer.step({Array({fits, 64}, DType::f32), Array({fits, 1}, DType::f32)}));
    unsetenv("STITHY_MEMORY_LIMIT");
  }
}

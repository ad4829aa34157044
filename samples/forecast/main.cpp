// Tells the temperature of the next 24 hours from those before by a linear layer, an LSTM and a Transformer,
// and compares them with two rules: it stays as it is, and it will be as yesterday. Without options the
// temperatures are drawn on the spot; --data takes a CSV file with a row an hour (ETTh1, Zhou et al. 2021),
// of which --column is told. Models learn from the first 60 % of the time and are measured on the last 20 %.
#include <algorithm>
#include <array>
#include <cmath>
#include <memory>

#include "nn/data/csv.h"
#include "nn/data/series.h"
#include "nn/nn.h"
#include "nn/run/picture.h"
#include "nn/run/session.h"

using namespace stithy;

constexpr int64_t kHorizon = 24;

// x [n, history] -> [n, 24]. A model sees and tells differences to the last known hour, so that the level
// does not matter (NLinear: Zeng et al. 2023, "Are Transformers Effective for Time Series Forecasting?").
struct Forecaster : nn::Module {
  Tensor forward(const Tensor& x) override {
    const Tensor last = slice(x, 1, x.dim(1) - 1, x.dim(1));
    return last + changes(x - last);
  }
  virtual Tensor changes(const Tensor& x) = 0;
};

struct LinearForecaster : Forecaster {
  explicit LinearForecaster(int64_t history) : linear(child("linear", nn::Linear(history, kHorizon))) {}
  Tensor changes(const Tensor& x) override { return linear(x); }
  nn::Child<nn::Linear> linear;
};

struct LstmForecaster : Forecaster {
  explicit LstmForecaster(int64_t size)
      : lstm(child("lstm", nn::Lstm(1, size, {.batch_first = true}))),
        output(child("output", nn::Linear(size, kHorizon))) {}
  Tensor changes(const Tensor& x) override {
    return output(squeeze(lstm(unsqueeze(x, 2), nn::RecurrentState{}).state.h, 0));
  }
  nn::Child<nn::Lstm> lstm;
  nn::Child<nn::Linear> output;
};

// Patches of a few hours are what attention looks at (Nie et al. 2023, "A Time Series is Worth 64 Words").
struct TransformerForecaster : Forecaster {
  TransformerForecaster(int64_t history, int64_t size)
      : embedding(child("embedding", nn::Linear(kPatch, size))),
        positions(child("positions", nn::PositionalEmbedding(history / kPatch, size))),
        encoder(child("encoder",
                      nn::TransformerEncoder(size, 4, 2, true, {.hidden = 2 * size, .norm_first = true}))),
        output(child("output", nn::Linear(history / kPatch * size, kHorizon))) {}
  Tensor changes(const Tensor& x) override {
    const Tensor patches = reshape(x, {x.dim(0), x.dim(1) / kPatch, kPatch});
    return output(flatten(encoder(positions(embedding(patches))), 1));
  }
  static constexpr int64_t kPatch = 6;
  nn::Child<nn::Linear> embedding;
  nn::Child<nn::PositionalEmbedding> positions;
  nn::Child<nn::TransformerEncoder> encoder;
  nn::Child<nn::Linear> output;
};

// One of the forecasts.
struct Contender {
  std::string name;
  std::vector<std::array<double, kHorizon>> said;  // of each window of the test
  double validation = 0;                           // mean squared error
};

int main(int argc, char** argv) {
  constexpr int64_t kDrawn = 2 * 8766, kShownDays = 90;
  int64_t history = 72, size = 48;
  std::string column = "OT";
  nn::Session session("forecast", "tells the temperature of the next 24 hours",
                      {.epochs = 4, .batch = 64, .lr = 2e-3});
  session.arguments().add("--history", &history, "hours that are known", {kHorizon, 10000});
  session.arguments().add("--size", &size, "of the models", {1, 4096});
  session.arguments().add("--column", &column, "of the CSV file", "NAME");

  return session.run(argc, argv, [&] {
    const RunOptions& options = session.options();
    if (history % TransformerForecaster::kPatch != 0 || size % 4 != 0)
      throw Error("forecast", cat("history ", history, " and size ", size, " do not fit"),
                  cat("choose multiples of ", TransformerForecaster::kPatch, " and 4"));
    Array series;
    if (options.data.empty()) {
      series = draw_temperatures(kDrawn, options.seed);
    } else {
      const CsvTable table = read_csv(options.data);
      series = table.numbers({column}).reshaped({table.rows()});
    }
    const int64_t hours = series.numel(), learnt = hours * 6 / 10, validated = hours * 8 / 10;
    const Normalizer normalizer = Normalizer::fit(series.rows(0, learnt));
    const Array values = normalizer.apply(series);
    const auto windows = [&](int64_t begin, int64_t end) {
      // The first hours to tell follow at once on the part before.
      return std::make_shared<SeriesWindows>(values.rows(std::max<int64_t>(0, begin - history), end),
                                             SeriesOptions{.history = history, .horizon = kHorizon});
    };
    DataLoader train(windows(0, learnt), {.batch = options.batch, .seed = options.seed});
    const LoaderOptions in_order{.batch = 200, .shuffle = false, .last = LastBatch::pad};
    DataLoader validation(windows(learnt, validated), in_order), test(windows(validated, hours), in_order);

    std::vector<Contender> contenders;
    std::vector<std::array<double, kHorizon>> truth;
    contenders.push_back({"last value", {}, 0});
    contenders.push_back({"yesterday", {}, 0});
    for (int64_t i = 0; i < test.dataset().size(); ++i)
      for (int64_t h = 0; h < kHorizon; ++h) {
        if (h == 0)
          truth.emplace_back(), contenders[0].said.emplace_back(), contenders[1].said.emplace_back();
        const int64_t now = validated + i;  // the first hour to tell
        truth.back()[static_cast<size_t>(h)] = values.at(now + h);
        contenders[0].said.back()[static_cast<size_t>(h)] = values.at(now - 1);
        contenders[1].said.back()[static_cast<size_t>(h)] = values.at(now + h - 24);
      }
    const auto learn = [&](const std::string& name, Forecaster& model) {
      nn::Trainer trainer(model, nn::Mse{}, nn::AdamW({.lr = static_cast<float>(options.lr)}),
                          {.schedule = nn::schedule::linear_warmup(
                               20, nn::schedule::cosine(session.total_steps(train), 0.01)),
                           .clip_norm = 1});
      session.fit(trainer, train, {.validation = &validation, .restore_best = true}, {.name = name});
      Contender contender{name, {}, nn::evaluate(trainer, validation).at("loss")};
      nn::evaluate(trainer, test, [&](const Batch& batch, const Array& output) {
        for (int64_t i = 0; i < batch.count * kHorizon; ++i) {
          if (i % kHorizon == 0) contender.said.emplace_back();
          contender.said.back()[static_cast<size_t>(i % kHorizon)] = output.at(i);
        }
      });
      contenders.push_back(std::move(contender));
    };
    LinearForecaster linear(history);
    LstmForecaster lstm(size);
    TransformerForecaster transformer(history, size);
    learn("linear", linear);
    learn("lstm", lstm);
    learn("transformer", transformer);

    // Errors by the hours ahead, and their mean.
    stithy::Metrics result;
    Chart by_hour{"mean squared error, by hours ahead", "hours ahead", {}};
    std::vector<double> errors;
    for (const Contender& contender : contenders) {
      ChartLine line{contender.name, {}};
      Mean all;
      for (size_t h = 0; h < kHorizon; ++h) {
        Mean error;
        for (size_t i = 0; i < truth.size(); ++i) error.add(std::pow(contender.said[i][h] - truth[i][h], 2));
        line.points.emplace_back(static_cast<double>(h + 1), error.value());
        all.add(error.value());
      }
      by_hour.lines.push_back(line);
      errors.push_back(all.value());
    }
    session.report().charts.push_back(by_hour);

    // Degrees again, for the pictures.
    const double deviation = normalizer.std()[0], mean = normalizer.mean()[0];
    for (size_t part = 1; part <= 3; ++part) {
      const size_t i = truth.size() * part / 4;
      Chart chart{cat("forecast ", part), "hours ahead", {{"truth", {}}}};
      for (int64_t h = -48; h < kHorizon; ++h)
        chart.lines[0].points.emplace_back(
            h + 1, deviation * values.at(validated + static_cast<int64_t>(i) + h) + mean);
      for (size_t c = 1; c < contenders.size(); ++c) {
        ChartLine& line = chart.lines.emplace_back(ChartLine{contenders[c].name, {}});
        for (size_t h = 0; h < kHorizon; ++h)
          line.points.emplace_back(static_cast<double>(h + 1), deviation * contenders[c].said[i][h] + mean);
      }
      session.report().charts.push_back(chart);
    }
    // Days side by side, each told at its first hour.
    const int64_t days = std::min<int64_t>(kShownDays, static_cast<int64_t>(truth.size()) / 24);
    std::vector<Array> carpets;
    for (const auto* told : {&truth, &contenders.back().said}) {
      Array carpet({kHorizon, days}, DType::f32);
      for (int64_t i = 0; i < carpet.numel(); ++i)
        carpet.set(i, (*told)[static_cast<size_t>(i % days * 24)][static_cast<size_t>(i / days)]);
      carpets.push_back(heat_map(carpet, -2.0f, 2.0f));
    }
    session.figure("days", contact_sheet(carpets, 1, 8, 1),
                   "Days from left to right, hours from top to bottom, yellow warm and blue cold: above what "
                   "came, below what the Transformer had told the day before.");
    const Contender& best =
        *std::ranges::min_element(contenders.begin() + 2, contenders.end(), {}, &Contender::validation);
    result = {{"val_loss", best.validation}, {"mse_last", errors[0]}, {"mse_yesterday", errors[1]}};
    for (size_t c = 2; c < contenders.size(); ++c)
      result.emplace_back("mse_" + contenders[c].name, errors[c]);
    session.finish(result);
  });
}

#include "tools/stithy/conformance_training.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>

#include "engine/core/error.h"
#include "nn/models/gpt.h"
#include "nn/nn.h"
#include "tests/golden_values.h"

namespace stithy::certify {
namespace {

using testing::values;
using Batch = std::vector<Array>;

struct Recipe {
  const char *name, *about;
  std::function<std::unique_ptr<nn::Module>()> model;
  std::function<Batch(int64_t step)> batch;
  nn::Loss loss;
  std::function<nn::Optimizer()> optimizer;
  float clip_norm = 0;
};

// Four classes: the signs of the first two numbers.
Batch mlp_batch(int64_t step) {
  Batch batch{values(cat("mlp.", step), {32, 16}), Array({32}, DType::i32)};
  for (int64_t i = 0; i < 32; ++i)
    batch[1].set(i, 2 * (batch[0].at(16 * i) > 0) + (batch[0].at(16 * i + 1) > 0));
  return batch;
}

// Noise, and a bright square in one of four corners.
Batch cnn_batch(int64_t step) {
  Batch batch{values(cat("cnn.", step), {16, 1, 12, 12}), Array({16}, DType::i32)};
  for (float& pixel : batch[0].values<float>()) pixel *= 0.5f;
  for (int64_t i = 0; i < 16; ++i) {
    const int64_t corner = i % 4, row = 6 * (corner / 2) + 1, column = 6 * (corner % 2) + 1;
    for (int64_t y = row; y < row + 4; ++y)
      for (int64_t x = column; x < column + 4; ++x) {
        const int64_t at = (i * 12 + y) * 12 + x;
        batch[0].set(at, batch[0].at(at) + 1);
      }
    batch[1].set(i, static_cast<double>(corner));
  }
  return batch;
}

// The mean of the first two channels, one step late.
Batch lstm_batch(int64_t step) {
  Batch batch{values(cat("lstm.", step), {16, 12, 4}), Array({16, 12, 1}, DType::f32)};
  for (int64_t i = 0; i < 16 * 12; ++i)
    batch[1].set(i, i % 12 == 0 ? 0 : (batch[0].at(4 * (i - 1)) + batch[0].at(4 * (i - 1) + 1)) * 0.5);
  return batch;
}

// Each token is 5 times the one before and 3, modulo 16.
Batch gpt_batch(int64_t step) {
  const Array first = testing::numbers(cat("gpt.", step), {8}, 16);
  Batch batch{Array({8, 16}, DType::i32), Array({8, 16}, DType::i32)};
  for (int64_t i = 0; i < 8; ++i) {
    auto token = static_cast<int64_t>(first.at(i));
    for (int64_t t = 0; t < 16; ++t) {
      batch[0].set(16 * i + t, static_cast<double>(token));
      token = (token * 5 + 3) % 16;
      batch[1].set(16 * i + t, static_cast<double>(token));
    }
  }
  return batch;
}

struct Mlp : nn::Module {
  nn::Child<nn::Linear> hidden = child("hidden", nn::Linear(16, 64));
  nn::Child<nn::Linear> output = child("output", nn::Linear(64, 4));
  Tensor forward(const Tensor& x) override { return output(relu(hidden(x))); }
};

struct Cnn : nn::Module {
  nn::Child<nn::Conv2d> conv1 = child("conv1", nn::Conv2d(1, 8, {3}, {.padding = {1}}, false));
  nn::Child<nn::BatchNorm2d> bn1 = child("bn1", nn::BatchNorm2d(8));
  nn::Child<nn::Conv2d> conv2 = child("conv2", nn::Conv2d(8, 16, {3}, {.padding = {1}}, false));
  nn::Child<nn::BatchNorm2d> bn2 = child("bn2", nn::BatchNorm2d(16));
  nn::Child<nn::Linear> fc = child("fc", nn::Linear(16 * 9, 4));
  Tensor forward(const Tensor& x) override {
    const Tensor y = maxpool(relu(bn1(conv1(x))), {2}).y;
    return fc(flatten(maxpool(relu(bn2(conv2(y))), {2}).y, 1));
  }
};

struct Recurrent : nn::Module {
  nn::Child<nn::Lstm> lstm = child("lstm", nn::Lstm(4, 24, {.batch_first = true}));
  nn::Child<nn::Linear> output = child("output", nn::Linear(24, 1));
  Tensor forward(const Tensor& x) override { return output(lstm(x)); }
};

const std::vector<Recipe>& recipes() {
  static const std::vector<Recipe> all = {
      {"mlp", "Linear, ReLU; Adam", [] { return std::make_unique<Mlp>(); }, mlp_batch, nn::CrossEntropy{},
       [] { return nn::Adam({.lr = 1e-2f}); }},
      {"cnn", "Conv2d, BatchNorm2d, max pooling; SGD with momentum", [] { return std::make_unique<Cnn>(); },
       cnn_batch, nn::CrossEntropy{}, [] { return nn::Sgd({.lr = 1e-2f, .momentum = 0.9f}); }},
      {"lstm", "LSTM over 12 steps; RMSprop, clipping", [] { return std::make_unique<Recurrent>(); },
       lstm_batch, nn::Mse{}, [] { return nn::Rmsprop({.lr = 1e-2f}); }, 0.5f},
      {"gpt", "GPT of 2 layers: embedding, causal attention, LayerNorm, GELU; AdamW, clipping",
       [] {
         return std::make_unique<nn::Gpt>(
             nn::GptOptions{.vocabulary = 16, .context = 16, .layers = 2, .heads = 2, .width = 32});
       },
       gpt_batch, nn::CrossEntropy{}, [] { return nn::AdamW({.lr = 3e-3f}); }, 1},
  };
  return all;
}

}  // namespace

std::vector<TrainingRun> read_training_runs(std::string_view text) {
  const auto all = nlohmann::json::parse(text, nullptr, false);
  std::vector<TrainingRun> runs;
  for (const Recipe& recipe : recipes()) {
    TrainingRun run{recipe.name, recipe.about, {}, 0};
    if (all.is_object() && all.contains("runs"))
      for (const auto& entry : all.at("runs"))
        if (entry.at("name") == run.name) {
          run.reference = entry.at("loss").get<std::vector<double>>();
          run.tolerance = entry.at("tolerance");
        }
    if (run.reference.empty())
      throw Error("conformance", cat("there is no reference for the run ", run.name));
    runs.push_back(std::move(run));
  }
  return runs;
}

const std::vector<TrainingRun>& training_runs() {
  static const std::vector<TrainingRun> all = read_training_runs(curves());
  return all;
}

std::vector<double> train(const std::string& name) {
  const auto recipe = std::ranges::find(recipes(), name, &Recipe::name);
  const auto run = std::ranges::find(training_runs(), name, &TrainingRun::name);
  if (recipe == recipes().end()) throw Error("conformance", cat("there is no training run ", name));
  const std::unique_ptr<nn::Module> model = recipe->model();
  testing::fill(*model);
  nn::Trainer trainer(*model, recipe->loss, recipe->optimizer(), {.clip_norm = recipe->clip_norm});
  std::vector<double> losses;
  for (size_t step = 0; step < run->reference.size(); ++step) {
    trainer.step(recipe->batch(static_cast<int64_t>(step)));
    losses.push_back(trainer.metrics().loss);
  }
  return losses;
}

double deviation(std::span<const double> losses, std::span<const double> reference) {
  double largest = losses.size() == reference.size() ? 0 : std::numeric_limits<double>::infinity();
  for (size_t i = 0; i < std::min(losses.size(), reference.size()); ++i) {
    const double error = std::abs(losses[i] - reference[i]) / std::max(1.0, std::abs(reference[i]));
    largest = std::max(largest, std::isfinite(error) ? error : std::numeric_limits<double>::infinity());
  }
  return largest;
}

}  // namespace stithy::certify

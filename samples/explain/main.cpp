// Shows which pixels a classifier looks at: trains a small convolutional network on digits (or takes one by
// --weights), then explains its answers by saliency, integrated gradients, Grad-CAM and occlusion. Whether
// the maps mean something is measured: without the quarter of its ink that a map ranks highest a digit should
// lose more of its class' probability than without the quarter that it ranks lowest (Samek et al. 2017).
// Plain gradients hardly do better than chance here.
#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "nn/data/digits.h"
#include "nn/explain.h"
#include "nn/nn.h"
#include "nn/run/picture.h"
#include "nn/run/session.h"

using namespace stithy;

constexpr int64_t kPixels = kDigitSize * kDigitSize;
constexpr double kInk = 64, kBlanked = 0.25;

// The probability of each item's class.
std::vector<double> probabilities(const Array& logits, const std::vector<int32_t>& classes) {
  const int64_t count = logits.shape()[1];
  std::vector<double> result;
  for (size_t i = 0; i < classes.size(); ++i) {
    const int64_t row = static_cast<int64_t>(i) * count;
    double sum = 0;
    for (int64_t c = 0; c < count; ++c) sum += std::exp(logits.at(row + c) - logits.at(row + classes[i]));
    result.push_back(1 / sum);
  }
  return result;
}

// The images without that share of their ink that the map, f32 [n, height, width], ranks highest or lowest.
// The rest is black already, so that blanking it would show nothing.
Array blanked(const Array& images, const Array& map, bool highest) {
  Array result = images;
  for (int64_t first = 0; first < images.numel(); first += kPixels) {
    std::vector<int64_t> ink;
    for (int64_t i = first; i < first + kPixels; ++i)
      if (images.at(i) > kInk) ink.push_back(i);
    std::sort(ink.begin(), ink.end(),
              [&](int64_t a, int64_t b) { return highest ? map.at(a) > map.at(b) : map.at(a) < map.at(b); });
    ink.resize(static_cast<size_t>(kBlanked * static_cast<double>(ink.size())));
    for (const int64_t i : ink) result.set(i, 0);
  }
  return result;
}

int main(int argc, char** argv) {
  constexpr int64_t kTrain = 12000, kTest = 2000, kShown = 6;
  std::string weights;
  int64_t explained = 100;
  nn::Session session("explain", "shows which pixels a classifier of digits looks at",
                      {.epochs = 3, .batch = 64, .lr = 2e-3});
  session.arguments().add("--weights", &weights, "weights to begin with; --steps 1 keeps nearly these",
                          "FILE");
  session.arguments().add("--explained", &explained, "images of the test set that are explained",
                          {kShown, 500});

  return session.run(argc, argv, [&] {
    const RunOptions& options = session.options();
    const auto [all, tested] = load_or_draw_digits(options.data, kTrain, kTest, options.seed);
    const std::vector<DatasetPtr> parts = split(all, std::array{0.95, 0.05}, options.seed);
    DataLoader train(parts[0], {.batch = options.batch, .seed = options.seed});
    DataLoader validation(parts[1], {.batch = 200, .shuffle = false, .last = LastBatch::pad});
    DataLoader test(tested, {.batch = 200, .shuffle = false, .last = LastBatch::pad});

    // The classifier proper takes numbers from 0 to 1: bytes have no gradient.
    nn::Sequential classifier{nn::Function("Unsqueeze", [](const Tensor& x) { return unsqueeze(x, 1); }),
                              nn::Conv2d(1, 16, {3}, {.padding = {1}}, false),
                              nn::BatchNorm2d(16),
                              nn::Relu(),
                              nn::MaxPool2d({2}),
                              nn::Conv2d(16, 32, {3}, {.padding = {1}}, false),
                              nn::BatchNorm2d(32),
                              nn::Relu(),
                              nn::MaxPool2d({2}),
                              nn::Conv2d(32, 64, {3}, {.padding = {1}}, false),
                              nn::BatchNorm2d(64),
                              nn::Relu(),
                              nn::AdaptiveAvgPool2d(1),
                              nn::Flatten(),
                              nn::Linear(64, 10)};
    const std::string last_convolution = "11";  // with its ReLU
    nn::Sequential model{nn::FromBytes(), classifier};
    if (!weights.empty()) nn::load_weights(weights, model);
    nn::Trainer trainer(model, nn::CrossEntropy{}, nn::Adam({.lr = static_cast<float>(options.lr)}),
                        {.schedule = nn::schedule::linear_warmup(
                             20, nn::schedule::cosine(session.total_steps(train), 0.01))});
    session.fit(trainer, train, {.validation = &validation, .monitor = "accuracy", .maximize = true});
    const nn::MeanMetrics means = session.evaluate_classes(trainer, test);

    const int64_t n = std::min(explained, tested->size());
    std::vector<Array> columns = batch_arrays(*tested, n);
    std::vector<int64_t> indices(static_cast<size_t>(n));
    std::iota(indices.begin(), indices.end(), 0);
    fetch_rows(*tested, indices, columns);
    const Array& images = columns[0];
    Array x(images.shape(), DType::f32);
    for (int64_t i = 0; i < x.numel(); ++i) x.set(i, images.at(i) / 255);
    const Array logits = trainer.predict(images);
    const std::vector<int32_t> classes = argmax_rows(logits);

    Array saliency = nn::input_gradient(classifier, x, classes);
    for (float& value : saliency.values<float>()) value = std::abs(value);
    const nn::Attributions integrated = nn::integrated_gradients(classifier, x, classes, 32);
    Mean completeness;
    for (double error : integrated.completeness_error) completeness.add(error);
    Array random(x.shape(), DType::f32);
    Philox numbers(options.seed, 1);
    for (int64_t i = 0; i < x.numel(); ++i) random.set(i, numbers.uniform());
    const std::vector<std::pair<std::string, Array>> maps = {
        {"saliency", saliency},
        {"integrated", integrated.values},
        {"grad_cam", nn::grad_cam(classifier, last_convolution, x, classes)},
        {"occlusion", nn::occlusion(classifier, x, classes, 6, 3)},
        {"random", random}};

    stithy::Metrics result{{"test_accuracy", means.at("accuracy")},
                           {"completeness_error", completeness.value()}};
    const std::vector<double> before = probabilities(logits, classes);
    ReportTable table{"Probability that the class loses by blanking a quarter of the ink",
                      {"map", "highest", "lowest"},
                      {}};
    for (const auto& [name, map] : maps) {
      std::array<Mean, 2> lost;
      for (const bool highest : {false, true}) {
        const Array logits_after = trainer.predict(blanked(images, map, highest));
        const std::vector<double> after = probabilities(logits_after, classes);
        for (size_t i = 0; i < before.size(); ++i) lost[highest].add(before[i] - after[i]);
      }
      table.rows.push_back({name, cat(lost[1].value()), cat(lost[0].value())});
      result.emplace_back("gap_" + name, lost[1].value() - lost[0].value());
    }
    session.report().tables.push_back(table);

    std::vector<Array> pictures;
    for (int64_t i = 0; i < kShown; ++i) {
      const auto item = [&](const Array& a) { return a.rows(i, i + 1).reshaped({kDigitSize, kDigitSize}); };
      const Array digit = enlarged(item(images), 4);
      pictures.push_back(labelled(digit, cat("seen as ", classes[static_cast<size_t>(i)])));
      for (size_t m = 0; m + 1 < maps.size(); ++m) {
        const Array heat = enlarged(heat_map(item(maps[m].second), 0.0f), 4);
        pictures.push_back(labelled(overlay(digit, heat, 0.75), maps[m].first));
      }
    }
    session.figure("maps", contact_sheet(pictures, static_cast<int64_t>(maps.size()), 1, 4),
                   "What speaks for the class that the network sees, from dark blue (nothing) to yellow.");
    session.finish(result);
  });
}

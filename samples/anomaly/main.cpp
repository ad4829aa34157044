// Finds what does not belong: an autoencoder sees one digit only while it learns, so that all others come out
// of it changed, and the error of the reconstruction tells them apart (one class against the rest, as in Ruff
// et al. 2018). Without options it trains on digits that are drawn on the spot; --data takes a folder with
// the four files of MNIST.
#include <algorithm>
#include <array>
#include <cmath>

#include "nn/data/digits.h"
#include "nn/data/idx.h"
#include "nn/nn.h"
#include "nn/run/picture.h"
#include "nn/run/session.h"

using namespace stithy;

struct Scored {
  double score;  // mean squared error of the reconstruction
  bool anomalous;
  Array image, reconstruction;  // u8
};

// The share of the items in each of 40 equal ranges of the score.
ChartLine histogram(const std::string& name, const std::vector<Scored>& items, bool anomalous) {
  constexpr size_t kBins = 40;
  const double range = items.back().score / kBins;
  std::array<double, kBins> counts{};
  double total = 0;
  for (const Scored& item : items)
    if (item.anomalous == anomalous)
      ++counts[std::min(static_cast<size_t>(item.score / range), kBins - 1)], ++total;
  ChartLine line{name, {}};
  for (size_t b = 0; b < kBins; ++b)
    line.points.emplace_back((static_cast<double>(b) + 0.5) * range, counts[b] / total);
  return line;
}

int main(int argc, char** argv) {
  constexpr int64_t kDrawn = 40000, kTest = 4000;
  constexpr size_t kShown = 12;
  int64_t normal = 3, code = 16;
  nn::Session session("anomaly", "finds digits that differ from the one that it was trained on",
                      {.epochs = 20, .batch = 50, .lr = 2e-3});
  session.arguments().add("--normal", &normal, "the digit that is normal", {0, 9});
  session.arguments().add("--code", &code, "numbers that an image is squeezed into", {1, 784});

  return session.run(argc, argv, [&] {
    const RunOptions& options = session.options();
    TrainTest data;
    if (options.data.empty()) {
      data.train = draw_digits(DigitsSplit::train, kDrawn, options.seed);
      data.test = draw_digits(DigitsSplit::test, kTest, options.seed);
    } else {
      data = load_mnist(options.data);
    }
    std::vector<int64_t> normal_ones;
    for (int64_t i = 0; i < data.train.labels.numel(); ++i)
      if (data.train.labels.at(i) == static_cast<double>(normal)) normal_ones.push_back(i);
    // The network gets images alone: which are normal, only the score at the end looks at.
    const auto images = [](const Array& x) {
      return std::make_shared<InMemoryDataset>(std::vector<InMemoryDataset::Source>{{"image", x}});
    };
    DataLoader train(subset(images(data.train.images), normal_ones),
                     {.batch = options.batch, .seed = options.seed});
    DataLoader test(images(data.test.images), {.batch = 250, .shuffle = false, .last = LastBatch::pad});

    const auto shape = [](const Shape& s) {
      return nn::Function("Reshape", [=](const Tensor& x) { return reshape(x, s); });
    };
    nn::Sequential model{nn::FromBytes(),
                         shape({-1, 1, kDigitSize, kDigitSize}),
                         nn::Conv2d(1, 16, {3}, {.stride = {2}, .padding = {1}}),
                         nn::Relu(),
                         nn::Conv2d(16, 32, {3}, {.stride = {2}, .padding = {1}}),
                         nn::Relu(),
                         nn::Flatten(),
                         nn::Linear(32 * 7 * 7, code),
                         nn::Linear(code, 32 * 7 * 7),
                         nn::Relu(),
                         shape({-1, 32, 7, 7}),
                         nn::ConvTranspose2d(32, 16, {4}, {.stride = {2}, .padding = {1}}),
                         nn::Relu(),
                         nn::ConvTranspose2d(16, 1, {4}, {.stride = {2}, .padding = {1}}),
                         shape({-1, kDigitSize, kDigitSize})};
    const auto step = [&](std::span<const Tensor> batch) {
      nn::StepOutputs out{.output = model(batch[0])};
      out.loss = nn::Mse{}(out.output, cast(batch[0], DType::f32) * (1.0f / 255));
      return out;
    };
    nn::Trainer trainer(model, step, nn::Adam({.lr = static_cast<float>(options.lr)}),
                        {.schedule = nn::schedule::linear_warmup(
                             20, nn::schedule::cosine(session.total_steps(train), 0.01))});
    session.fit(trainer, train);

    std::vector<Scored> items;
    RocCurve roc;
    nn::evaluate(
        trainer, test,
        [&](const Batch& batch, const Array& output) {
          for (int64_t i = 0; i < batch.count; ++i) {
            const Array image = batch.columns[0].rows(i, i + 1).reshaped({kDigitSize, kDigitSize});
            Array made(image.shape(), DType::u8);
            double squared = 0;
            for (int64_t p = 0; p < image.numel(); ++p) {
              const double value = output.at(i * image.numel() + p);
              squared += std::pow(value - image.at(p) / 255, 2);
              made.set(p, std::clamp(value, 0.0, 1.0) * 255);
            }
            const double label = data.test.labels.at(static_cast<int64_t>(items.size()));
            items.push_back({squared / static_cast<double>(image.numel()),
                             label != static_cast<double>(normal), image, made});
            roc.add(items.back().score, items.back().anomalous);
          }
        },
        options.fast_dev_run ? 1 : 0);

    std::sort(items.begin(), items.end(), [](const Scored& a, const Scored& b) { return a.score < b.score; });
    std::array<std::vector<Array>, 4> rows;
    for (size_t i = 0; i < kShown; ++i)
      for (size_t most : {0, 2}) {
        const Scored& item = most ? items[items.size() - 1 - i] : items[i];
        rows[most].push_back(item.image);
        rows[most + 1].push_back(item.reconstruction);
      }
    std::vector<Array> pictures;
    for (const std::vector<Array>& row : rows) pictures.insert(pictures.end(), row.begin(), row.end());
    session.figure("extremes", contact_sheet(pictures, kShown, 3, 4),
                   "The least anomalous images over their reconstructions, then the most anomalous ones.");
    session.report().charts.push_back(
        {"scores",
         "error of the reconstruction",
         {histogram("normal", items, false), histogram("anomalous", items, true)}});
    session.report().charts.push_back(
        {"receiver operating characteristic", "false positive rate", {{"true positive rate", roc.points()}}});
    session.finish({{"auroc", roc.auc()}});
  });
}

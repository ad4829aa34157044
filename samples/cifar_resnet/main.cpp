// Classifies colour images of 32 x 32 pixels by a residual network of 20 layers (He et al. 2015), with
// cropped and mirrored images to learn from. Without options it trains on drawn digits in colours; --data
// takes a folder with CIFAR-10's binary files. tests/golden/cifar_recipe.py is the same recipe in PyTorch.
#include <algorithm>

#include "nn/data/cifar.h"
#include "nn/data/digits.h"
#include "nn/data/transforms.h"
#include "nn/models/resnet.h"
#include "nn/nn.h"
#include "nn/run/session.h"

using namespace stithy;

namespace {

// A digit of one random colour on another, 32 x 32.
Array colored(const Array& digit, Philox& random) {
  constexpr int64_t kSize = 32, kBorder = (kSize - kDigitSize) / 2;
  double paper[3], ink[3], distance = 0;
  while (distance < 0.5) {
    distance = 0;
    for (int c = 0; c < 3; ++c) {
      paper[c] = random.uniform();
      ink[c] = random.uniform();
      distance = std::max(distance, std::abs(paper[c] - ink[c]));
    }
  }
  Array image({3, kSize, kSize}, DType::u8);
  for (int64_t c = 0; c < 3; ++c)
    for (int64_t y = 0; y < kSize; ++y)
      for (int64_t x = 0; x < kSize; ++x) {
        const int64_t row = y - kBorder, column = x - kBorder;
        const bool inside = std::min(row, column) >= 0 && std::max(row, column) < kDigitSize;
        const double alpha = inside ? digit.at(row * kDigitSize + column) / 255 : 0;
        image.set((c * kSize + y) * kSize + x, 255 * (paper[c] + alpha * (ink[c] - paper[c])));
      }
  return image;
}

DatasetPtr drawn(DigitsSplit split, int64_t count, uint64_t seed) {
  return augmented(std::make_shared<DigitsDataset>(split, count, seed), {colored});
}

// (x - mean) / std of CIFAR-10's channels, on the device.
Tensor standardized(const Tensor& x) {
  const Tensor mean = Array({3, 1, 1}, std::vector<float>{0.4914f, 0.4822f, 0.4465f});
  const Tensor std = Array({3, 1, 1}, std::vector<float>{0.2470f, 0.2435f, 0.2616f});
  return (x - mean) / std;
}

}  // namespace

int main(int argc, char** argv) {
  constexpr int64_t kTrain = 4000, kTest = 1000, kWarmup = 30;
  int64_t depth = 20;
  nn::Session session("cifar_resnet", "classifies small colour images by a residual network",
                      {.epochs = 20, .batch = 64, .lr = 0.1});
  session.arguments().add("--depth", &depth, "layers of the network, 6 n + 2: 20, 32, 44, 56 ...", {8, 1202});

  return session.run(argc, argv, [&] {
    const RunOptions& options = session.options();
    DatasetPtr images, tested;
    std::vector<std::string> classes;
    if (options.data.empty()) {
      images = drawn(DigitsSplit::train, kTrain, options.seed);
      tested = drawn(DigitsSplit::test, kTest, options.seed);
    } else {
      TrainTest cifar = load_cifar10(options.data);
      images = image_dataset(std::move(cifar.train));
      tested = image_dataset(std::move(cifar.test));
      classes = {"airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"};
    }
    Augment augment{RandomCrop{32, 32, 4}};
    if (!options.data.empty())
      augment = {RandomCrop{32, 32, 4}, RandomHorizontalFlip{}};  // no digit is mirrored
    DataLoader train(augmented(images, augment), {.batch = options.batch, .seed = options.seed});
    DataLoader test(tested, {.batch = 250, .shuffle = false, .last = LastBatch::pad});

    nn::Sequential model{nn::FromBytes(), nn::Function("Standardize", standardized),
                         nn::CifarResNet(static_cast<int>(depth))};
    nn::Trainer trainer(
        model, nn::CrossEntropy{},
        nn::Sgd({.lr = static_cast<float>(options.lr), .momentum = 0.9f, .weight_decay = 5e-4f}),
        {.schedule = nn::schedule::linear_warmup(
             kWarmup, nn::schedule::cosine(std::max<int64_t>(session.total_steps(train) - kWarmup, 1)))});

    session.fit(trainer, train);
    const nn::MeanMetrics means = session.evaluate_classes(trainer, test, classes);
    session.finish({{"test_accuracy", means.at("accuracy")}, {"test_loss", means.at("loss")}});
  });
}

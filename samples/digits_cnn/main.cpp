// Classifies handwritten digits with two convolutions and two dense layers. Without options it trains on
// digits that are drawn on the spot; --data takes a folder with the four files of MNIST, on which five epochs
// give 99 %.
#include <array>

#include "nn/data/digits.h"
#include "nn/nn.h"
#include "nn/run/session.h"

using namespace stithy;

int main(int argc, char** argv) {
  constexpr int64_t kTrain = 20000, kTest = 4000;
  nn::Session session("digits_cnn", "classifies handwritten digits with a convolutional network",
                      {.epochs = 5, .batch = 64, .lr = 2e-3});

  return session.run(argc, argv, [&] {
    const RunOptions& options = session.options();
    const auto [all, tested] = load_or_draw_digits(options.data, kTrain, kTest, options.seed);
    const std::vector<DatasetPtr> parts = split(all, std::array{0.95, 0.05}, options.seed);
    DataLoader train(parts[0], {.batch = options.batch, .seed = options.seed});
    DataLoader validation(parts[1], {.batch = 500, .shuffle = false, .last = LastBatch::pad});
    DataLoader test(tested, {.batch = 500, .shuffle = false, .last = LastBatch::pad});

    nn::Sequential model{nn::FromBytes(),
                         nn::Function("Unsqueeze", [](const Tensor& x) { return unsqueeze(x, 1); }),
                         nn::Conv2d(1, 32, {3}, {.padding = {1}}),
                         nn::Relu(),
                         nn::MaxPool2d({2}),
                         nn::Conv2d(32, 64, {3}, {.padding = {1}}),
                         nn::Relu(),
                         nn::MaxPool2d({2}),
                         nn::Flatten(),
                         nn::Dropout(0.25f),
                         nn::Linear(64 * 7 * 7, 128),
                         nn::Relu(),
                         nn::Dropout(0.5f),
                         nn::Linear(128, 10)};
    nn::Trainer trainer(model, nn::CrossEntropy{}, nn::Adam({.lr = static_cast<float>(options.lr)}),
                        {.schedule = nn::schedule::linear_warmup(
                             20, nn::schedule::cosine(session.total_steps(train), 0.01))});

    session.fit(trainer, train, {.validation = &validation, .monitor = "accuracy", .maximize = true});
    const nn::MeanMetrics means = session.evaluate_classes(trainer, test);
    session.finish({{"test_accuracy", means.at("accuracy")}, {"test_loss", means.at("loss")}});
  });
}

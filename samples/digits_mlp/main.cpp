// Classifies handwritten digits with one hidden layer, 784-256-10. Without options it trains on digits that
// are drawn on the spot; --data takes a folder with the four files of MNIST.
#include <array>

#include "nn/data/digits.h"
#include "nn/nn.h"
#include "nn/run/session.h"

using namespace stithy;

int main(int argc, char** argv) {
  constexpr int64_t kTrain = 60000, kTest = 4000;
  int64_t hidden = 256;
  nn::Session session("digits_mlp", "classifies handwritten digits with one hidden layer",
                      {.epochs = 3, .batch = 100, .lr = 3e-3});
  session.arguments().add("--hidden", &hidden, "units of the hidden layer", {1, 1e6});

  return session.run(argc, argv, [&] {
    const RunOptions& options = session.options();
    const auto [all, tested] = load_or_draw_digits(options.data, kTrain, kTest, options.seed);
    const std::vector<DatasetPtr> parts = split(all, std::array{0.95, 0.05}, options.seed);
    DataLoader train(parts[0], {.batch = options.batch, .seed = options.seed});
    DataLoader validation(parts[1], {.batch = 500, .shuffle = false, .last = LastBatch::pad});
    DataLoader test(tested, {.batch = 500, .shuffle = false, .last = LastBatch::pad});

    nn::Sequential model{nn::FromBytes(), nn::Flatten(), nn::Linear(kDigitSize * kDigitSize, hidden),
                         nn::Relu(), nn::Linear(hidden, 10)};
    nn::Trainer trainer(model, nn::CrossEntropy{}, nn::Adam({.lr = static_cast<float>(options.lr)}),
                        {.schedule = nn::schedule::linear_warmup(
                             20, nn::schedule::cosine(session.total_steps(train), 0.01))});

    session.fit(trainer, train, {.validation = &validation, .monitor = "accuracy", .maximize = true});
    const nn::MeanMetrics means = session.evaluate_classes(trainer, test);
    session.finish({{"test_accuracy", means.at("accuracy")}, {"test_loss", means.at("loss")}});
  });
}

// Learns to draw handwritten digits by a generative adversarial network, DCGAN (Radford et al. 2015): a
// generator makes images of random numbers, a discriminator tells them from real ones, each from the other's
// mistakes. How good the drawn digits are a classifier says that has learnt from the same real ones. Without
// options these are drawn on the spot; --data takes a folder with the four files of MNIST.
#include <algorithm>
#include <cmath>
#include <filesystem>

#include "engine/core/file.h"
#include "nn/data/digits.h"
#include "nn/data/image.h"
#include "nn/models/dcgan.h"
#include "nn/nn.h"
#include "nn/run/picture.h"
#include "nn/run/png.h"
#include "nn/run/session.h"

using namespace stithy;

struct Gan : nn::Module {
  explicit Gan(const nn::DcganOptions& options)
      : generator(child("generator", nn::DcganGenerator(options))),
        discriminator(child("discriminator", nn::DcganDiscriminator(options))) {}
  Tensor forward(const Tensor& z) override { return generator(z); }
  nn::Child<nn::DcganGenerator> generator;
  nn::Child<nn::DcganDiscriminator> discriminator;
};

// Of the generator's [n, 1, 28, 28], -1 to 1: bytes [n, 28, 28].
Array to_bytes(const Array& images) {
  Array bytes({images.shape()[0], kDigitSize, kDigitSize}, DType::u8);
  for (int64_t i = 0; i < bytes.numel(); ++i)
    bytes.set(i, std::clamp(images.at(i) * 0.5 + 0.5, 0.0, 1.0) * 255);
  return bytes;
}

// What a classifier's logits [n, classes] say of images.
struct Judgement {
  double confidence = 0;  // mean probability of the likeliest class
  double balance = 0;     // entropy of the mean probabilities, 1 where all classes are equally frequent
  double score = 0;       // exp of the mean divergence of an image's probabilities from the mean ones, 1 to
                     // the number of classes: Inception score (Salimans et al. 2016), with this classifier
};
Judgement judge(const Array& logits) {
  const int64_t n = logits.shape()[0], classes = logits.shape()[1];
  std::vector<double> means(static_cast<size_t>(classes));
  double own_entropy = 0;
  Judgement result;
  for (int64_t i = 0; i < n; ++i) {
    double sum = 0, largest = -INFINITY;
    for (int64_t c = 0; c < classes; ++c) largest = std::max(largest, logits.at(i * classes + c));
    for (int64_t c = 0; c < classes; ++c) sum += std::exp(logits.at(i * classes + c) - largest);
    result.confidence += 1 / sum / static_cast<double>(n);
    for (int64_t c = 0; c < classes; ++c) {
      const double log_p = logits.at(i * classes + c) - largest - std::log(sum);
      own_entropy -= std::exp(log_p) * log_p / static_cast<double>(n);
      means[static_cast<size_t>(c)] += std::exp(log_p) / static_cast<double>(n);
    }
  }
  double entropy = 0;
  for (const double p : means) entropy -= p > 0 ? p * std::log(p) : 0;
  result.balance = entropy / std::log(static_cast<double>(classes));
  result.score = std::exp(entropy - own_entropy);
  return result;
}

int main(int argc, char** argv) {
  constexpr int64_t kTrain = 8000, kTest = 2000, kJudged = 1000, kSide = 10;
  int64_t latent = 64, width = 32;
  nn::Session session("gan_digits", "learns to draw digits by a generative adversarial network",
                      {.epochs = 12, .batch = 64, .lr = 5e-4});
  session.arguments().add("--latent", &latent, "random numbers that become an image", {1, 1000});
  session.arguments().add("--width", &width, "channels of the networks next to the image", {1, 1024});

  return session.run(argc, argv, [&] {
    const RunOptions& options = session.options();
    const auto [digits, tested] = load_or_draw_digits(options.data, kTrain, kTest, options.seed);
    DataLoader train(digits, {.batch = options.batch, .seed = options.seed});
    DataLoader test(tested, {.batch = 250, .shuffle = false, .last = LastBatch::pad});

    nn::Sequential classifier{nn::FromBytes(),
                              nn::Function("Unsqueeze", [](const Tensor& x) { return unsqueeze(x, 1); }),
                              nn::Conv2d(1, 16, {3}, {.stride = {2}, .padding = {1}}),
                              nn::Relu(),
                              nn::Conv2d(16, 32, {3}, {.stride = {2}, .padding = {1}}),
                              nn::Relu(),
                              nn::Flatten(),
                              nn::Dropout(0.25f),
                              nn::Linear(32 * 7 * 7, 64),
                              nn::Relu(),
                              nn::Linear(64, 10)};
    nn::Trainer critic(classifier, nn::CrossEntropy{}, nn::Adam({.lr = 2e-3f}));
    session.fit(critic, train, {}, {.name = "classifier", .share = 0.25});
    const nn::MeanMetrics real = session.evaluate_classes(critic, test);

    Gan gan({.image = kDigitSize, .channels = 1, .latent = latent, .width = width});
    const auto step = [&](std::span<const Tensor> batch) {
      const nn::BceWithLogits bce;
      const Tensor real = gan.discriminator(unsqueeze(cast(batch[0], DType::f32) * (2.0f / 255) - 1.0f, 1));
      const Tensor fake = gan.discriminator(gan.generator(normal({batch[0].dim(0), latent})));
      const Tensor convincing = bce(fake, ones(fake.shape()));
      // Not quite certain of real images: a discriminator that is too sure teaches nothing (Salimans et al.
      // 2016, one-sided label smoothing).
      return nn::StepOutputs{.loss = bce(real, full(real.shape(), 0.9f)) + bce(fake, zeros(fake.shape())),
                             .metrics = {{"generator", convincing},
                                         {"real", mean(sigmoid(real))},
                                         {"fake", mean(sigmoid(fake))}},
                             .part_losses = {{"generator.*", convincing}}};
    };
    nn::Trainer trainer(gan, step, nn::Adam({.lr = static_cast<float>(options.lr), .beta1 = 0.5f}));

    // The same random numbers again and again, so that one sees how the digits come to be.
    const Array z = nn::init::normal({kJudged, latent}, 0, 1, Philox(options.seed, 1));
    const auto sheet = [&] {
      const Array drawn = to_bytes(trainer.predict(z.rows(0, kSide * kSide)));
      std::vector<Array> pictures;
      for (int64_t i = 0; i < kSide * kSide; ++i)
        pictures.push_back(drawn.rows(i, i + 1).reshaped({kDigitSize, kDigitSize}));
      return contact_sheet(pictures, kSide, 2, 2);
    };
    const auto file = [&](int64_t epoch) { return *session.folder() / cat("epoch-", epoch, ".png"); };
    const auto keep_sheet = [&](const nn::EpochReport& report) {
      if (session.folder()) write_file_atomically(file(report.epoch + 1), encode_png(sheet()));
    };
    session.fit(trainer, train, {.keep_best = false, .on_epoch = keep_sheet}, {.name = "gan"});

    const Array drawn = to_bytes(trainer.predict(z));
    const Judgement judgement = judge(critic.predict(drawn));
    if (session.folder()) {
      std::vector<Array> frames;
      for (int64_t epoch = 1; std::filesystem::exists(file(epoch)); ++epoch)
        frames.push_back(read_image(file(epoch)));
      frames.push_back(sheet());
      session.figure("growing", frames, 0.5,
                     "What the generator drew after each epoch, of the same numbers.");
    }
    session.figure("drawn", sheet(), "Digits that the generator draws.");
    session.finish({{"score", judgement.score},
                    {"confidence", judgement.confidence},
                    {"balance", judgement.balance},
                    {"classifier_accuracy", real.at("accuracy")}});
  });
}

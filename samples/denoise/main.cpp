// Removes noise from handwritten digits by a convolutional autoencoder (Vincent et al. 2008): it sees a noisy
// image and learns to give the clean one. Without options it trains on digits that are drawn on the spot;
// --data takes a folder with the four files of MNIST.
#include <algorithm>
#include <array>
#include <cmath>

#include "nn/data/digits.h"
#include "nn/nn.h"
#include "nn/run/picture.h"
#include "nn/run/session.h"

using namespace stithy;

// {image, label} becomes {noisy, clean}. Noise is drawn anew in each epoch, normal and clipped as in a
// camera.
void add_noise(Batch& batch, Philox& random, double deviation) {
  const Array clean = batch.columns[0];
  for (uint8_t& pixel : batch.columns[0].values<uint8_t>())
    pixel = static_cast<uint8_t>(std::clamp(pixel + 255 * deviation * random.normal(), 0.0, 255.0));
  batch.columns[1] = clean;
}

// Peak signal-to-noise ratio of two images with values from 0 to 1, in decibels.
double psnr(const Array& image, const Array& clean) {
  double squared = 0;
  for (int64_t i = 0; i < clean.numel(); ++i) squared += std::pow(image.at(i) - clean.at(i), 2);
  return -10 * std::log10(squared / static_cast<double>(clean.numel()));
}

// f32, 0 to 1, of bytes; and back.
Array from_bytes(const Array& bytes) {
  Array values(bytes.shape(), DType::f32);
  for (int64_t i = 0; i < bytes.numel(); ++i) values.set(i, bytes.at(i) / 255);
  return values;
}
Array to_bytes(const Array& values) {
  Array bytes(values.shape(), DType::u8);
  for (int64_t i = 0; i < values.numel(); ++i) bytes.set(i, std::clamp(values.at(i), 0.0, 1.0) * 255);
  return bytes;
}

int main(int argc, char** argv) {
  constexpr int64_t kTrain = 20000, kTest = 2000, kShown = 12;
  double noise = 0.5;
  nn::Session session("denoise", "removes noise from handwritten digits by a convolutional autoencoder",
                      {.epochs = 4, .batch = 64, .lr = 2e-3});
  session.arguments().add("--noise", &noise, "standard deviation of the noise; white is 1", {0, 10});

  return session.run(argc, argv, [&] {
    const RunOptions& options = session.options();
    const auto [all, tested] = load_or_draw_digits(options.data, kTrain, kTest, options.seed);
    const std::vector<DatasetPtr> parts = split(all, std::array{0.95, 0.05}, options.seed);
    const auto noisy = [=](Batch& batch, Philox& random) { add_noise(batch, random, noise); };
    DataLoader train(parts[0], {.batch = options.batch, .seed = options.seed, .transform = noisy});
    DataLoader validation(parts[1], {.batch = 250, .shuffle = false, .transform = noisy});
    DataLoader test(tested, {.batch = 250, .shuffle = false, .transform = noisy});

    // 28 x 28 pixels down to 7 x 7 of 64 channels, and up again.
    nn::Sequential model{nn::FromBytes(),
                         nn::Function("Unsqueeze", [](const Tensor& x) { return unsqueeze(x, 1); }),
                         nn::Conv2d(1, 32, {3}, {.stride = {2}, .padding = {1}}),
                         nn::Relu(),
                         nn::Conv2d(32, 64, {3}, {.stride = {2}, .padding = {1}}),
                         nn::Relu(),
                         nn::Conv2d(64, 64, {3}, {.padding = {1}}),
                         nn::Relu(),
                         nn::ConvTranspose2d(64, 32, {4}, {.stride = {2}, .padding = {1}}),
                         nn::Relu(),
                         nn::ConvTranspose2d(32, 1, {4}, {.stride = {2}, .padding = {1}}),
                         nn::Function("Squeeze", [](const Tensor& x) { return squeeze(x, 1); })};
    const auto loss = [](const Tensor& output, const Tensor& clean) {
      return nn::Mse{}(output, cast(clean, DType::f32) * (1.0f / 255));
    };
    nn::Trainer trainer(model, loss, nn::Adam({.lr = static_cast<float>(options.lr)}),
                        {.schedule = nn::schedule::linear_warmup(
                             20, nn::schedule::cosine(session.total_steps(train), 0.01))});
    session.fit(trainer, train, {.validation = &validation});

    Mean before, after;
    std::array<std::vector<Array>, 3> rows;
    nn::evaluate(
        trainer, test,
        [&](const Batch& batch, const Array& output) {
          for (int64_t i = 0; i < batch.count; ++i) {
            const auto item = [&](const Array& x) {
              return x.rows(i, i + 1).reshaped({kDigitSize, kDigitSize});
            };
            const Array dirty = item(batch.columns[0]), clean = item(batch.columns[1]), made = item(output);
            before.add(psnr(from_bytes(dirty), from_bytes(clean)));
            after.add(psnr(made, from_bytes(clean)));
            if (rows[0].size() >= kShown) continue;
            rows[0].push_back(clean);
            rows[1].push_back(dirty);
            rows[2].push_back(to_bytes(made));
          }
        },
        options.fast_dev_run ? 1 : 0);
    std::vector<Array> pictures;
    for (const std::vector<Array>& row : rows) pictures.insert(pictures.end(), row.begin(), row.end());
    session.figure(
        "denoised", contact_sheet(pictures, kShown, 3, 4),
        "Digits of the test set: clean, with noise, and what the network makes of the noisy ones.");
    session.finish({{"psnr_noisy", before.value()}, {"psnr_denoised", after.value()}});
  });
}

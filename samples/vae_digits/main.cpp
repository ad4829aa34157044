// Learns to draw handwritten digits by a variational autoencoder (Kingma and Welling 2013): each image
// becomes a normal distribution over a few numbers, and any such numbers become an image. The test set's
// evidence lower bound, in nats an image, tells how well it knows digits. Without options it trains on digits
// that are drawn on the spot; --data takes a folder with the four files of MNIST.
#include <algorithm>
#include <array>

#include "nn/data/digits.h"
#include "nn/models/vae.h"
#include "nn/nn.h"
#include "nn/run/picture.h"
#include "nn/run/session.h"

using namespace stithy;

// Bytes [n, 28, 28] to what the autoencoder takes, and f32 [n, 1, 28, 28] of 0 to 1 to pictures.
Tensor from_bytes(const Tensor& bytes) { return unsqueeze(cast(bytes, DType::f32) * (1.0f / 255), 1); }
std::vector<Array> pictures_of(const Array& images) {
  std::vector<Array> pictures;
  for (int64_t i = 0; i < images.shape()[0]; ++i) {
    Array& picture = pictures.emplace_back(Shape{kDigitSize, kDigitSize}, DType::u8);
    for (int64_t p = 0; p < picture.numel(); ++p)
      picture.set(p, std::clamp(images.at(i * picture.numel() + p), 0.0, 1.0) * 255);
  }
  return pictures;
}

// The means of four images at the corners of a grid of side x side points, and all between them: f32
// [side * side, latent].
Array between(const Array& corners, int64_t side) {
  const int64_t latent = corners.shape()[1];
  Array z({side * side, latent}, DType::f32);
  for (int64_t i = 0; i < z.numel(); ++i) {
    const int64_t point = i / latent, k = i % latent;
    const double down = static_cast<double>(point / side) / static_cast<double>(side - 1);
    const double right = static_cast<double>(point % side) / static_cast<double>(side - 1);
    const double top = (1 - right) * corners.at(k) + right * corners.at(latent + k);
    const double bottom = (1 - right) * corners.at(2 * latent + k) + right * corners.at(3 * latent + k);
    z.set(i, (1 - down) * top + down * bottom);
  }
  return z;
}

int main(int argc, char** argv) {
  constexpr int64_t kTrain = 20000, kTest = 1000, kShown = 12, kSide = 11;
  constexpr std::array<double, 4> kCorners{0, 3, 7, 4};  // digits
  int64_t latent = 16;
  double beta = 1;
  nn::Session session("vae_digits", "learns to draw digits by a variational autoencoder",
                      {.epochs = 5, .batch = 100, .lr = 2e-3});
  session.arguments().add("--latent", &latent, "numbers that an image becomes", {1, 1000});
  session.arguments().add("--beta", &beta, "weight of the divergence in the loss", {0, 1000});

  return session.run(argc, argv, [&] {
    const RunOptions& options = session.options();
    const auto [all, tested] = load_or_draw_digits(options.data, kTrain, kTest, options.seed);
    const std::vector<DatasetPtr> parts = split(all, std::array{0.95, 0.05}, options.seed);
    DataLoader train(parts[0], {.batch = options.batch, .seed = options.seed});
    DataLoader validation(parts[1], {.batch = 250, .shuffle = false});
    DataLoader test(tested, {.batch = 250, .shuffle = false});

    nn::Vae vae({.latent = latent});
    const auto step = [&](std::span<const Tensor> batch) {
      const Tensor x = from_bytes(batch[0]);
      // Noise in evaluation, too: without it what comes out would be no bound.
      const nn::VaeOutputs outputs = vae.outputs(x, normal({x.dim(0), latent}));
      const Tensor divergence = nn::latent_divergence(outputs), loss = nn::elbo_loss(outputs, x);
      return nn::StepOutputs{.loss = loss + (static_cast<float>(beta) - 1) * divergence,
                             .output = sigmoid(outputs.logits),
                             .metrics = {{"reconstruction", loss - divergence}, {"kl", divergence}}};
    };
    nn::Trainer trainer(vae, step, nn::Adam({.lr = static_cast<float>(options.lr)}),
                        {.schedule = nn::schedule::linear_warmup(
                             20, nn::schedule::cosine(session.total_steps(train), 0.01))});
    session.fit(trainer, train, {.validation = &validation});

    std::array<std::vector<Array>, 2> rows;  // images and their reconstructions
    std::array<Array, kCorners.size()> corners;
    const nn::MeanMetrics means = nn::evaluate(
        trainer, test,
        [&](const Batch& batch, const Array& output) {
          for (int64_t i = 0; i < batch.count; ++i) {
            const Array image = batch.columns[0].rows(i, i + 1);
            const auto corner = std::ranges::find(kCorners, batch.columns[1].at(i));
            if (corner != kCorners.end()) corners[static_cast<size_t>(corner - kCorners.begin())] = image;
            if (rows[0].size() >= 2 * kShown) continue;
            rows[0].push_back(image.reshaped({kDigitSize, kDigitSize}));
            rows[1].push_back(pictures_of(output.rows(i, i + 1))[0]);
          }
        },
        options.fast_dev_run ? 1 : 0);

    std::vector<Array> pictures;
    for (size_t first = 0; first < 2 * kShown; first += kShown)
      for (const std::vector<Array>& row : rows)
        pictures.insert(pictures.end(), row.begin() + static_cast<long>(first),
                        row.begin() + static_cast<long>(first + kShown));
    session.figure("reconstructions", contact_sheet(pictures, kShown, 3, 4),
                   "Digits of the test set, each over what comes back from its numbers.");
    vae.eval();
    const auto draw = [&](const Tensor& z) { return pictures_of(sigmoid(vae.decode(z)).eval()); };
    Array four({static_cast<int64_t>(corners.size()), latent}, DType::f32);
    for (size_t c = 0; c < corners.size(); ++c) {
      if (corners[c].numel() == 0) throw Error(options.data, cat("no test image shows a ", kCorners[c]));
      const Array mu = vae.outputs(from_bytes(corners[c])).mu.eval();
      for (int64_t k = 0; k < latent; ++k) four.set(static_cast<int64_t>(c) * latent + k, mu.at(k));
    }
    session.figure("walk", contact_sheet(draw(between(four, kSide)), kSide, 3, 0, kBlack),
                   "From digit to digit: the numbers of the four in the corners, mixed.");
    session.figure("drawn", contact_sheet(draw(normal({kSide * kSide, latent})), kSide, 3, 0, kBlack),
                   "New digits, drawn from numbers of the standard normal distribution.");
    const double reconstruction = means.at("reconstruction"), kl = means.at("kl");
    session.finish({{"elbo", -reconstruction - kl}, {"reconstruction", reconstruction}, {"kl", kl}});
  });
}

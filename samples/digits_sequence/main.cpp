// Reads handwritten numbers of several digits without being told where each digit stands: convolutions make a
// sequence of an image's columns, a bidirectional LSTM reads it both ways, and connectionist temporal
// classification finds the alignment (Shi et al. 2017, "An End-to-End Trainable Neural Network for
// Image-Based Sequence Recognition"). Without options the digits are drawn on the spot; --data takes a folder
// with the four files of MNIST.
#include <algorithm>
#include <cmath>

#include "nn/data/digit_rows.h"
#include "nn/data/digits.h"
#include "nn/data/idx.h"
#include "nn/nn.h"
#include "nn/run/picture.h"
#include "nn/run/session.h"
#include "nn/sequence_metrics.h"

using namespace stithy;

constexpr int32_t kBlank = 10;
constexpr int64_t kColumnsAStep = 4;

struct Reader : nn::Module {
  Reader(int64_t height, int64_t channels, int64_t hidden)
      : convs(child("convs",
                    nn::Sequential{nn::Conv2d(1, channels, {5}, {.stride = {2}, .padding = {2}}),
                                   nn::BatchNorm2d(channels), nn::Relu(),
                                   nn::Conv2d(channels, 2 * channels, {3}, {.padding = {1}}),
                                   nn::BatchNorm2d(2 * channels), nn::Relu(), nn::MaxPool2d(2),
                                   nn::Conv2d(2 * channels, 2 * channels, {3}, {.padding = {1}}),
                                   nn::BatchNorm2d(2 * channels), nn::Relu(), nn::MaxPool2d(Shape{2, 1})})),
        lstm(child("lstm", nn::Lstm(2 * channels * (height / 8), hidden, {.bidirectional = true}))),
        output(child("output", nn::Linear(2 * hidden, kBlank + 1))) {}
  // u8 [n, height, width] -> log-probabilities of the digits and the blank, [width / 4, n, 11].
  Tensor forward(const Tensor& images) override {
    const Tensor x = convs(unsqueeze(cast(images, DType::f32) * (1.0f / 255), 1));
    return log_softmax(output(lstm(flatten(permute(x, {3, 0, 1, 2}), 2))));
  }
  nn::Child<nn::Sequential> convs;
  nn::Child<nn::Lstm> lstm;
  nn::Child<nn::Linear> output;
};

std::string text_of(std::span<const int32_t> digits) {
  std::string text;
  for (const int32_t digit : digits) text += cat(digit);
  return text;
}

// The image over the probabilities that made the reading: rows are the digits and, below, the blank.
Array aligned(const Array& image, const Array& log_probabilities, int64_t element) {
  constexpr int64_t kScale = 2;
  const int64_t steps = log_probabilities.shape()[0], count = log_probabilities.shape()[1];
  Array p({kBlank + 1, steps}, DType::f32);
  for (int64_t t = 0; t < steps; ++t)
    for (int64_t c = 0; c <= kBlank; ++c)
      p.set(c * steps + t, std::exp(log_probabilities.at((t * count + element) * (kBlank + 1) + c)));
  const std::vector<Array> both{enlarged(image, kScale),
                                enlarged(heat_map(p, 0.0f, 1.0f), kColumnsAStep * kScale)};
  return contact_sheet(both, 1, 1, 0);
}

int main(int argc, char** argv) {
  constexpr int64_t kDrawn = 10000, kRows = 24000, kTest = 1000;
  constexpr size_t kAligned = 6, kShown = 24;
  int64_t channels = 16, hidden = 64;
  DigitRowsOptions rows{.most = 5};
  nn::Session session("digits_sequence", "reads handwritten numbers of several digits",
                      {.epochs = 2, .batch = 32, .lr = 3e-3});
  session.arguments().add("--channels", &channels, "after the first convolution", {1, 1024});
  session.arguments().add("--hidden", &hidden, "of each of the LSTM's directions", {1, 4096});
  session.arguments().add("--most", &rows.most, "digits of a number", {2, 10});

  return session.run(argc, argv, [&] {
    const RunOptions& options = session.options();
    TrainTest digits;
    if (options.data.empty()) {
      digits.train = draw_digits(DigitsSplit::train, kDrawn, options.seed);
      digits.test = draw_digits(DigitsSplit::test, kDrawn / 10, options.seed);
    } else {
      digits = load_mnist(options.data);
    }
    rows.width = 16 * rows.most;
    rows.seed = 2 * options.seed;
    DataLoader train(std::make_shared<DigitRows>(digits.train, kRows, rows),
                     {.batch = options.batch, .seed = options.seed});
    ++rows.seed;
    DataLoader test(std::make_shared<DigitRows>(digits.test, kTest, rows), {.batch = 100, .shuffle = false});

    Reader reader(rows.height, channels, hidden);
    const auto step = [&](std::span<const Tensor> batch) {
      const Tensor scores = reader(batch[0]);
      const Tensor steps = Array({scores.dim(1)}, std::vector<int32_t>(static_cast<size_t>(scores.dim(1)),
                                                                       static_cast<int32_t>(scores.dim(0))));
      return nn::StepOutputs{
          .loss = nn::Ctc{.blank = kBlank, .zero_infinity = true}(scores, batch[1], steps, batch[2]),
          .output = scores};
    };
    nn::Trainer trainer(
        reader, step, nn::AdamW({.lr = static_cast<float>(options.lr)}),
        {.schedule = nn::schedule::linear_warmup(20, nn::schedule::cosine(session.total_steps(train), 0.01)),
         .clip_norm = 5});
    session.fit(trainer, train, {.validation = &test});

    SequenceErrors errors;
    std::vector<Array> alignments, right, wrong;
    const nn::MeanMetrics means = nn::evaluate(
        trainer, test,
        [&](const Batch& batch, const Array& scores) {
          const std::vector<std::vector<int32_t>> read = ctc_best_path(scores, {}, kBlank);
          for (int64_t i = 0; i < batch.count; ++i) {
            const auto labels = batch.columns[1].values<int32_t>().subspan(static_cast<size_t>(i * rows.most),
                                                                           static_cast<size_t>(rows.most));
            const auto truth = labels.first(static_cast<size_t>(batch.columns[2].at(i)));
            const std::vector<int32_t>& found = read[static_cast<size_t>(i)];
            errors.add(found, truth);
            const bool correct = std::ranges::equal(found, truth);
            const Array image = batch.columns[0].rows(i, i + 1).reshaped({rows.height, rows.width});
            if (alignments.size() < kAligned)
              alignments.push_back(labelled(aligned(image, scores, i), text_of(found)));
            std::vector<Array>& list = correct ? right : wrong;
            const Colour colour = correct ? Colour{120, 220, 90} : Colour{255, 99, 99};
            if (list.size() < kShown)
              list.push_back(labelled(enlarged(image, 2), found.empty() ? "-" : text_of(found), colour));
          }
        },
        options.fast_dev_run ? 1 : 0);
    wrong.resize(std::min(wrong.size(), kShown / 2));
    for (size_t i = 0; wrong.size() < kShown && i < right.size(); ++i) wrong.push_back(right[i]);
    session.figure("read", contact_sheet(wrong, 4, 1, 6),
                   "Numbers of the test set under what was read: mistakes first, in red.");
    session.figure(
        "alignment", contact_sheet(alignments, 3, 1, 8),
        "Numbers over the probabilities of the digits 0 to 9, from top to bottom, and of the blank, "
        "from which they were read.");
    session.finish({{"val_loss", means.at("loss")},
                    {"exact_match", errors.exact_match()},
                    {"label_error", errors.error_rate()}});
  });
}

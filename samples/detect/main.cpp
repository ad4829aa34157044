// Finds digits on a canvas with one small network that looks once: for each cell of 8 x 8 pixels it tells
// whether a digit has its centre there, where its box is and which digit it is (as YOLO, Redmon et al. 2016,
// without anchors). Without options the digits are drawn on the spot; --data takes a folder with the four
// files of MNIST.
#include <algorithm>
#include <array>
#include <cmath>

#include "engine/graph/program.h"
#include "nn/data/digit_scenes.h"
#include "nn/data/digits.h"
#include "nn/data/idx.h"
#include "nn/nn.h"
#include "nn/run/picture.h"
#include "nn/run/session.h"

using namespace stithy;

constexpr int64_t kCanvas = 64, kCell = 8, kGrid = kCanvas / kCell, kClasses = 10;
constexpr float kLeastScore = 0.05f, kShownScore = 0.4f, kOverlap = 0.5f;

// {image, boxes, labels} becomes {image, cells, classes}: cells f32 [n, grid, grid, 5] hold whether a centre
// is there, its place in the cell from 0 to 1 (x, y), and the logarithms of width and height in cells;
// classes are i32 [n, grid, grid].
void make_targets(Batch& batch, Philox&) {
  const Array boxes = batch.columns[1], labels = batch.columns[2];
  const int64_t n = labels.shape()[0], most = labels.shape()[1];
  Array cells({n, kGrid, kGrid, 5}, DType::f32), classes({n, kGrid, kGrid}, DType::i32);
  std::ranges::fill(classes.values<int32_t>(), kIgnoreIndex);
  for (int64_t k = 0; k < n * most; ++k) {
    if (labels.at(k) == kIgnoreIndex) continue;
    const double x1 = boxes.at(k * 4), y1 = boxes.at(k * 4 + 1), x2 = boxes.at(k * 4 + 2),
                 y2 = boxes.at(k * 4 + 3);
    const double x = (x1 + x2) / 2 / kCell, y = (y1 + y2) / 2 / kCell;
    const int64_t cell = (k / most * kGrid + static_cast<int64_t>(y)) * kGrid + static_cast<int64_t>(x);
    const double values[] = {1, x - std::floor(x), y - std::floor(y), std::log((x2 - x1) / kCell),
                             std::log((y2 - y1) / kCell)};
    for (int64_t i = 0; i < 5; ++i) cells.set(cell * 5 + i, values[i]);
    classes.set(cell, labels.at(k));
  }
  batch.columns[1] = cells;
  batch.columns[2] = classes;
}

// What the network says of each cell: [n, grid, grid, 6], the box's corners in pixels, score and class.
Tensor decode(const Tensor& found, const Tensor& box, const Tensor& logits) {
  Array corners({kGrid, kGrid, 2}, DType::f32);
  for (int64_t i = 0; i < kGrid * kGrid; ++i) {
    corners.set(2 * i, static_cast<double>(i % kGrid));
    corners.set(2 * i + 1, static_cast<double>(i / kGrid));
  }
  const Tensor centre = slice(box, 3, 0, 2) + corners, half = exp(slice(box, 3, 2, 4)) * 0.5f;
  const Tensor score = sigmoid(found) * max(softmax(logits), {3}, true);
  return concat(std::array{(centre - half) * float(kCell), (centre + half) * float(kCell), score,
                           cast(argmax(logits, 3, true), DType::f32)},
                3);
}

// Leaves one detection for each digit. Boxes of different classes are moved apart, so that only those of the
// same class suppress each other.
class Suppression {
 public:
  Suppression()
      : cells_(input("cells", {kGrid * kGrid, 6})),
        kept_(nms(slice(cells_, 1, 0, 4) + slice(cells_, 1, 5, 6) * float(4 * kCanvas),
                  squeeze(slice(cells_, 1, 4, 5), 1), kOverlap)),
        program_({kept_.keep, kept_.count}) {}
  std::vector<Detection> operator()(const Array& cells) {
    const Feed feed{cells_, &cells};
    program_.submit({&feed, 1});
    const Array keep = program_.read(0);
    std::vector<Detection> result;
    for (int64_t i = 0; i < static_cast<int64_t>(program_.read(1).item()); ++i) {
      const auto value = [&](int64_t c) {
        return static_cast<float>(cells.at(static_cast<int64_t>(keep.at(i)) * 6 + c));
      };
      if (value(4) < kLeastScore) break;
      result.push_back({{value(0), value(1), value(2), value(3)}, static_cast<int32_t>(value(5)), value(4)});
    }
    return result;
  }

 private:
  Tensor cells_;
  NmsOutputs kept_;
  Program program_;
};

Array drawing(const Array& image, const std::vector<Detection>& found,
              const std::vector<LabelledBox>& truth) {
  constexpr int64_t kScale = 4;
  constexpr Colour kColours[] = {{255, 99, 99},   {255, 170, 60}, {240, 225, 70}, {150, 225, 80},
                                 {60, 210, 140},  {60, 210, 225}, {90, 160, 255}, {150, 125, 255},
                                 {225, 110, 240}, {255, 120, 180}};
  const auto scaled = [](const Box& b) {
    return Box{b.x1 * kScale, b.y1 * kScale, b.x2 * kScale, b.y2 * kScale};
  };
  Array picture = enlarged(image, kScale);
  for (const LabelledBox& t : truth) draw_box(picture, scaled(t.box), kWhite, 1);
  for (const Detection& d : found) {
    if (d.score < kShownScore) continue;
    const Box box = scaled(d.box);
    draw_box(picture, box, kColours[d.label], 2);
    // Above the box, or in it where there is no room.
    const float y = box.y1 >= 9 ? box.y1 - 9 : box.y1 + 4;
    draw_text(picture, static_cast<int64_t>(box.x1) + 4, static_cast<int64_t>(y),
              cat(d.label, " ", std::lround(d.score * 100)), kColours[d.label]);
  }
  return picture;
}

int main(int argc, char** argv) {
  constexpr int64_t kTrain = 16000, kValidation = 500, kTest = 1000, kDigits = 10000, kShown = 8;
  nn::Session session("detect", "finds digits on a canvas, with their boxes",
                      {.epochs = 6, .batch = 32, .lr = 3e-3});

  return session.run(argc, argv, [&] {
    const RunOptions& options = session.options();
    TrainTest digits;
    if (options.data.empty()) {
      digits.train = draw_digits(DigitsSplit::train, kDigits, options.seed);
      digits.test = draw_digits(DigitsSplit::test, kDigits / 4, options.seed);
    } else {
      digits = load_mnist(options.data);
    }
    const auto scenes = [&](const ImageClasses& from, int64_t count, uint64_t seed) {
      return std::make_shared<DigitScenes>(from, count, DigitScenesOptions{.size = kCanvas, .seed = seed});
    };
    const DatasetPtr tested = scenes(digits.test, kTest, options.seed);
    DataLoader train(scenes(digits.train, kTrain, options.seed),
                     {.batch = options.batch, .seed = options.seed, .transform = make_targets});
    DataLoader validation(scenes(digits.train, kValidation, options.seed + 1),
                          {.batch = 100, .shuffle = false, .transform = make_targets});
    DataLoader test(tested, {.batch = 100, .shuffle = false, .transform = make_targets});

    nn::Sequential model{nn::FromBytes(),
                         nn::Function("Unsqueeze", [](const Tensor& x) { return unsqueeze(x, 1); })};
    int64_t channels = 1;
    for (const auto& [out, stride] :
         std::array<std::array<int64_t, 2>, 5>{{{16, 2}, {32, 2}, {64, 2}, {64, 1}, {64, 1}}}) {
      model.add(nn::Conv2d(channels, out, {3}, {.stride = {stride}, .padding = {1}}, false));
      model.add(nn::BatchNorm2d(out)).add(nn::Relu());
      channels = out;
    }
    model.add(nn::Conv2d(channels, 5 + kClasses, {1}));
    model.add(nn::Function("ChannelsLast", [](const Tensor& x) { return permute(x, {0, 2, 3, 1}); }));

    const auto step = [&](std::span<const Tensor> batch) {
      const std::vector<Tensor> parts = split(model(batch[0]), std::array<int64_t, 3>{1, 4, kClasses}, 3);
      const Tensor here = slice(batch[1], 3, 0, 1), box = slice(batch[1], 3, 1, 5);
      const Tensor digits_here = maximum(sum(here), 1.0f);
      const Tensor found = nn::BceWithLogits{.reduction = nn::Reduction::sum}(parts[0], here) / digits_here;
      const Tensor place =
          sum(nn::SmoothL1{.beta = 0.1f, .reduction = nn::Reduction::none}(parts[1], box) * here) /
          digits_here;
      const Tensor digit = cross_entropy(parts[2], batch[2]);
      return nn::StepOutputs{.loss = found + 2.0f * place + digit,
                             .output = decode(parts[0], parts[1], parts[2]),
                             .metrics = {{"found", found}, {"place", place}, {"class", digit}}};
    };
    nn::Trainer trainer(model, step, nn::AdamW({.lr = static_cast<float>(options.lr)}),
                        {.schedule = nn::schedule::linear_warmup(
                             20, nn::schedule::cosine(session.total_steps(train), 0.01))});
    session.fit(trainer, train, {.validation = &validation});

    const std::vector<Array> truths = fetch_all(*tested);
    Suppression suppress;
    DetectionPrecision precision(kClasses);
    std::vector<Array> pictures;
    int64_t scene = 0;
    nn::evaluate(
        trainer, test,
        [&](const Batch& batch, const Array& output) {
          for (int64_t i = 0; i < batch.count; ++i, ++scene) {
            const std::vector<Detection> found = suppress(output.rows(i, i + 1).reshaped({kGrid * kGrid, 6}));
            std::vector<LabelledBox> truth;
            const int64_t most = truths[2].shape()[1];
            for (int64_t k = scene * most; k < (scene + 1) * most; ++k) {
              const auto corner = [&](int64_t c) { return static_cast<float>(truths[1].at(4 * k + c)); };
              if (truths[2].at(k) != kIgnoreIndex)
                truth.push_back(
                    {{corner(0), corner(1), corner(2), corner(3)}, static_cast<int32_t>(truths[2].at(k))});
            }
            precision.add(found, truth);
            if (scene < kShown)
              pictures.push_back(
                  drawing(batch.columns[0].rows(i, i + 1).reshaped({kCanvas, kCanvas}), found, truth));
          }
        },
        options.fast_dev_run ? 1 : 0);
    session.figure(
        "detections", contact_sheet(pictures, 4, 1, 6),
        "Scenes of the test set: true boxes in white, detections in colour with digit and score in percent.");
    session.finish({{"map50", precision.mean(0.5)}, {"map50_95", precision.mean_over_thresholds()}});
  });
}

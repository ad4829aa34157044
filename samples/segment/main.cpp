// Tells the class of every pixel by a U-Net (Ronneberger et al. 2015). Without options it finds shapes on
// textured grounds, which are drawn on the spot; --data takes a folder with images/NAME.png (or .jpg) and
// masks/NAME.png, in which the grey value of a pixel is its class.
#include <algorithm>
#include <array>
#include <numeric>

#include "nn/data/image.h"
#include "nn/data/mask_folder.h"
#include "nn/data/shape_scenes.h"
#include "nn/models/unet.h"
#include "nn/nn.h"
#include "nn/run/picture.h"
#include "nn/run/session.h"

using namespace stithy;

// Mirrors every other item at random, image and mask together.
void mirror(Batch& batch, Philox& random) {
  for (int64_t i = 0; i < batch.count; ++i) {
    if (random.uniform() < 0.5) continue;
    const auto reverse_rows = [&]<class T>(Array& column) {
      const int64_t width = column.shape().back(), item = column.numel() / column.shape()[0];
      const auto values =
          column.values<T>().subspan(static_cast<size_t>(i * item), static_cast<size_t>(item));
      for (size_t row = 0; row < values.size(); row += static_cast<size_t>(width))
        std::ranges::reverse(values.subspan(row, static_cast<size_t>(width)));
    };
    reverse_rows.operator()<uint8_t>(batch.columns[0]);
    reverse_rows.operator()<int32_t>(batch.columns[1]);
  }
}

// The classes, i32 [height, width], in colours over a faint image [height, width, 3]; class 0 is left dark.
Array drawing(const Array& image, std::span<const int32_t> classes) {
  constexpr Colour kColours[] = {{255, 99, 99},  {255, 190, 70},  {120, 220, 90},
                                 {70, 200, 235}, {165, 130, 255}, {245, 120, 215}};
  Array picture = image;
  const auto pixels = picture.values<uint8_t>();
  for (size_t i = 0; i < pixels.size(); ++i) {
    const int32_t c = classes[i / 3];
    const int colour = c > 0 ? kColours[static_cast<size_t>(c - 1) % std::size(kColours)][i % 3] : 0;
    pixels[i] = static_cast<uint8_t>((pixels[i] + 3 * colour) / 4);
  }
  return picture;
}

// 1 - the mean over classes of 2 |A and B| / (|A| + |B|), of predicted and true pixels (Milletari et al.
// 2016): unlike cross entropy it minds small classes as much as large ones. logits [n, h, w, c], truth i32
// [n, h, w].
Tensor dice_loss(const Tensor& logits, const Tensor& truth) {
  const Tensor found = softmax(logits), there = one_hot(truth, logits.dim(3));
  const Tensor both = sum(found * there, {0, 1, 2}), all = sum(found + there, {0, 1, 2});
  return 1.0f - mean((2.0f * both + 1.0f) / (all + 1.0f));
}

int main(int argc, char** argv) {
  constexpr int64_t kTrain = 4000, kTest = 200, kShown = 8;
  const std::vector<int32_t> shapes{0, 1, 2, 4, 5};
  int64_t size = 48, width = 8, depth = 3;
  nn::Session session("segment", "tells the class of every pixel by a U-Net",
                      {.epochs = 4, .batch = 8, .lr = 3e-3});
  session.arguments().add("--size", &size, "height and width of the images, a multiple of 2^depth",
                          {8, 4096});
  session.arguments().add("--width", &width, "channels of the network's first level", {1, 1024});
  session.arguments().add("--depth", &depth, "levels below the first, each of half the size", {1, 8});

  return session.run(argc, argv, [&] {
    const RunOptions& options = session.options();
    if (size % (int64_t{1} << depth) != 0)
      throw Error("segment", cat("size ", size, " cannot be halved ", depth, " times"),
                  cat("choose a multiple of ", int64_t{1} << depth));
    DatasetPtr learnt, tested;
    std::vector<std::string> classes{"ground"};
    if (options.data.empty()) {
      const auto scenes = [&](int64_t count, uint64_t seed) {
        return std::make_shared<ShapeScenes>(
            count,
            ShapeScenesOptions{
                .size = size, .kinds = shapes, .most = 3, .smallest = 0.18, .largest = 0.3, .seed = seed});
      };
      learnt = scenes(kTrain, 2 * options.seed);
      tested = scenes(kTest, 2 * options.seed + 1);
      for (const int32_t kind : shapes) classes.push_back(kShapeNames[static_cast<size_t>(kind)]);
    } else {
      const auto folder = std::make_shared<MaskFolder>(options.data, size);
      const std::vector<DatasetPtr> parts = split(folder, std::array{0.8, 0.2}, options.seed);
      learnt = parts[0];
      tested = parts[1];
      classes.clear();
      for (const int value : folder->classes()) classes.push_back(cat("value ", value));
    }
    const int64_t count = static_cast<int64_t>(classes.size());
    DataLoader train(learnt, {.batch = options.batch, .seed = options.seed, .transform = mirror});
    DataLoader test(tested, {.batch = options.batch, .shuffle = false, .last = LastBatch::pad});

    nn::UNet unet(
        {.channels = 3, .classes = count, .width = width, .depth = depth, .up = nn::UpConvolution::bilinear});
    const auto step = [&](std::span<const Tensor> batch) {
      const Tensor logits = permute(unet(cast(batch[0], DType::f32) * (1.0f / 255)), {0, 2, 3, 1});
      return nn::StepOutputs{.loss = cross_entropy(logits, batch[1]) + dice_loss(logits, batch[1]),
                             .output = argmax(logits, 3),
                             .metrics = {{"accuracy", nn::accuracy(logits, batch[1])}}};
    };
    nn::Trainer trainer(unet, step, nn::AdamW({.lr = static_cast<float>(options.lr)}),
                        {.schedule = nn::schedule::linear_warmup(
                             20, nn::schedule::cosine(session.total_steps(train), 0.01))});
    session.fit(trainer, train, {.validation = &test, .monitor = "accuracy", .maximize = true});

    ConfusionMatrix confusion(static_cast<int>(count));
    std::vector<Array> pictures;
    nn::evaluate(
        trainer, test,
        [&](const Batch& batch, const Array& output) {
          const auto truth = batch.columns[1].values<int32_t>(), found = output.values<int32_t>();
          confusion.add(found, truth);
          for (int64_t i = 0; i < batch.count && pictures.size() < 3 * kShown; ++i) {
            const Array image = from_planes(batch.columns[0].rows(i, i + 1).reshaped({3, size, size}));
            const auto of_item = [&](std::span<const int32_t> values) {
              return values.subspan(static_cast<size_t>(i * size * size), static_cast<size_t>(size * size));
            };
            pictures.push_back(image);
            pictures.push_back(drawing(image, of_item(truth)));
            pictures.push_back(drawing(image, of_item(found)));
          }
        },
        options.fast_dev_run ? 1 : 0);
    session.figure("masks", contact_sheet(pictures, 6, std::max<int64_t>(1, 160 / size), 4),
                   "Images of the test set, each with its true mask and the network's.");
    ReportTable table{"Intersection over union", {"class", "IoU"}, {}};
    for (size_t c = 0; c < classes.size(); ++c)
      table.rows.push_back({classes[c], cat(confusion.iou(static_cast<int>(c)))});
    session.report().tables.push_back(table);
    session.finish({{"mean_iou", confusion.mean_iou()}, {"pixel_accuracy", confusion.accuracy()}});
  });
}

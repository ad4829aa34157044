// Tells two classes apart with few images, by a residual network (ResNet-18, He et al. 2015) that has seen
// others before: a new head is trained on the frozen backbone, then all of it at a low rate. The same network
// from scratch, with as many steps on the same images, shows what that is worth. --data takes a folder with a
// folder of PNG or JPEG files for each class, --weights what torchvision has learnt on ImageNet (with --width
// 64). Without data the classes are drawn shapes; without weights the backbone learns other drawn shapes
// first, with a quarter of the channels, which takes minutes without a GPU. A MobileNetV2 would take longer:
// its layers are many and thin.
#include <algorithm>
#include <array>
#include <cmath>

#include "nn/data/image.h"
#include "nn/data/image_folder.h"
#include "nn/data/shape_scenes.h"
#include "nn/data/transforms.h"
#include "nn/models/resnet.h"
#include "nn/nn.h"
#include "nn/run/picture.h"
#include "nn/run/session.h"

using namespace stithy;

// Bytes to what ImageNet's networks take: (x / 255 - mean) / std of its channels.
Tensor standardized(const Tensor& x) {
  const Tensor mean = Array({3, 1, 1}, std::vector<float>{0.485f, 0.456f, 0.406f});
  const Tensor std = Array({3, 1, 1}, std::vector<float>{0.229f, 0.224f, 0.225f});
  return (cast(x, DType::f32) * (1.0f / 255) - mean) / std;
}

// The backbone under a head of two dense layers.
struct Classifier : nn::Module {
  explicit Classifier(const nn::ResNet& shared) : backbone(child("backbone", shared)) {
    const int64_t features = backbone->fc->weight.shape()[1];
    head = child("head",
                 nn::Sequential{nn::Linear(features, 64), nn::Relu(), nn::Dropout(0.3f), nn::Linear(64, 2)});
    freeze_backbone(false);
  }
  // The backbone's own head plays no part.
  void freeze_backbone(bool on) {
    backbone->freeze(on);
    backbone->fc->freeze();
  }
  Tensor forward(const Tensor& x) override { return head(backbone->features(standardized(x))); }
  nn::Child<nn::ResNet> backbone;
  nn::Child<nn::Sequential> head;
};

struct Data {
  DatasetPtr train, test;
  std::vector<std::string> classes;
};
Data load_or_draw(const std::string& folder, int64_t size, uint64_t seed) {
  constexpr int64_t kTrain = 192, kTest = 400;
  const Augment augment{
      RandomAffine{.min_scale = 0.8, .max_scale = 1.2, .shear_x = 15, .shear_y = 15, .fill = 128},
      RandomHorizontalFlip{}};
  if (folder.empty()) {
    const auto draw = [&](int64_t count, uint64_t part) {
      return std::make_shared<ShapeScenes>(count, ShapeScenesOptions{.size = size,
                                                                     .kinds = {10, 11},
                                                                     .target = ShapeTarget::label,
                                                                     .smallest = 0.24,
                                                                     .largest = 0.4,
                                                                     .seed = 3 * seed + part});
    };
    return {augmented(draw(kTrain, 1), augment), draw(kTest, 2), {kShapeNames[10], kShapeNames[11]}};
  }
  const auto images = std::make_shared<ImageFolder>(
      folder, ImageFolderOptions{.prepare = {ResizeShorter{size}, CenterCrop{size, size}},
                                 .transforms = {},
                                 .cache_bytes = uint64_t{1} << 29});
  if (images->classes().size() != 2) {
    std::string names;
    for (const std::string& name : images->classes()) names += (names.empty() ? "" : ", ") + name;
    throw Error(folder, cat("the classes are ", names),
                "this sample tells two apart: FOLDER/CLASS/IMAGE.png");
  }
  const std::vector<DatasetPtr> parts = split(images, std::array{0.8, 0.2}, seed);
  if (parts[0]->size() == 0 || parts[1]->size() == 0)
    throw Error(folder,
                cat(images->size(), " images are too few to learn from some and to test with others"));
  return {augmented(parts[0], augment), parts[1], images->classes()};
}

// The first images of a batch under what a network says of them, in percent: green where it is right.
void add_pictures(std::vector<Array>& pictures, const Batch& batch, const Array& logits,
                  const std::vector<std::string>& classes, int64_t count) {
  const std::vector<int32_t> guesses = argmax_rows(logits);
  for (int64_t i = 0; i < std::min(count, batch.count); ++i) {
    const Array image = batch.columns[0].rows(i, i + 1);
    const Shape& s = image.shape();
    const int32_t guess = guesses[static_cast<size_t>(i)];
    const double share = 1 / (1 + std::exp(-std::abs(logits.at(2 * i) - logits.at(2 * i + 1))));
    const bool right = guess == static_cast<int32_t>(batch.columns[1].at(i));
    pictures.push_back(labelled(enlarged(from_planes(image.reshaped({s[1], s[2], s[3]})), s[3] < 128 ? 2 : 1),
                                cat(classes[static_cast<size_t>(guess)], " ", std::lround(100 * share)),
                                right ? Colour{120, 220, 90} : Colour{255, 110, 100}));
  }
}

int main(int argc, char** argv) {
  constexpr int64_t kShapes = 4000, kShown = 6;
  constexpr double kHead = 3, kTuning = 3;  // shares of the epochs: there are few images
  std::string weights;
  int64_t size = 64, width = 16;

  nn::Session session("transfer", "tells two classes apart with what a network has learnt of others",
                      {.epochs = 6, .batch = 32, .lr = 3e-3});
  session.arguments().add("--weights", &weights, "of resnet18, as safetensors, .pt or .pth; needs --width 64",
                          "FILE");
  session.arguments().add("--size", &size,
                          "height and width that images get; ImageNet's weights are used to 224", {32, 1024});
  session.arguments().add("--width", &width, "channels of the first stage; 64 is torchvision's resnet18",
                          {1, 512});

  return session.run(argc, argv, [&] {
    const RunOptions& options = session.options();
    const Data data = load_or_draw(options.data, size, options.seed);
    const auto loader = [&](const DatasetPtr& dataset) {
      return DataLoader(dataset, {.batch = std::min(options.batch, dataset->size()), .seed = options.seed});
    };
    const auto fit = [&](nn::Module& model, DataLoader& loader, const nn::Stage& stage, double rate) {
      auto trainer = std::make_unique<nn::Trainer>(
          model, nn::CrossEntropy{}, nn::Adam({.lr = static_cast<float>(options.lr * rate)}),
          nn::TrainerOptions{
              .schedule = nn::schedule::linear_warmup(
                  10, nn::schedule::cosine(session.total_steps(loader, 1, stage.share), 0.01))});
      session.fit(*trainer, loader, {}, stage);
      return trainer;
    };

    std::vector<int32_t> others;
    for (int32_t kind = 0; kind < 10; ++kind) others.push_back(kind);
    const nn::ResNetOptions shape{.classes = static_cast<int64_t>(others.size()), .width = width};
    nn::ResNet backbone(18, shape), fresh(18, shape);
    if (weights.empty()) {
      DataLoader shapes =
          loader(std::make_shared<ShapeScenes>(kShapes, ShapeScenesOptions{.size = size,
                                                                           .kinds = others,
                                                                           .target = ShapeTarget::label,
                                                                           .smallest = 0.24,
                                                                           .largest = 0.4,
                                                                           .seed = 3 * options.seed}));
      nn::Sequential model{nn::Function("Standardize", standardized), backbone};
      fit(model, shapes, {.name = "pretrain"}, 1);
    } else {
      nn::load_weights(weights, backbone, false, "fc.*");
    }

    DataLoader train = loader(data.train);
    DataLoader test(
        data.test,
        {.batch = std::min<int64_t>(100, data.test->size()), .shuffle = false, .last = LastBatch::pad});
    Classifier model(backbone), scratch(fresh);
    model.freeze_backbone(true);
    fit(model, train, {"head", kHead}, 1);
    model.freeze_backbone(false);
    const auto tuned = fit(model, train, {"tuning", kTuning}, 0.1);
    const nn::MeanMetrics transferred = session.evaluate_classes(*tuned, test, data.classes);
    const auto plain = fit(scratch, train, {"scratch", kHead + kTuning}, 1);
    const nn::MeanMetrics from_scratch = nn::evaluate(*plain, test, {}, options.fast_dev_run ? 1 : 0);

    std::vector<Array> pictures;
    for (nn::Trainer* trainer : {tuned.get(), plain.get()})
      nn::evaluate(
          *trainer, test,
          [&](const Batch& batch, const Array& logits) {
            add_pictures(pictures, batch, logits, data.classes, 2 * kShown);
          },
          1);
    session.figure("seen", contact_sheet(pictures, kShown, 1, 4),
                   "Images of the test set as seen after transfer, then from scratch; green is right.");
    session.finish(
        {{"test_accuracy", transferred.at("accuracy")}, {"scratch_accuracy", from_scratch.at("accuracy")}});
  });
}

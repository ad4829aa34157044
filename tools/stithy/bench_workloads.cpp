// The training steps of `stithy bench`.
#include "nn/models/gpt.h"
#include "nn/models/lstm_language_model.h"
#include "nn/models/resnet.h"
#include "nn/nn.h"
#include "tools/stithy/bench_cases.h"

namespace stithy::measure {
namespace {

// Cross entropy and AdamW, as torch.optim's defaults have it, on a batch that `draw` makes.
Workload workload(const std::string& name, const Shape& shape, int64_t items, const char* unit,
                  std::function<std::unique_ptr<nn::Module>()> make,
                  std::function<std::vector<Array>()> draw) {
  return {.name = name, .shape = text_of(shape), .items = items, .unit = unit, .make = [=] {
            Training training;
            training.model = make();
            training.trainer =
                std::make_unique<nn::Trainer>(*training.model, nn::CrossEntropy{}, nn::AdamW());
            training.batch = draw();
            return training;
          }};
}
// Ten classes of images.
Workload classifier(const std::string& name, int64_t batch, const Shape& image,
                    std::function<std::unique_ptr<nn::Module>()> make) {
  Shape shape = image;
  shape.insert(0, batch);
  return workload(name, shape, batch, "img", std::move(make), [=] {
    return std::vector{random_values(shape), random_classes({batch}, 10)};
  });
}
// The next token of each of `vocabulary`.
Workload language_model(const std::string& name, int64_t batch, int64_t length, int64_t vocabulary,
                        std::function<std::unique_ptr<nn::Module>()> make) {
  const Shape shape{batch, length};
  return workload(name, shape, shape.numel(), "tok", std::move(make), [=] {
    return std::vector{random_classes(shape, vocabulary), random_classes(shape, vocabulary)};
  });
}

// The yardstick's: identity shortcuts, and where the width changes a convolution of one tap.
struct ResidualBlock : nn::Module {
  ResidualBlock(int64_t in, int64_t out, int64_t stride) {
    c1 = child("c1", nn::Conv2d(in, out, {3}, {.stride = {stride}, .padding = {1}}, false));
    b1 = child("b1", nn::BatchNorm2d(out));
    c2 = child("c2", nn::Conv2d(out, out, {3}, {.padding = {1}}, false));
    b2 = child("b2", nn::BatchNorm2d(out));
    if (in != out) shortcut = child("sc", nn::Conv2d(in, out, {1}, {.stride = {stride}}, false));
  }
  Tensor forward(const Tensor& x) override {
    const Tensor y = b2(c2(relu(b1(c1(x)))));
    return relu(y + (shortcut ? shortcut(x) : x));
  }
  nn::Child<nn::Conv2d> c1, c2, shortcut;
  nn::Child<nn::BatchNorm2d> b1, b2;
};

std::unique_ptr<nn::Module> residual_network(int64_t blocks) {
  auto net = std::make_unique<nn::Sequential>(nn::Conv2d(3, 16, {3}, {.padding = {1}}, false),
                                              nn::BatchNorm2d(16), nn::Relu());
  int64_t in = 16;
  for (const int64_t width : {16, 32, 64})
    for (int64_t i = 0; i < blocks; ++i, in = width) net->add(ResidualBlock(in, width, in == width ? 1 : 2));
  net->add(nn::Function("mean", [](const Tensor& x) { return mean(x, {2, 3}); }));
  net->add(nn::Linear(64, 10));
  return net;
}

// The yardstick's GPT-2.
Workload gpt(const std::string& name, int64_t batch, const nn::GptOptions& options, bool large = false) {
  const Shape shape{batch, options.context};
  Workload all{.name = name, .shape = text_of(shape), .items = shape.numel(), .unit = "tok", .make = [=] {
                 Training training;
                 auto model = std::make_unique<nn::Gpt>(options);
                 const auto step = [m = model.get()](std::span<const Tensor> batch) {
                   return nn::StepOutputs{.loss = m->loss(batch[0], batch[1])};
                 };
                 training.trainer = std::make_unique<nn::Trainer>(*model, step, nn::AdamW());
                 training.model = std::move(model);
                 training.batch = {random_classes(shape, options.vocabulary),
                                   random_classes(shape, options.vocabulary)};
                 return training;
               }};
  all.large = large;
  return all;
}

}  // namespace

std::vector<Workload> workloads() {
  std::vector<Workload> all{
      classifier("mlp", 128, {1, 28, 28},
                 [] {
                   return std::make_unique<nn::Sequential>(nn::Flatten(), nn::Linear(784, 256), nn::Relu(),
                                                           nn::Linear(256, 10));
                 }),
      classifier("mlp_wide", 256, {1, 28, 28},
                 [] {
                   return std::make_unique<nn::Sequential>(nn::Flatten(), nn::Linear(784, 2048), nn::Relu(),
                                                           nn::Linear(2048, 2048), nn::Relu(),
                                                           nn::Linear(2048, 10));
                 }),
      classifier("lenet", 64, {1, 28, 28},
                 [] {
                   return std::make_unique<nn::Sequential>(
                       nn::Conv2d(1, 32, {3}, {.padding = {1}}), nn::Relu(), nn::MaxPool2d({2}),
                       nn::Conv2d(32, 64, {3}, {.padding = {1}}), nn::Relu(), nn::MaxPool2d({2}),
                       nn::Flatten(), nn::Linear(3136, 128), nn::Relu(), nn::Linear(128, 10));
                 }),
      classifier("resnet20", 64, {3, 32, 32}, [] { return residual_network(3); }),
      language_model("char_lstm", 32, 64, 65,
                     [] {
                       return std::make_unique<nn::LstmLanguageModel>(
                           nn::LstmLanguageModelOptions{.vocabulary = 65});
                     }),
      gpt("char_gpt", 12, {.vocabulary = 65, .context = 64, .layers = 4, .heads = 4, .width = 128}),
      gpt("char_gpt_large", 64, {.vocabulary = 65, .context = 256, .layers = 6, .heads = 6, .width = 384},
          true),
      gpt("gpt2_124m", 8, nn::GptOptions::small(), true),
      gpt("gpt2_124m_single", 1, nn::GptOptions::small(), true),
      classifier("resnet50", 8, {3, 224, 224}, [] { return std::make_unique<nn::ResNet>(50); })};
  all.front().quick = all.back().large = true;
  return all;
}

}  // namespace stithy::measure

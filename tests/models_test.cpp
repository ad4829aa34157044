// Vision models and recurrent layers against PyTorch, by what tests/golden/make_models_golden.py wrote.
#include "nn/models/models.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "engine/core/error.h"
#include "nn/models/blocks.h"
#include "nn/nn.h"
#include "nn/safetensors.h"
#include "tests/golden_models.h"
#include "tests/temporary_folder.h"

using namespace stithy;
using testing::fill, testing::Run, testing::state_of, testing::Tolerance, testing::values;

namespace {

void check_names(const std::string& family, const std::string& name, const nn::Module& model) {
  CHECK(testing::check_names(family, name, model) == "");
}
template <class Model>
void check(const std::string& family, const std::string& name, Model model, const Tolerance& tolerance) {
  CHECK(testing::check_model(family, name, model, tolerance) == "");
}
template <class Model, class RunModel>
void check(const std::string& family, const std::string& name, Model model, const Tolerance& tolerance,
           RunModel run) {
  const auto run_module = [&](nn::Module& module, const Array& x) {
    return run(dynamic_cast<Model&>(module), x);
  };
  CHECK(testing::check_model(family, name, model, tolerance, run_module) == "");
}

// A sum of n products has an error of about sqrt(n) 2^-24, 4e-6 for n = 5000,
// and layers add theirs up.
constexpr Tolerance kPlain{1e-5, 3e-5};
// Batch norm divides by the deviation of as few as 8 values a channel here, which enlarges errors in each of
// up to 50 layers; with activations off by 1e-5 one of 1e5 also lies on the other side of a ReLU's kink, and
// its part of the gradient is there or not.
constexpr Tolerance kNormed{1e-4, 1e-3};

}  // namespace

TEST_SUITE_BEGIN("models");

TEST_CASE("recurrent layers") {
  check("recurrent", "rnn", nn::Rnn(5, 7), kPlain);
  check("recurrent", "rnn relu", nn::Rnn(5, 7, {.bias = false}, Cell::relu), kPlain);
  const nn::RecurrentLayers both{.layers = 2, .bidirectional = true, .batch_first = true};
  check("recurrent", "lstm", nn::Lstm(5, 7, both), kPlain);
  check("recurrent", "lstm long", nn::Lstm(8, 16, {.layers = 3}), kPlain);
  check("recurrent", "gru", nn::Gru(5, 7, {.layers = 2, .bidirectional = true}), kPlain);
}

TEST_CASE("text classifiers") {
  const auto logits = [](nn::TextClassifier& model, const Array& x) {
    Array ids(x.shape(), DType::i32);
    for (int64_t i = 0; i < x.numel(); ++i) ids.set(i, std::floor((x.at(i) + 1) / 2 * 11));
    const Tensor y = model.logits(Tensor(ids), Tensor(Array({4}, std::vector<int32_t>{7, 4, 1, 6})));
    return Run{y, sum(y * Tensor(values("r", y.shape())))};
  };
  const nn::TextClassifierOptions options{.vocabulary = 11, .size = 5, .outputs = 2, .dropout = 0};
  check("text_classifier", "mean", nn::MeanTextClassifier(options), kPlain, logits);
  check("text_classifier", "lstm", nn::LstmTextClassifier(options, 6), kPlain, logits);
  check("text_classifier", "cnn", nn::TextCnn(options, 6), kPlain, logits);

  // A text is the mean of its words.
  nn::MeanTextClassifier model(options);
  const Array alone = model.logits(Tensor(Array({1, 1}, std::vector<int32_t>{3}))).eval(),
              weights = model.word_weights(), bias = model.output->bias.value();
  for (int64_t c = 0; c < 2; ++c)
    CHECK(alone.at(c) == doctest::Approx(weights.at(3 * 2 + c) + bias.at(c)).epsilon(1e-4));
}

TEST_CASE("recommenders") {
  const auto ratings = [](nn::Recommender& model, const Array& x) {
    Array user({8}, DType::i32), item({8}, DType::i32);
    for (int64_t i = 0; i < 8; ++i) {
      user.set(i, std::floor((x.at(i) + 1) / 2 * 5));
      item.set(i, std::floor((x.at(8 + i) + 1) / 2 * 7));
    }
    const Tensor y = model.ratings(Tensor(user), Tensor(item));
    return Run{y, sum(y * Tensor(values("r", y.shape())))};
  };
  const nn::RecommenderOptions options{.users = 5, .items = 7, .factors = 4, .mean = 2.5f};
  check("recommender", "factors", nn::MatrixFactorization(options), kPlain, ratings);
  check("recommender", "neural", nn::NeuralRecommender(options, {6, 3}), kPlain, ratings);
}

namespace {
// As the modules in make_models_golden.py, whose masks stand there.
nn::Attend masked() { return {.causal = true, .lengths = Array({2}, std::vector<int32_t>{6, 4})}; }
Tensor memory(const std::string& name = "memory") { return values(name, {2, 7, 16}); }

template <class Layer, class Forward>
struct WithForward : Layer {
  WithForward(Layer layer, Forward function) : Layer(std::move(layer)), function_(std::move(function)) {}
  Tensor forward(const Tensor& x) override { return function_(static_cast<Layer&>(*this), x); }
  Forward function_;
};
}  // namespace

TEST_CASE("transformers") {
  const auto check_one = [](const char* name, auto layer, auto forward) {
    check("transformer", name, WithForward(std::move(layer), forward), kPlain);
  };
  const auto self = [](auto& layer, const Tensor& x) { return layer.forward(x, masked()); };
  check_one("self", nn::MultiHeadAttention(16, 4), self);
  check_one("self without bias", nn::MultiHeadAttention(16, 4, {.bias = false}), self);
  check_one("cross", nn::MultiHeadAttention(16, 4), [](auto& layer, const Tensor& x) {
    const Tensor m = memory();
    return layer.forward(x, m, m);
  });
  check_one("three inputs", nn::MultiHeadAttention(16, 4),
            [](auto& layer, const Tensor& x) { return layer.forward(x, memory(), memory("memory 2")); });
  const nn::TransformerOptions plain{.hidden = 24, .dropout = 0};
  const nn::TransformerOptions first{
      .hidden = 24, .dropout = 0, .activation = nn::TransformerOptions::Activation::gelu, .norm_first = true};
  check("transformer", "encoder layer", nn::TransformerEncoderLayer(16, 4, plain), kPlain);
  check("transformer", "encoder layer, norm first", nn::TransformerEncoderLayer(16, 4, first), kPlain);
  const auto decode = [](auto& layer, const Tensor& x) {
    return layer.forward(x, memory(), {.causal = true});
  };
  check_one("decoder layer", nn::TransformerDecoderLayer(16, 4, plain), decode);
  check_one("decoder layer, norm first", nn::TransformerDecoderLayer(16, 4, first), decode);
  check_one("encoder", nn::TransformerEncoder(16, 4, 2, true, plain), [](auto& layer, const Tensor& x) {
    nn::Attend padded = masked();
    padded.causal = false;
    return layer.forward(x, padded);
  });
  check_one("transformer", nn::Transformer(16, 4, 2, 2, plain),
            [](auto& model, const Tensor& x) { return model.forward(memory(), x, {.target = masked()}); });
}

TEST_CASE("LeNet") {
  check("lenet", "lenet", nn::LeNet(), kPlain);
  check("lenet", "lenet padded", nn::LeNet({.channels = 3, .classes = 7, .padding = 2}), kPlain);
}

TEST_CASE("CIFAR ResNets") {
  check("cifar_resnet", "resnet20 A", nn::CifarResNet(20), kNormed);
  check("cifar_resnet", "resnet20 B", nn::CifarResNet(20, {.shortcut = nn::Shortcut::project}), kNormed);
  for (const int depth : {32, 44, 56, 110})
    check_names("cifar_resnet", cat("resnet", depth, " A"), nn::CifarResNet(depth));
}

TEST_CASE("ResNets") {
  for (const int depth : {18, 34, 50}) check_names("resnet", cat("resnet", depth), nn::ResNet(depth));
  check("resnet", "resnet18 narrow", nn::ResNet(18, {.classes = 10, .width = 16}), kNormed);
  check("resnet", "resnet50 narrow", nn::ResNet(50, {.classes = 10, .width = 8}), kNormed);
}

TEST_CASE("MobileNetV2") {
  check_names("mobilenet", "mobilenet_v2", nn::MobileNetV2());
  check("mobilenet", "mobilenet_v2 narrow", nn::MobileNetV2({.classes = 10, .width = 0.35, .dropout = 0}),
        kNormed);
}

TEST_CASE("DCGAN") {
  check_names("dcgan", "generator 64", nn::DcganGenerator());
  check_names("dcgan", "discriminator 64", nn::DcganDiscriminator());
  const nn::DcganOptions colour{.image = 32, .latent = 16, .width = 8};
  const nn::DcganOptions grey{.image = 28, .channels = 1, .latent = 16, .width = 8};
  check("dcgan", "generator 32", nn::DcganGenerator(colour), kNormed);
  check("dcgan", "discriminator 32", nn::DcganDiscriminator(colour), kNormed);
  check("dcgan", "generator 28", nn::DcganGenerator(grey), kNormed);
  check("dcgan", "discriminator 28", nn::DcganDiscriminator(grey), kNormed);
}

TEST_CASE("variational autoencoder") {
  check_names("vae", "vae", nn::Vae());
  check("vae", "vae narrow", nn::Vae({.image = 16, .channels = 3, .width = 8, .latent = 6}), kPlain,
        [](nn::Vae& model, const Array& x) {
          const Tensor pixels = (Tensor(x) + 1.0f) * 0.5f;
          const nn::VaeOutputs outputs =
              model.outputs(pixels, model.training() ? Tensor(values("noise", {x.shape()[0], 6})) : Tensor());
          return Run{outputs.logits, nn::elbo_loss(outputs, pixels)};
        });
}

TEST_CASE("U-Net") {
  check_names("unet", "unet", nn::UNet());
  const nn::UNetOptions narrow{.channels = 3, .classes = 4, .width = 8, .depth = 2};
  nn::UNetOptions bilinear = narrow;
  bilinear.up = nn::UpConvolution::bilinear;
  check("unet", "unet narrow", nn::UNet(narrow), kNormed);
  check("unet", "unet bilinear", nn::UNet(bilinear), kNormed);
}

TEST_CASE("VGG") {
  check_names("vgg", "vgg16", nn::Vgg(16));
  nn::VggOptions narrow{.classes = 10, .width = 8, .pooled = 2, .hidden = 32, .dropout = 0};
  check("vgg", "vgg11 narrow", nn::Vgg(11, narrow), kPlain);
  narrow.batch_norm = true;
  check("vgg", "vgg11_bn narrow", nn::Vgg(11, narrow), kNormed);
}

TEST_CASE("EfficientNet") {
  check_names("efficientnet", "efficientnet_b0", nn::EfficientNet());
  check("efficientnet", "efficientnet narrow",
        nn::EfficientNet({.classes = 10, .width = 0.35, .depth = 0.5, .dropout = 0, .stochastic_depth = 0}),
        kNormed);
}

TEST_CASE("features are what the head takes") {
  const Tensor image = input("x", {2, 3, 64, 64});
  CHECK(nn::LeNet().features(input("x", {2, 1, 32, 32})).shape() == Shape{2, 84});
  CHECK(nn::CifarResNet(8, {.width = 4}).features(image).shape() == Shape{2, 16});
  CHECK(nn::ResNet(18, {.width = 4}).features(image).shape() == Shape{2, 32});
  CHECK(nn::ResNet(50, {.width = 4}).features(image).shape() == Shape{2, 128});
  CHECK(nn::MobileNetV2({.width = 0.25}).features(image).shape() == Shape{2, 1280});
  CHECK(nn::EfficientNet({.width = 0.25}).features(image).shape() == Shape{2, 320});
  CHECK(nn::Vgg(11, {.width = 4, .hidden = 8}).features(image).shape() == Shape{2, 32 * 49});
  CHECK(nn::UNet({.channels = 3, .width = 4}).features(image).shape() == Shape{2, 4, 64, 64});
  CHECK(nn::DcganDiscriminator({.width = 4}).features(image).shape() == Shape{2, 32 * 16});
  CHECK(nn::Vae({.image = 64, .channels = 3, .width = 4}).features(image).shape() == Shape{2, 8 * 256});
  nn::take_updates();
}

TEST_CASE("initial values") {
  const auto deviation = [](const Variable& variable) {
    const Array array = variable.value();
    double squares = 0;
    for (const float v : array.values<float>()) squares += static_cast<double>(v) * v;
    return std::sqrt(squares / static_cast<double>(variable.shape().numel()));
  };
  const auto close = [](double expected) { return doctest::Approx(expected).epsilon(0.03); };
  const auto parameter = [](const nn::Module& model, const std::string& wanted) {
    for (const auto& [name, variable] : model.named_parameters())
      if (name == wanted) return variable;
    FAIL("no parameter " << wanted);
    return Variable();
  };
  const nn::ResNet resnet(18, {.width = 32, .zero_init_residual = true});
  CHECK(deviation(parameter(resnet, "layer3.0.conv1.weight")) == close(std::sqrt(2 / (128 * 9.0))));
  CHECK(deviation(parameter(resnet, "layer4.1.bn2.weight")) == 0);
  CHECK(deviation(parameter(resnet, "layer4.1.bn1.weight")) == 1);
  CHECK(deviation(parameter(nn::ResNet(18, {.width = 4}), "layer4.1.bn2.weight")) == 1);
  const nn::CifarResNet cifar(20);
  CHECK(deviation(parameter(cifar, "layer3.0.conv1.weight")) == close(std::sqrt(2 / (32 * 9.0))));
  const nn::MobileNetV2 mobilenet({.classes = 100, .width = 0.25});
  CHECK(deviation(parameter(mobilenet, "classifier.1.weight")) == close(0.01));
  CHECK(deviation(parameter(mobilenet, "classifier.1.bias")) == 0);
  const nn::EfficientNet efficientnet({.classes = 100, .width = 0.25});
  CHECK(deviation(parameter(efficientnet, "classifier.1.weight")) == close(0.1 / std::sqrt(3)));
  const nn::DcganGenerator generator({.image = 32, .width = 32});
  CHECK(deviation(parameter(generator, "main.0.weight")) == close(0.02));
  CHECK(deviation(parameter(generator, "main.1.weight")) == close(1));
}

TEST_CASE("models refuse what does not fit") {
  const auto check_error = [](const std::string& part, const std::function<void()>& mistake) {
    try {
      mistake();
      FAIL_CHECK("no objection: " << part);
    } catch (const Error& error) {
      CHECK_MESSAGE((error.where() + ": " + error.message()).find(part) != std::string::npos, error.what());
    }
  };
  check_error("LeNet: images of 28 x 28 give [2, 16, 4, 4]", [] { nn::LeNet()(input("x", {2, 1, 28, 28})); });
  check_error("LeNet: sizes must be at least 1, got 0", [] { nn::LeNet({.classes = 0}); });
  check_error("ResNet: there is none of depth 20", [] { nn::ResNet(20); });
  check_error("CifarResNet: a depth of 18 is not 6 n + 2", [] { nn::CifarResNet(18); });
  check_error("VGG: there is none of depth 12", [] { nn::Vgg(12); });
  check_error("MobileNetV2: the width must be above 0", [] { nn::MobileNetV2({.width = 0}); });
  check_error("EfficientNet: width and depth must be above 0", [] { nn::EfficientNet({.depth = 0}); });
  check_error("UNet: the input's shape [2, 1, 40, 64]", [] {
    nn::UNet({.width = 2})(input("x", {2, 1, 40, 64}));
  });
  check_error("DcganGenerator: images of 48 x 48", [] { nn::DcganGenerator({.image = 48}); });
  check_error("DcganDiscriminator: images of 8 x 8", [] { nn::DcganDiscriminator({.image = 8}); });
  check_error("DcganGenerator: the input's shape [2, 99] is not [n, 100]", [] {
    nn::DcganGenerator({.width = 2})(input("z", {2, 99}));
  });
  check_error("Vae: images of 30 x 30", [] { nn::Vae({.image = 30}); });
  check_error("StochasticDepth: the probability must be in [0, 1), got 1", [] { nn::StochasticDepth(1); });
}

TEST_CASE("stochastic depth leaves out whole elements of the batch, in training alone") {
  nn::StochasticDepth layer(0.5f);
  const Array x = nn::init::constant({64, 2, 3}, 1), y = layer(x).eval();
  int left_out = 0;
  for (int64_t n = 0; n < 64; ++n) {
    const double first = y.at(6 * n);
    CHECK((first == 0 || first == 2));
    left_out += first == 0;
    for (int64_t i = 1; i < 6; ++i) CHECK(y.at(6 * n + i) == first);
  }
  CHECK(left_out > 12);
  CHECK(left_out < 52);
  layer.eval();
  CHECK(same_bytes((layer(x) + 0.0f).eval(), x));
}

TEST_CASE("a variational autoencoder learns; it samples in training, and evaluation repeats") {
  nn::manual_seed(3);
  nn::Vae vae({.image = 8, .width = 4, .latent = 2});
  Array x({8, 1, 8, 8}, DType::f32);
  for (int64_t i = 0; i < x.numel(); ++i) x.set(i, i / 64 % 2 == i / 4 % 2);  // left half or right half
  nn::Trainer trainer(
      vae,
      [&](std::span<const Tensor> batch) {
        const nn::VaeOutputs outputs = vae.outputs(batch[0]);
        return nn::StepOutputs{.loss = nn::elbo_loss(outputs, batch[0]), .output = sigmoid(outputs.logits)};
      },
      nn::Adam({.lr = 0.02f}));
  trainer.step({x});
  const double first = trainer.metrics().loss;
  for (int i = 0; i < 80; ++i) trainer.step({x});
  CHECK(trainer.metrics().loss < 0.5 * first);
  CHECK(same_bytes(trainer.predict(x), trainer.predict(x)));
  const Tensor a = vae.outputs(x).logits, b = vae.outputs(x).logits;
  CHECK_FALSE(same_bytes(a.eval(), b.eval()));

  // 0.5 (exp(logvar) + mu^2 - 1 - logvar), summed over an item's numbers: 0 where both are 0.
  const nn::VaeOutputs two{
      .logits = {}, .mu = Tensor(Array({2, 2}, {1, 0, 0, 2})), .logvar = Tensor(Array({2, 2}, {0, 1, 0, 0}))};
  CHECK(nn::latent_divergence(two).item() == doctest::Approx((0.5 + (std::exp(1.0) - 2) / 2 + 2) / 2));
  // Noise that is given counts in evaluation, too, and none is as good as zeros.
  vae.eval();
  const Array noise({8, 2}, std::vector<float>(16, 1.5f)), none({8, 2}, DType::f32);
  const Array still = vae.outputs(x).logits.eval();
  CHECK(same_bytes(vae.outputs(x, none).logits.eval(), still));
  CHECK_FALSE(same_bytes(vae.outputs(x, noise).logits.eval(), still));
}

TEST_CASE("generator and discriminator train in turn, each its own parameters") {
  nn::manual_seed(5);
  const nn::DcganOptions options{.image = 16, .channels = 1, .latent = 3, .width = 4};
  nn::DcganGenerator generator(options);
  nn::DcganDiscriminator discriminator(options);
  const nn::BceWithLogits bce;
  nn::Trainer judge(
      discriminator,
      [&](std::span<const Tensor> batch) {
        const Tensor real = discriminator(batch[0]);
        const Tensor fake = discriminator(stop_gradient(generator(batch[1])));
        return nn::StepOutputs{.loss = bce(real, ones(real.shape())) + bce(fake, zeros(fake.shape()))};
      },
      nn::Adam({.lr = 5e-3f, .beta1 = 0.5f}));
  nn::Trainer artist(
      generator,
      [&](std::span<const Tensor> batch) {
        const Tensor fake = discriminator(generator(batch[0]));
        return nn::StepOutputs{.loss = bce(fake, ones(fake.shape()))};
      },
      nn::Adam({.lr = 5e-3f, .beta1 = 0.5f}));
  const Array images = values("x", {8, 1, 16, 16}), z = values("z", {8, 3});
  const Array drawn = generator.main->named_parameters()[0].variable.value();
  judge.step({images, z});
  const double first = judge.metrics().loss;
  for (int i = 0; i < 20; ++i) judge.step({images, z});
  CHECK(judge.metrics().loss < 0.5 * first);
  CHECK(same_bytes(generator.main->named_parameters()[0].variable.value(), drawn));
  const Array judged = discriminator.main->named_parameters()[0].variable.value();
  artist.step({z});
  const double unconvincing = artist.metrics().loss;
  for (int i = 0; i < 20; ++i) artist.step({z});
  CHECK(artist.metrics().loss < 0.5 * unconvincing);
  CHECK(same_bytes(discriminator.main->named_parameters()[0].variable.value(), judged));
}

TEST_CASE("one trainer trains generator and discriminator as two would, each by its own loss") {
  struct Gan : nn::Module {
    nn::Child<nn::DcganGenerator> generator;
    nn::Child<nn::DcganDiscriminator> discriminator;
    Gan() {
      nn::manual_seed(5);
      const nn::DcganOptions options{.image = 16, .channels = 1, .latent = 3, .width = 4};
      generator = child("generator", nn::DcganGenerator(options));
      discriminator = child("discriminator", nn::DcganDiscriminator(options));
    }
    Tensor forward(const Tensor& z) override { return generator(z); }
  } whole, first, second;
  const nn::BceWithLogits bce;
  const auto losses = [&](Gan& gan, std::span<const Tensor> batch) {
    const Tensor real = gan.discriminator(batch[0]), fake = gan.discriminator(gan.generator(batch[1]));
    return std::pair{bce(real, ones(real.shape())) + bce(fake, zeros(fake.shape())),
                     bce(fake, ones(fake.shape()))};
  };
  const nn::Sgd sgd({.lr = 0.5f});
  std::string pattern = "generator.*";
  const auto step = [&](std::span<const Tensor> batch) {
    const auto [judging, convincing] = losses(whole, batch);
    return nn::StepOutputs{.loss = judging, .part_losses = {{pattern, convincing}}};
  };
  const Array images = values("x", {8, 1, 16, 16}), z = values("z", {8, 3});
  nn::Trainer trainer(whole, step, sgd);
  trainer.step({images, z});

  first.generator->freeze();
  nn::Trainer judge(
      first,
      [&](std::span<const Tensor> batch) {
        first.generator->freeze(false);  // its batch norm trains, its values stay
        const nn::StepOutputs out{.loss = losses(first, batch).first};
        first.generator->freeze();
        return out;
      },
      sgd);
  judge.step({images, z});
  second.discriminator->freeze();
  nn::Trainer artist(
      second,
      [&](std::span<const Tensor> batch) {
        second.discriminator->freeze(false);
        const nn::StepOutputs out{.loss = losses(second, batch).second};
        second.discriminator->freeze();
        return out;
      },
      sgd);
  artist.step({images, z});

  const auto difference = [](const nn::Module& a, const nn::Module& b) {
    double most = 0;
    const auto x = a.named_parameters(), y = b.named_parameters();
    for (size_t i = 0; i < x.size(); ++i) {
      const Array left = x[i].variable.value(), right = y[i].variable.value();
      for (int64_t k = 0; k < left.numel(); ++k) most = std::max(most, std::abs(left.at(k) - right.at(k)));
    }
    return most;
  };
  const Gan before;
  CHECK(difference(*before.generator, *whole.generator) > 1e-3);
  CHECK(difference(*before.discriminator, *whole.discriminator) > 1e-3);
  // The order of sums differs: what is fused does.
  CHECK(difference(*first.discriminator, *whole.discriminator) < 1e-5);
  CHECK(difference(*second.generator, *whole.generator) < 1e-5);

  pattern = "painter.*";
  nn::Trainer wrong(whole, step, sgd);
  CHECK_THROWS_WITH_AS(wrong.step({images, z}),
                       doctest::Contains("the loss of \"painter.*\" has no parameter"), Error);
}

TEST_CASE("a backbone is loaded, frozen, and stays as it is while a new head is trained") {
  const TemporaryFolder folder;
  const nn::CifarResNet pretrained(8, {.width = 4});
  fill(pretrained);
  nn::save_weights(folder / "pretrained.safetensors", pretrained);
  nn::CifarResNet model(8, {.classes = 3, .width = 4});
  CHECK_THROWS_AS(nn::load_weights(folder / "pretrained.safetensors", model), Error);
  const auto loaded = nn::load_weights(folder / "pretrained.safetensors", model, false, "linear.*");
  CHECK(loaded.size() == state_of(model).size() - 2);
  model.freeze();
  model.submodule("linear").freeze(false);

  const auto state = state_of(model);
  std::vector<Array> before;
  for (const auto& [name, variable] : state) before.push_back(variable.value());
  const Array x = values("x", {4, 3, 8, 8});
  const Array classes({4}, std::initializer_list<float>{0, 1, 2, 1});
  const std::vector<Array> batch{x, classes.to(DType::i32)};
  nn::Trainer trainer(model, nn::CrossEntropy{}, nn::Sgd({.lr = 0.1f, .momentum = 0.9f}));
  std::vector<std::string> trained;
  for (const auto& [name, variable] : trainer.optimizer().trained()) trained.push_back(name);
  CHECK(trained == std::vector<std::string>{"linear.weight", "linear.bias"});
  trainer.step(batch);
  const double first = trainer.metrics().loss;
  for (int i = 0; i < 10; ++i) trainer.step(batch);
  CHECK(trainer.metrics().loss < first);
  for (size_t i = 0; i < state.size(); ++i)
    CHECK_MESSAGE(same_bytes(state[i].variable.value(), before[i]) != state[i].name.starts_with("linear."),
                  state[i].name);
  // No gradient of the backbone is computed: its convolutions run once, forward.
  CHECK(trainer.plan(batch).flops() < 1.2 * trainer.summary(batch).flops);

  model.freeze(false);
  nn::Trainer whole(model, nn::CrossEntropy{}, nn::Sgd());
  CHECK(whole.optimizer().trained().size() == model.named_parameters().size());
  whole.step(batch);
  for (const auto& [name, variable] : model.named_buffers())
    if (name == "bn1.num_batches_tracked") CHECK(variable.value().item() == 1);
  model.freeze();
  CHECK_THROWS_AS(nn::Trainer(model, nn::CrossEntropy{}, nn::Sgd()), Error);
}

TEST_CASE("a frozen module keeps what it shares, and evaluates in training") {
  struct Tied : nn::Module {
    nn::Child<nn::Linear> a = child("a", nn::Linear(2, 2));
    nn::Child<nn::Dropout> drop = child("drop", nn::Dropout(0.5f));
    Tied() { share_parameter("tied", a->weight); }
  } model;
  CHECK(model.trainable_parameters().size() == 2);
  model.submodule("a").freeze();
  CHECK(model.trainable_parameters().empty());
  CHECK(model.training());
  CHECK_FALSE(model.submodule("a").training());
  model.submodule("a").freeze(false);
  CHECK(model.submodule("a").training());
  CHECK(&model.submodule("") == &model);
  CHECK(nn::CifarResNet(8).submodule("layer2.0.bn1").describe() == "BatchNorm2d(32)");
  CHECK_THROWS_WITH_AS(model.submodule("b"),
                       "Module: has no child named \"b\"\nHINT: its children are a, drop", Error);
}

TEST_CASE("PyTorch's counters of batches are i64, and older files have none") {
  const TemporaryFolder folder;
  const auto write = [&](bool counter) {
    std::string header = R"({"bias":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
                         R"("running_mean":{"dtype":"F32","shape":[1],"data_offsets":[4,8]},)"
                         R"("running_var":{"dtype":"F32","shape":[1],"data_offsets":[8,12]},)"
                         R"("weight":{"dtype":"F32","shape":[1],"data_offsets":[12,16]})";
    std::string data(16, 0);
    if (counter) {
      header += R"(,"num_batches_tracked":{"dtype":"I64","shape":[],"data_offsets":[16,24]})";
      data += std::string("\x07\0\0\0\0\0\0\0", 8);
    }
    header += "}";
    std::string size(8, 0);
    size[0] = static_cast<char>(header.size() & 255);
    size[1] = static_cast<char>(header.size() >> 8);
    return folder.write("norm.safetensors", size + header + data);
  };
  const nn::BatchNorm2d layer(1);
  CHECK(nn::load_weights(write(true), layer).size() == 5);
  CHECK(layer.num_batches_tracked.value().item() == 7);
  CHECK(nn::load_weights(write(false), layer).size() == 4);
  CHECK(layer.num_batches_tracked.value().item() == 7);
}

TEST_SUITE_END();

// Layers for images: names, modes, and what is refused.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "engine/graph/program.h"
#include "nn/nn.h"
#include "tests/check_error.h"
#include "tests/temporary_folder.h"

using namespace stithy;

namespace {
Array ramp(const Shape& shape) {
  Array x(shape, DType::f32);
  for (int64_t i = 0; i < x.numel(); ++i) x.set(i, std::sin(static_cast<double>(i) * 0.7) * 2 + 1);
  return x;
}
bool close(const Array& a, const Array& b, double tolerance = 2e-6) {
  REQUIRE(a.shape() == b.shape());
  for (int64_t i = 0; i < a.numel(); ++i)
    if (!(std::abs(a.at(i) - b.at(i)) <= tolerance)) return false;
  return true;
}
}  // namespace

TEST_SUITE("nn_vision") {
  TEST_CASE("convolution layers have PyTorch's names, shapes and initial values") {
    const nn::Conv2d conv(6, 8, {3, 5}, {.stride = {2}, .padding = {1, 2}, .groups = 2});
    CHECK(conv.weight.shape() == Shape{8, 3, 3, 5});
    CHECK(conv.bias.shape() == Shape{8});
    CHECK(conv.describe() == "Conv2d(6, 8, [3, 5], stride 2, padding [1, 2], groups 2)");
    CHECK(nn::Conv1d(2, 3, {7}, {.same = true}, false).describe() == "Conv1d(2, 3, [7], same)");
    CHECK(!nn::Conv1d(2, 3, {7}, {}, false).bias.defined());
    const double bound = 1 / std::sqrt(3.0 * 3 * 5);
    double largest = 0;
    for (const Variable& v : {conv.weight, conv.bias}) {
      const Array value = v.value();
      for (int64_t i = 0; i < value.numel(); ++i) largest = std::max(largest, std::abs(value.at(i)));
    }
    CHECK(largest <= bound);
    CHECK(largest > 0.9 * bound);

    nn::ConvTranspose2d up(6, 4, {4}, {.stride = {2}, .padding = {1}, .groups = 2});
    CHECK(up.weight.shape() == Shape{6, 2, 4, 4});
    CHECK(up(ramp({1, 6, 5, 3})).shape() == Shape{1, 4, 10, 6});
    CHECK(nn::ConvTranspose3d(2, 2, {2}).describe() == "ConvTranspose3d(2, 2, [2, 2, 2])");

    check_error("6 channels in and 8 out do not divide into 4 groups",
                [] { nn::Conv2d(6, 8, {3}, {.groups = 4}); });
    check_error("kernel [3, 3] has 2 entries for 3 spatial axes", [] { nn::Conv3d(1, 1, {3, 3}); });
    check_error("sizes must be at least 1", [] { nn::Conv2d(1, 1, {0}); });
  }

  TEST_CASE("a bias and an activation become a part of the convolution's kernel") {
    nn::Sequential model{nn::Conv2d(3, 8, {3}, {.padding = {1}}), nn::Relu()};
    const Tensor y = model(input("x", {2, 3, 6, 8}));
    const Program program({y}, {});
    const auto& dispatches = program.plan().dispatches;
    CHECK(std::ranges::count(dispatches, 3, [](const PlannedDispatch& d) { return d.fused.size(); }) == 1);
  }

  TEST_CASE("batch norm has PyTorch's names; each pass of training moves its statistics once") {
    nn::Sequential model{nn::BatchNorm2d(3)};
    std::string names;
    for (const auto& named : {model.named_parameters(), model.named_buffers()})
      for (const auto& [name, variable] : named) names += name + " ";
    CHECK(names == "0.weight 0.bias 0.running_mean 0.running_var 0.num_batches_tracked ");
    CHECK(model[0].describe() == "BatchNorm2d(3)");
    const auto& layer = dynamic_cast<const nn::BatchNorm2d&>(model[0]);
    const Array x = ramp({2, 3, 4, 4});
    const Tensor y = model(x);
    Program program({y}, nn::take_updates());
    for (int i = 0; i < 3; ++i) program.submit();
    CHECK(layer.num_batches_tracked.value().item() == 3);
    const Array mean = stithy::mean(x, {0, 2, 3}).eval(), var = stithy::var(x, {0, 2, 3}).eval();
    const double left = 0.9 * 0.9 * 0.9;
    for (int64_t c = 0; c < 3; ++c) {
      CHECK(layer.running_mean.value().at(c) == doctest::Approx((1 - left) * mean.at(c)).epsilon(1e-5));
      CHECK(layer.running_var.value().at(c) == doctest::Approx(left + (1 - left) * var.at(c)).epsilon(1e-5));
    }
  }

  TEST_CASE("without momentum the statistics are the average of all batches") {
    nn::BatchNorm1d layer(2, {.momentum = {}});
    const Tensor x = input("x", {4, 2});
    const Tensor y = layer(x);
    Program program({y}, nn::take_updates());
    Array expected({2}, DType::f32);
    for (int i = 0; i < 4; ++i) {
      const Array batch = (Tensor(ramp({4, 2})) * static_cast<float>(i + 1)).eval();
      const Feed feeds[] = {{x, &batch}};
      program.submit(feeds);
      const Array mean = stithy::mean(batch, {0}).eval();
      for (int64_t c = 0; c < 2; ++c) expected.set(c, expected.at(c) + mean.at(c) / 4);
    }
    CHECK(close(layer.running_mean.value(), expected));
  }

  TEST_CASE("batch norm in evaluation sees the running statistics alone, or the batch where there are none") {
    const Array x = ramp({2, 3, 5});
    nn::BatchNorm1d tracked(3), untracked(3, {.affine = false, .track_running_stats = false});
    tracked.eval();
    untracked.eval();
    CHECK(close(tracked(x).eval(), (Tensor(x) * (1 / std::sqrt(1 + 1e-5f))).eval()));
    CHECK(close(untracked(x).eval(), batchnorm(x).y.eval(), 0));
    CHECK(untracked.named_parameters().empty());
    CHECK(untracked.named_buffers().empty());
    CHECK(nn::take_updates().empty());
  }

  TEST_CASE("a residual and relu become a part of batch norm's kernel; in evaluation all are one") {
    nn::BatchNorm2d layer(3);
    const Tensor x = Variable("x", ramp({4, 3, 8, 8})), residual = Variable("r", ramp({4, 3, 8, 8}));
    const auto kernels_of = [&](const std::vector<Tensor>& fetches) {
      std::string kernels;
      const Program program(fetches, nn::take_updates());
      for (const PlannedDispatch& dispatch : program.plan().dispatches)
        kernels += std::string(dispatch.call.kernel->name) + " ";
      return kernels;
    };
    const std::string training = kernels_of({relu(layer(x) + residual)});
    CHECK_MESSAGE(training.find("batchnorm_apply+add+relu ") != std::string::npos, training);
    CHECK(training.find("batchnorm_update ") != std::string::npos);
    // The statistics are needed, by the update and backward; that y is not written for it shows in what is
    // saved.
    const Tensor y = relu(layer(x));
    Program program({gradients(y, std::vector<Tensor>{layer.weight}, Unreached::error, ones(y.shape()))[0]},
                    nn::take_updates());
    CHECK(program.plan().fused_bytes_saved >= 2 * 4 * 768);
    layer.eval();
    const std::string evaluation = kernels_of({relu(layer(x) + residual)});
    CHECK_MESSAGE(std::ranges::count(evaluation, ' ') == 2,
                  evaluation);  // of the channels, and of the elements
    CHECK(evaluation.find("+relu ") != std::string::npos);
  }

  TEST_CASE("a trainer moves the statistics by its steps alone; they are saved with the weights") {
    nn::manual_seed(1);
    nn::Sequential model{nn::Linear(2, 8), nn::BatchNorm1d(8), nn::Relu(), nn::Linear(8, 1)};
    nn::Trainer trainer(model, nn::BceWithLogits{}, nn::Adam({.lr = 0.05f}));
    const Array x({4, 2}, {0, 0, 0, 1, 1, 0, 1, 1}), y({4, 1}, {0, 1, 1, 0});
    for (int step = 0; step < 150; ++step) trainer.step({x, y});
    const Array logits = trainer.predict(x);
    for (int64_t i = 0; i < 4; ++i) CHECK((logits.at(i) > 0) == (y.at(i) > 0.5));
    CHECK(dynamic_cast<const nn::BatchNorm1d&>(model[1]).num_batches_tracked.value().item() == 150);

    const TemporaryFolder folder;
    nn::save_weights(folder / "weights.safetensors", model);
    nn::Sequential other{nn::Linear(2, 8), nn::BatchNorm1d(8), nn::Relu(), nn::Linear(8, 1)};
    CHECK(nn::load_weights(folder / "weights.safetensors", other).size() == 9);
    other.eval();
    CHECK(close(other(x).eval(), logits));
  }

  TEST_CASE("group norm of one channel a group is instance norm; of one group, layer norm") {
    const Array x = ramp({2, 4, 3, 5});
    CHECK(close(nn::GroupNorm(4, 4)(x).eval(), nn::InstanceNorm2d(4)(x).eval(), 0));
    CHECK(nn::InstanceNorm2d(4).named_parameters().empty());
    CHECK(nn::InstanceNorm2d(4, 1e-5f, true).named_parameters().size() == 2);
    const Tensor rows = reshape(x, {2, 60});
    CHECK(close(reshape(nn::GroupNorm(1, 4)(x), {2, 60}).eval(),
                layernorm(rows, ones({60}), zeros({60})).eval()));
    CHECK(nn::GroupNorm(2, 4).describe() == "GroupNorm(2, 4)");
  }

  TEST_CASE("norms refuse what does not fit") {
    check_error("BatchNorm2d(3): the input's shape is [2, 4, 5, 5], not [n, 3, ...] of 4 axes", [] {
      nn::BatchNorm2d(3)(input("x", {2, 4, 5, 5}));
    });
    check_error("not [n, 3, ...] of 2 axes or 3 axes", [] { nn::BatchNorm1d(3)(input("x", {2, 3, 5, 5})); });
    check_error("has 1 value", [] { nn::BatchNorm1d(3)(input("x", {1, 3})); });
    check_error("InstanceNorm1d(3)", [] { nn::InstanceNorm1d(3)(input("x", {2, 3})); });
    check_error("2 groups do not divide 3 channels", [] { nn::GroupNorm(2, 3); });
    check_error("sizes must be at least 1", [] { nn::BatchNorm2d(0); });
    check_error("batchnorm: weight of shape [4] does not fit the channels of x [2, 3, 5]", [] {
      batchnorm(input("x", {2, 3, 5}), input("w", {4}));
    });
    check_error("batchnorm: x of shape [3] is not [n, channels, ...]", [] { batchnorm(input("x", {3})); });
    check_error("groupnorm: 2 groups do not divide the channels of [2, 3]", [] {
      groupnorm(input("x", {2, 3}), 2);
    });
    const Variable mean("m", Array({3}, DType::f32)), var("v", Array({3}, DType::f32)),
        n("n", Array({}, DType::i32));
    const BatchNormOutputs other{{}, input("m", {4}), input("v", {4})};
    check_error("batchnorm_update: statistics of shapes [4] and [3] differ",
                [&] { batchnorm_update(mean, var, n, other, 8); });
    check_error("a variance of 1 value", [&] { batchnorm_update(mean, var, n, {{}, mean, var}, 1); });
  }

  TEST_CASE("pooling layers are the ops, for inputs of their rank") {
    const Array x = ramp({2, 3, 6, 7});
    CHECK(close(nn::MaxPool2d(3, {.stride = {2}, .padding = {1}})(x).eval(),
                maxpool(x, {3, 3}, {.stride = {2, 2}, .padding = {1, 1}}).y.eval(), 0));
    CHECK(nn::MaxPool2d(2)(x).shape() == Shape{2, 3, 3, 3});
    CHECK(nn::MaxPool2d({2, 3}, {.ceil_mode = true})(x).shape() == Shape{2, 3, 3, 3});
    CHECK(nn::AvgPool2d(2)(x).shape() == Shape{2, 3, 3, 3});
    CHECK(nn::LpPool2d(2, {2, 3})(x).shape() == Shape{2, 3, 3, 2});
    CHECK(nn::AdaptiveMaxPool2d({2, 5})(x).shape() == Shape{2, 3, 2, 5});
    CHECK(close(nn::AdaptiveAvgPool2d(1)(x).eval(), mean(x, {2, 3}, true).eval(), 0));
    CHECK(nn::AdaptiveAvgPool1d(4)(ramp({1, 2, 9})).shape() == Shape{1, 2, 4});
    CHECK(nn::MaxPool2d({2, 3}).describe() == "MaxPool2d(2, 3)");
    CHECK(nn::LocalResponseNorm(5).describe() == "LocalResponseNorm(5)");
    CHECK(nn::LocalResponseNorm(5)(x).shape() == x.shape());
    check_error("MaxPool1d(2): the input's shape [2, 3, 6, 7]", [&] { nn::MaxPool1d{2}(x); });
    check_error("MaxPool2d: sizes must be at least 1, got [0]", [] { nn::MaxPool2d{0}; });
    check_error("sizes [1, 2, 3] are not for 2 axes", [] { nn::AvgPool2d{Shape{1, 2, 3}}; });
    check_error("maxpool: the padding [2] is more than half of the kernel [3]",
                [&] { maxpool(x, {3}, {.padding = {2}}); });
    check_error("avgpool: a window of kernel [8] and dilation [1] is larger than x [2, 3, 6, 7]",
                [&] { avgpool(x, {8}); });
    check_error("avgpool: the stride [0] has a value that is out of range",
                [&] { avgpool(x, {2}, {.stride = {0}}); });
    check_error("maxpool: the dilation [1, 1, 1] does not fit 2 spatial axes", [&] {
      maxpool(x, {2}, {.dilation = {1, 1, 1}});
    });
    check_error("adaptive_avgpool: x of shape [2, 3]", [] { adaptive_avgpool(input("x", {2, 3}), {1}); });
    check_error("lppool: p = 0", [&] { lppool(x, 0, {2}); });
    check_error("local_response_norm: a window of 0 channels", [&] { local_response_norm(x, 0); });
  }

  TEST_CASE("pixel shuffle moves channels into space, and unshuffle back") {
    Array x({1, 4, 1, 2}, DType::f32);
    for (int64_t i = 0; i < 8; ++i) x.set(i, static_cast<double>(i));
    const Array y = nn::PixelShuffle(2)(x).eval();
    CHECK(close(y, Array({1, 1, 2, 4}, {0, 2, 1, 3, 4, 6, 5, 7}), 0));
    CHECK(close(nn::PixelUnshuffle(2)(y).eval(), x, 0));
    const Array image = ramp({2, 18, 4, 5});
    CHECK(close(pixel_unshuffle(pixel_shuffle(image, 3), 3).eval(), image, 0));
    CHECK(nn::PixelShuffle(3)(image).shape() == Shape{2, 2, 12, 15});
    check_error("pixel_shuffle: x of shape [2, 18, 4, 5]", [&] { pixel_shuffle(image, 2); });
    check_error("pixel_unshuffle: height and width of x [2, 18, 4, 5]", [&] { pixel_unshuffle(image, 2); });
  }

  TEST_CASE("roll goes around the ends") {
    const Array x({2, 3}, {0, 1, 2, 3, 4, 5});
    CHECK(close(roll(x, 1, 1).eval(), Array({2, 3}, {2, 0, 1, 5, 3, 4}), 0));
    CHECK(close(roll(x, -4, -1).eval(), Array({2, 3}, {1, 2, 0, 4, 5, 3}), 0));
    CHECK(close(roll(x, 3, 0).eval(), Array({2, 3}, {3, 4, 5, 0, 1, 2}), 0));
    CHECK(close(roll(x, 6, 1).eval(), x, 0));
    check_error("roll: axis 2", [&] { roll(x, 1, 2); });
  }

  TEST_CASE("upsampling layers and what is refused") {
    const Array x = ramp({1, 2, 3, 4});
    CHECK(close(nn::Upsample(2.0, Interpolation::linear)(x).eval(),
                upsample(x, {6, 8}, Interpolation::linear).eval()));
    CHECK(nn::Upsample(Shape{5, 7}, Interpolation::cubic, true)(x).shape() == Shape{1, 2, 5, 7});
    CHECK(nn::Upsample(2.0).describe() == "Upsample(scale_factor=2, mode=nearest)");
    check_error("upsample: nearest interpolation has no corners",
                [&] { upsample(x, {2}, Interpolation::nearest, true); });
    check_error("upsample: the size [1, 2, 3] does not fit x [1, 2, 3, 4]", [&] { upsample(x, {1, 2, 3}); });
    check_error("is not positive", [&] { upsample(x, {0}); });
    check_error("upsample_by: 3 factors", [&] { upsample_by(x, {1, 2, 3}); });
    check_error("upsample_by: 1 factors", [&] { upsample_by(x, {-1}); });
    check_error("flip: axis 4", [&] { flip(x, {4}); });
  }

  TEST_CASE("no boxes: none stays") {
    const auto [keep, count] = nms(Array({0, 4}, DType::f32), Array({0}, DType::f32), 0.5f);
    CHECK(keep.shape() == Shape{0});
    CHECK(count.eval().item() == 0);
  }

  TEST_CASE("sampling and detection refuse what does not fit") {
    const Tensor x = input("x", {2, 3, 4, 5});
    check_error("grid_sample: a grid of shape [1, 4, 5, 2] does not fit x [2, 3, 4, 5]", [&] {
      grid_sample(x, input("g", {1, 4, 5, 2}));
    });
    check_error("roi_align: rois of shape [6, 4] are not [k, 5]", [&] {
      roi_align(x, input("r", {6, 4}), 2, 2);
    });
    check_error("roi_align: an output of 0 x 2", [&] { roi_align(x, input("r", {6, 5}), 0, 2); });
    check_error("nms: boxes [6, 4] and scores [5]", [] { nms(input("b", {6, 4}), input("s", {5}), 0.5f); });
  }
}

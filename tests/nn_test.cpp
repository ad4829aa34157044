#include "nn/nn.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "nn/init_blank.h"
#include "nn/safetensors.h"
#include "tests/temporary_folder.h"

using namespace stithy;

namespace {
struct Block : nn::Module {
  nn::Child<nn::Linear> up, down;
  explicit Block(int64_t size) {
    up = child("up", nn::Linear(size, 2 * size));
    down = child("down", nn::Linear(2 * size, size, false));
  }
  Tensor forward(const Tensor& x) override { return x + down(relu(up(x))); }
  std::string describe() const override { return "Block"; }
};

std::vector<std::string> names_of(const std::vector<nn::NamedVariable>& variables) {
  std::vector<std::string> names;
  for (const auto& [name, variable] : variables) names.push_back(name);
  return names;
}

struct Moments {
  double mean = 0, variance = 0, low = 1e30, high = -1e30;
};
Moments moments(const Array& values) {
  Moments m;
  const double n = static_cast<double>(values.numel());
  for (const float v : values.values<float>()) {
    m.mean += v / n;
    m.low = std::min<double>(m.low, v);
    m.high = std::max<double>(m.high, v);
  }
  for (const float v : values.values<float>()) m.variance += (v - m.mean) * (v - m.mean) / n;
  return m;
}

double largest_difference(const Array& a, const std::vector<double>& b) {
  REQUIRE(a.numel() == static_cast<int64_t>(b.size()));
  double worst = 0;
  for (int64_t i = 0; i < a.numel(); ++i)
    worst = std::max(worst, std::abs(a.at(i) - b[static_cast<size_t>(i)]));
  return worst;
}
}  // namespace

TEST_SUITE("nn") {
  TEST_CASE("names follow the tree, as PyTorch's") {
    nn::Sequential model{nn::Linear(4, 4), nn::Sequential{nn::Relu(), Block(4)}, nn::LayerNorm(4)};
    CHECK(names_of(model.named_parameters()) ==
          std::vector<std::string>{"0.weight", "0.bias", "1.1.up.weight", "1.1.up.bias", "1.1.down.weight",
                                   "2.weight", "2.bias"});
    CHECK(model.named_parameters()[2].variable.name() == "1.1.up.weight");
    CHECK(model.parameter_count() == 20 + 32 + 8 + 32 + 8);
    CHECK(model.named_buffers().empty());
    CHECK(model[0].describe() == "Linear(4, 4)");
  }

  TEST_CASE("a name that is taken or has a dot is refused") {
    struct Bad : nn::Module {
      explicit Bad(const std::string& second) {
        parameter("a", Array({2}, DType::f32));
        child(second, nn::Relu());
      }
    };
    CHECK_THROWS_AS(Bad("a"), Error);
    CHECK_THROWS_AS(Bad("a.b"), Error);
    CHECK_THROWS_AS(Bad(""), Error);
    CHECK_NOTHROW(Bad("b"));
  }

  TEST_CASE("copies share parameters; tied weights come once") {
    nn::Linear a(3, 2);
    const nn::Linear b = a;
    CHECK(a.weight == b.weight);
    struct Tied : nn::Module {
      nn::Child<nn::Embedding> embedding = child("embedding", nn::Embedding(5, 3));
      Tied() { share_parameter("output", embedding->weight); }
    };
    CHECK(names_of(Tied().named_parameters()) == std::vector<std::string>{"output"});
  }

  TEST_CASE("train and eval reach every layer, and Dropout obeys") {
    nn::Sequential model{nn::Sequential{nn::Dropout(0.5f)}};
    const Array x = nn::init::constant({64}, 1);
    model.eval();
    CHECK_FALSE(model[0].training());
    CHECK(same_bytes((model(x) + 0.0f).eval(), x));
    model.train();
    const Array y = model(x).eval();
    int zeros = 0;
    for (const float v : y.values<float>()) {
      CHECK((v == 0 || v == 2));
      zeros += v == 0;
    }
    CHECK(zeros > 10);
    CHECK(zeros < 54);
    CHECK_THROWS_AS(nn::Dropout(1), Error);
  }

  TEST_CASE("layers compute what they say") {
    nn::Linear linear(2, 3);
    linear.weight.set(Array({3, 2}, {1, 2, 3, 4, 5, 6}));
    linear.bias.set(Array({3}, {10, 20, 30}));
    CHECK(largest_difference(linear(Array({1, 2}, {1, -1})).eval(), {9, 19, 29}) == 0);
    CHECK(largest_difference(linear(Array({2}, {1, -1})).eval(), {9, 19, 29}) == 0);
    CHECK_THROWS_AS(linear(Array({1, 3}, {1, 2, 3})), Error);

    nn::Bilinear bilinear(2, 3, 2);
    bilinear.bias.set(Array({2}, {0.5f, -0.5f}));
    const Array w = bilinear.weight.value(), x1({1, 2}, {2, -3}), x2({1, 3}, {1, 0.5f, -2});
    std::vector<double> expected{0.5, -0.5};
    for (int k = 0; k < 2; ++k)
      for (int i = 0; i < 2; ++i)
        for (int j = 0; j < 3; ++j)
          expected[static_cast<size_t>(k)] += x1.at(i) * w.at(k * 6 + i * 3 + j) * x2.at(j);
    CHECK(largest_difference(bilinear.forward(x1, x2).eval(), expected) < 1e-5);

    nn::Embedding embedding(4, 2);
    embedding.weight.set(Array({4, 2}, {0, 1, 2, 3, 4, 5, 6, 7}));
    const std::vector<int32_t> rows{3, 0};
    CHECK(largest_difference(embedding(Array({2}, rows)).eval(), {6, 7, 0, 1}) == 0);

    const Array x({2, 3}, {-2, -0.5f, 0, 0.5f, 2, 7});
    CHECK(largest_difference(nn::Relu6()(x).eval(), {0, 0, 0, 0.5, 2, 6}) == 0);
    CHECK(largest_difference(nn::Hardtanh()(x).eval(), {-1, -0.5, 0, 0.5, 1, 1}) == 0);
    CHECK(largest_difference(nn::Prelu()(x).eval(), {-0.5, -0.125, 0, 0.5, 2, 7}) == 0);
    CHECK(largest_difference(nn::Softsign()(x).eval(), {-2 / 3., -1 / 3., 0, 1 / 3., 2 / 3., 7 / 8.}) < 1e-6);
    CHECK(largest_difference(nn::LogSigmoid()(x).eval(),
                             {std::log(1 / (1 + std::exp(2.))), std::log(1 / (1 + std::exp(.5))),
                              std::log(.5), std::log(1 / (1 + std::exp(-.5))),
                              std::log(1 / (1 + std::exp(-2.))), std::log(1 / (1 + std::exp(-7.)))}) < 1e-6);
    CHECK(nn::Flatten()(input("x", {5, 2, 3})).shape() == Shape{5, 6});
  }

  TEST_CASE("the default initial values are PyTorch's distributions, and depend on the seed alone") {
    nn::manual_seed(7);
    const nn::Linear first(400, 300);
    nn::manual_seed(7);
    const nn::Linear again(400, 300);
    nn::manual_seed(8);
    const nn::Linear other(400, 300);
    CHECK(same_bytes(first.weight.value(), again.weight.value()));
    CHECK_FALSE(same_bytes(first.weight.value(), other.weight.value()));
    const Moments m = moments(first.weight.value());
    CHECK(m.high <= 0.05);
    CHECK(m.high > 0.0499);
    CHECK(m.low >= -0.05);
    CHECK(m.variance == doctest::Approx(0.05 * 0.05 / 3).epsilon(0.02));
    CHECK(moments(first.bias.value()).high <= 0.05);
    CHECK(moments(nn::Embedding(300, 400).weight.value()).variance == doctest::Approx(1).epsilon(0.02));
  }

  TEST_CASE("initialisers have the stated moments") {
    const Shape shape{200, 50, 3};  // fan in 150, fan out 600
    CHECK(nn::init::fans(shape).in == 150);
    CHECK(nn::init::fans(shape).out == 600);
    const auto near = [](double value) { return doctest::Approx(value).epsilon(0.03); };
    CHECK(moments(nn::init::xavier_uniform(shape)).variance == near(2.0 / 750));
    CHECK(moments(nn::init::xavier_normal(shape, 2)).variance == near(4 * 2.0 / 750));
    CHECK(moments(nn::init::kaiming_uniform(shape)).variance == near(2.0 / 150));
    CHECK(moments(nn::init::kaiming_normal(shape, 1)).variance == near(1.0 / 150));
    CHECK(moments(nn::init::kaiming_normal(shape, 0, nn::init::Fan::out)).variance == near(2.0 / 600));
    CHECK(moments(nn::init::uniform(shape, 1, 3)).mean == near(2));
    const Moments truncated = moments(nn::init::truncated_normal(shape, 0, 1, -2, 2));
    CHECK(truncated.low >= -2);
    CHECK(truncated.high <= 2);
    CHECK(truncated.variance == near(0.7737));  // 1 - 4 phi(2) / (2 Phi(2) - 1)
    CHECK_THROWS_AS(nn::init::kaiming_normal({4}), Error);
    CHECK(nn::init::gain("tanh") == doctest::Approx(5.0 / 3));
    CHECK_THROWS_AS(nn::init::gain("swish"), Error);
  }

  TEST_CASE("while a Blank lives, initial values are zeros") {
    nn::manual_seed(7);
    {
      const nn::init::Blank blank;
      CHECK(moments(nn::Linear(40, 30).weight.value()).high == 0);
      CHECK(moments(nn::init::orthogonal({7, 7})).high == 0);
    }
    CHECK(moments(nn::Linear(40, 30).weight.value()).high > 0);
  }

  TEST_CASE("orthogonal initial values have orthonormal rows or columns") {
    for (const Shape& shape : {Shape{7, 20}, Shape{20, 7}, Shape{9, 9}}) {
      const Array w = nn::init::orthogonal(shape, 2);
      const int64_t rows = shape[0], columns = shape[1], count = std::min(rows, columns);
      for (int64_t a = 0; a < count; ++a)
        for (int64_t b = 0; b < count; ++b) {
          double dot = 0;
          for (int64_t k = 0; k < std::max(rows, columns); ++k)
            dot += rows <= columns ? w.at(a * columns + k) * w.at(b * columns + k)
                                   : w.at(k * columns + a) * w.at(k * columns + b);
          CHECK(dot == doctest::Approx(a == b ? 4 : 0).epsilon(1e-5));
        }
    }
  }

  TEST_CASE("the summary counts what is there") {
    nn::Sequential model{nn::Flatten(), nn::Linear(12, 5), nn::Relu(), Block(5)};
    const nn::Summary summary = nn::summarize(model, input("x", {8, 3, 4}));
    REQUIRE(summary.layers.size() == 5);
    CHECK(summary.layers[1].name == "1");
    CHECK(summary.layers[1].layer == "Linear(12, 5)");
    CHECK(summary.layers[1].output == Shape{8, 5});
    CHECK(summary.layers[1].parameters == 65);
    CHECK(summary.layers[1].flops >= 2 * 8 * 12 * 5);
    CHECK(summary.layers[1].flops <= 2 * 8 * 12 * 5 + 8 * 5);
    CHECK(summary.layers[3].name == "3.up");
    CHECK(summary.layers[3].output == Shape{8, 10});
    CHECK(summary.layers[0].output == Shape{8, 12});
    CHECK(summary.parameters == 65 + 60 + 50);
    CHECK(summary.parameter_bytes == 4 * 175);
    CHECK(summary.table().find("3.down") != std::string::npos);
    CHECK(nn::format_count(421642) == "421,642");
    CHECK(nn::format_count(-1000) == "-1,000");
    CHECK(nn::format_count(999) == "999");
    CHECK(nn::format_flops(1.5e9) == "1.50 G");
  }

  TEST_CASE("weights load by name; a file that does not fit changes nothing and says why") {
    const TemporaryFolder folder;
    const std::string path = folder / "weights.safetensors";
    nn::Sequential a{nn::Linear(3, 2), nn::Relu(), nn::Linear(2, 2)},
        b{nn::Linear(3, 2), nn::Relu(), nn::Linear(2, 2)};
    nn::save_weights(path, a);
    CHECK(nn::load_weights(path, b).size() == 4);
    CHECK(same_bytes(a.named_parameters()[2].variable.value(), b.named_parameters()[2].variable.value()));

    nn::Sequential c{nn::Linear(3, 2), nn::Relu(), nn::Linear(2, 3)}, d{nn::Linear(3, 2)};
    const Array before = c.named_parameters()[0].variable.value();
    try {
      nn::load_weights(path, c);
      FAIL("loaded another shape");
    } catch (const Error& error) {
      CHECK(error.message().find("2.weight is f32 [2, 2] in the file and f32 [3, 2] here") !=
            std::string::npos);
    }
    CHECK(same_bytes(c.named_parameters()[0].variable.value(), before));
    CHECK(nn::load_weights(path, d).size() == 2);
    try {
      nn::load_checkpoint(path, d.named_parameters());
      FAIL("took unexpected tensors");
    } catch (const Error& error) {
      CHECK(error.message().find("unexpected: 2.bias, 2.weight") != std::string::npos);
    }
  }
}

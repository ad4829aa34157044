// Against PyTorch: tests/golden/make_golden.py wrote the values, in double precision.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "engine/core/error.h"
#include "engine/graph/program.h"
#include "engine/ops.h"
#include "engine/ops_optim.h"
#include "engine/ops_sequence.h"
#include "engine/ops_vision.h"
#include "nn/norm.h"

using namespace stithy;
using nlohmann::json;

namespace {

std::vector<json> cases_of(const std::string& name) {
  std::ifstream file(std::string(STITHY_SOURCE_DIR) + "/tests/golden/" + name + ".json");
  REQUIRE(file.is_open());
  return json::parse(file).at("cases");
}

Array array_of(const json& x) {
  Shape shape;
  for (const json& dim : x.at("shape")) shape.push_back(dim.get<int64_t>());
  const json& values = x.at("values");
  Array array(shape, !values.empty() && values[0].is_number_integer() ? DType::i32 : DType::f32);
  for (size_t i = 0; i < values.size(); ++i) array.set(static_cast<int64_t>(i), values[i].get<double>());
  return array;
}

void compare(const std::string& what, const Array& device, const json& expected, double tolerance) {
  REQUIRE(device.numel() == static_cast<int64_t>(expected.size()));
  double size = 1;
  for (const json& value : expected) size = std::max(size, std::abs(value.get<double>()));
  for (int64_t i = 0; i < device.numel(); ++i) {
    const double value = expected[static_cast<size_t>(i)].get<double>();
    if (!(std::abs(device.at(i) - value) <= tolerance * size))
      FAIL_CHECK(what, " [", i, "]: ", device.at(i), ", PyTorch has ", value);
  }
}

// Builds y from the case's inputs in the order of `names`, and compares it and the gradients.
template <class Build>
void check(const json& test, const std::vector<std::string>& names, Build build, double tolerance = 3e-6) {
  std::vector<Tensor> xs;
  for (const std::string& name : names) xs.emplace_back(array_of(test.at("inputs").at(name)));
  const Tensor y = build(xs);
  std::vector<Tensor> wanted, fetches{y};
  std::vector<std::string> wanted_names;
  for (size_t i = 0; i < names.size(); ++i)
    if (test.at("gradients").contains(names[i])) {
      wanted.push_back(xs[i]);
      wanted_names.push_back(names[i]);
    }
  for (const Tensor& dx : gradients(y, wanted, Unreached::error, Tensor(array_of(test.at("dy")))))
    fetches.push_back(dx);
  Program program(fetches);
  program.submit();
  INFO(test.at("options").dump());
  compare("output", program.read(0), test.at("y").at("values"), tolerance);
  for (size_t i = 0; i < wanted.size(); ++i)
    compare("gradient of " + wanted_names[i], program.read(i + 1),
            test.at("gradients").at(wanted_names[i]).at("values"), 3 * tolerance);
}

}  // namespace

TEST_SUITE_BEGIN("golden");

TEST_CASE("cross_entropy") {
  for (const json& test : cases_of("cross_entropy")) {
    const json& options = test.at("options");
    const std::string reduction = options.at("reduction");
    CrossEntropyOptions o{
        .label_smoothing = options.at("smoothing").get<float>(),
        .ignore_index = options.at("ignore_index").get<int32_t>(),
        .class_weights = test.contains("weights") ? Tensor(array_of(test.at("weights"))) : Tensor(),
        .reduction = reduction == "mean"  ? CrossEntropyOptions::Reduction::mean
                     : reduction == "sum" ? CrossEntropyOptions::Reduction::sum
                                          : CrossEntropyOptions::Reduction::none};
    check(test, {"logits", "targets"}, [&](const auto& xs) { return cross_entropy(xs[0], xs[1], o); });
  }
}

TEST_CASE("layernorm") {
  for (const json& test : cases_of("layernorm"))
    check(test, {"x", "weight", "bias"}, [&](const auto& xs) {
      return layernorm(xs[0], xs[1], xs[2], test.at("options").at("epsilon").get<float>());
    });
}

template <class Layer>
void check_batchnorm(const json& test) {
  const json &options = test.at("options"), &inputs = test.at("inputs");
  const Shape channels = array_of(inputs.at("weight")).shape();
  Layer layer(channels[0], {.epsilon = options.at("epsilon").get<float>(),
                            .momentum = options.at("momentum").is_null()
                                            ? std::nullopt
                                            : std::optional(options.at("momentum").get<float>())});
  const auto buffers = layer.named_buffers();
  REQUIRE(buffers.size() == 3);
  for (const auto& [name, variable] : buffers) Variable(variable).set(array_of(test.at("before").at(name)));
  layer.weight.set(array_of(inputs.at("weight")));
  layer.bias.set(array_of(inputs.at("bias")));
  const Tensor x = array_of(inputs.at("x")), y = layer(x);
  std::vector<Tensor> fetches{y};
  for (const Tensor& dx : gradients(y, std::vector<Tensor>{x, layer.weight, layer.bias}, Unreached::error,
                                    Tensor(array_of(test.at("dy")))))
    fetches.push_back(dx);
  Program program(fetches, nn::take_updates());
  program.submit();
  INFO(options.dump());
  compare("output", program.read(0), test.at("y").at("values"), 3e-6);
  const char* names[] = {"x", "weight", "bias"};
  for (size_t i = 0; i < 3; ++i)
    compare(cat("gradient of ", names[i]), program.read(i + 1),
            test.at("gradients").at(names[i]).at("values"), 1e-5);
  for (const auto& [name, variable] : buffers)
    compare(name, variable.value(), test.at("after").at(name).at("values"), 1e-6);
  layer.eval();
  compare("in evaluation", layer(x).eval(), test.at("eval").at("values"), 3e-6);
  CHECK(nn::take_updates().empty());
}

TEST_CASE("batchnorm, with its running statistics") {
  for (const json& test : cases_of("batchnorm"))
    if (test.at("y").at("shape").size() == 4)
      check_batchnorm<nn::BatchNorm2d>(test);
    else
      check_batchnorm<nn::BatchNorm1d>(test);
}

TEST_CASE("groupnorm") {
  for (const json& test : cases_of("groupnorm"))
    check(test, {"x", "weight", "bias"}, [&](const auto& xs) {
      return groupnorm(xs[0], test.at("options").at("groups").get<int64_t>(), xs[1], xs[2]);
    });
}

Shape shape_of(const json& values) {
  Shape shape;
  for (const json& value : values) shape.push_back(value.get<int64_t>());
  return shape;
}

TEST_CASE("pooling") {
  for (const json& test : cases_of("maxpool")) {
    const json& o = test.at("options");
    const MaxPoolOptions options{.stride = shape_of(o.at("stride")),
                                 .padding = shape_of(o.at("padding")),
                                 .dilation = shape_of(o.at("dilation")),
                                 .ceil_mode = o.at("ceil").get<bool>()};
    const auto pool = [&](const Tensor& x) { return maxpool(x, shape_of(o.at("kernel")), options); };
    check(test, {"x"}, [&](const auto& xs) { return pool(xs[0]).y; });
    compare("index", pool(array_of(test.at("inputs").at("x"))).index.eval(), test.at("index").at("values"),
            0);
  }
  for (const json& test : cases_of("avgpool")) {
    const json& o = test.at("options");
    check(test, {"x"}, [&](const auto& xs) {
      return avgpool(xs[0], shape_of(o.at("kernel")),
                     {.stride = shape_of(o.at("stride")),
                      .padding = shape_of(o.at("padding")),
                      .ceil_mode = o.at("ceil").get<bool>(),
                      .count_include_pad = o.at("include").get<bool>(),
                      .divisor = o.at("divisor").get<int64_t>()});
    });
  }
  for (const json& test : cases_of("adaptive_avgpool"))
    check(test, {"x"},
          [&](const auto& xs) { return adaptive_avgpool(xs[0], shape_of(test.at("options").at("size"))); });
  for (const json& test : cases_of("adaptive_maxpool"))
    check(test, {"x"},
          [&](const auto& xs) { return adaptive_maxpool(xs[0], shape_of(test.at("options").at("size"))).y; });
  for (const json& test : cases_of("lppool")) {
    const json& o = test.at("options");
    check(test, {"x"}, [&](const auto& xs) {
      return lppool(xs[0], o.at("p").get<float>(), shape_of(o.at("kernel")), shape_of(o.at("stride")),
                    o.at("ceil").get<bool>());
    });
  }
}

TEST_CASE("convolution and its transpose") {
  for (const std::string name : {"conv", "conv_transpose"})
    for (const json& test : cases_of(name)) {
      const json& o = test.at("options");
      const auto list = [&](const char* option, int64_t missing) {
        if (!o.contains(option) || o.at(option).is_string()) return Shape{missing};
        return o.at(option).is_number() ? Shape{o.at(option).get<int64_t>()} : shape_of(o.at(option));
      };
      const ConvOptions options{.stride = list("stride", 1),
                                .padding = list("padding", 0),
                                .dilation = list("dilation", 1),
                                .groups = o.value("groups", int64_t{1}),
                                .same = o.contains("padding") && o.at("padding").is_string()};
      check(test, {"x", "weight"}, [&](const auto& xs) {
        return name == "conv" ? conv(xs[0], xs[1], options)
                              : conv_transpose(xs[0], xs[1], options, list("output_padding", 0));
      });
    }
}

TEST_CASE("interpolation") {
  for (const json& test : cases_of("interpolate")) {
    const json& o = test.at("options");
    const std::string name = o.at("mode");
    const Interpolation mode = name == "nearest"   ? Interpolation::nearest
                               : name == "bicubic" ? Interpolation::cubic
                                                   : Interpolation::linear;
    const bool align_corners = o.at("align_corners").get<bool>();
    check(test, {"x"}, [&](const auto& xs) {
      return o.contains("size")
                 ? upsample(xs[0], shape_of(o.at("size")), mode, align_corners)
                 : upsample_by(xs[0], {o.at("scale_factor").get<double>()}, mode, align_corners);
    });
  }
}

TEST_CASE("grid_sample") {
  for (const json& test : cases_of("grid_sample")) {
    const json& o = test.at("options");
    check(
        test, {"x", "grid"},
        [&](const auto& xs) {
          return grid_sample(xs[0], xs[1],
                             {.nearest = o.at("mode") == "nearest",
                              .border = o.at("padding") == "border",
                              .align_corners = o.at("align_corners").get<bool>()});
        },
        5e-6);
  }
}

TEST_CASE("local_response_norm") {
  for (const json& test : cases_of("local_response_norm")) {
    const json& o = test.at("options");
    check(test, {"x"}, [&](const auto& xs) {
      return local_response_norm(xs[0], o.at("size").get<int64_t>(), o.at("alpha").get<float>(),
                                 o.at("beta").get<float>(), o.at("k").get<float>());
    });
  }
}

TEST_CASE("softmax and log_softmax") {
  for (const json& test : cases_of("softmax"))
    check(test, {"x"},
          [&](const auto& xs) { return softmax(xs[0], test.at("options").at("axis").get<int64_t>()); });
  for (const json& test : cases_of("log_softmax"))
    check(test, {"x"},
          [&](const auto& xs) { return log_softmax(xs[0], test.at("options").at("axis").get<int64_t>()); });
}

TEST_CASE("attention") {
  for (const json& test : cases_of("attention")) {
    const AttentionOptions o{.causal = test.at("options").at("causal").get<bool>(),
                             .scale = test.at("options").at("scale").get<float>()};
    std::vector<std::string> names{"q", "k", "v"};
    if (test.at("inputs").contains("mask")) names.emplace_back("mask");
    check(test, names, [&](const auto& xs) {
      return attention(xs[0], xs[1], xs[2], o, xs.size() > 3 ? xs[3] : Tensor());
    });
  }
}

TEST_CASE("gelu") {
  for (const json& test : cases_of("gelu"))
    check(test, {"x"}, [&](const auto& xs) {
      return gelu(xs[0], test.at("options").at("form") == "tanh" ? Gelu::tanh : Gelu::exact);
    });
}

TEST_CASE("embedding") {
  for (const json& test : cases_of("embedding"))
    check(test, {"weight", "index"}, [](const auto& xs) { return embedding(xs[0], xs[1]); });
}

TEST_CASE("optimizers") {
  for (const json& test : cases_of("optimizers")) {
    const json& options = test.at("options");
    const std::string rule = test.at("rule");
    const auto number = [&](const char* name, double otherwise) { return options.value(name, otherwise); };
    const auto beta = [&](size_t i, double otherwise) {
      return options.contains("betas") ? options["betas"][i].get<double>() : otherwise;
    };
    const Array start = array_of(test.at("start")), zero(start.shape(), DType::f32);
    const Variable w("w", start), a("a", zero), b("b", zero), c("c", zero),
        product("product", Array::scalar(1)), step("step", Array::scalar(0));
    const Tensor dw = input("dw", start.shape());
    const UpdateScalars scalars{Tensor(test.at("lr").get<float>()), assign(step, step + 1.0f), {}};
    const bool decoupled =
        rule == "adamw" || rule == "lion" || options.value("decoupled_weight_decay", false);
    const Penalties penalties{.l2 = decoupled ? 0 : number("weight_decay", 0),
                              .decay = decoupled ? number("weight_decay", 0) : 0};
    const double momentum = number("momentum", 0);
    const bool centered = options.value("centered", false);
    Tensor updated;
    if (rule == "sgd") {
      updated = sgd_update(w, dw, a, scalars,
                           {.momentum = momentum,
                            .dampening = number("dampening", 0),
                            .nesterov = options.value("nesterov", false),
                            .penalties = penalties});
    } else if (rule == "rmsprop") {
      updated = rmsprop_update(w, dw, a, b, c, scalars,
                               {.alpha = number("alpha", 0.99),
                                .epsilon = number("eps", 1e-8),
                                .momentum = momentum,
                                .centered = centered,
                                .penalties = penalties});
    } else if (rule == "adagrad") {
      updated =
          adagrad_update(w, dw, a, scalars, {.lr_decay = number("lr_decay", 0), .penalties = penalties});
    } else if (rule == "adam" || rule == "adamw") {
      updated = adam_update(w, dw, a, b, scalars,
                            {.beta1 = beta(0, 0.9), .beta2 = beta(1, 0.999), .penalties = penalties},
                            options.value("amsgrad", false) ? c : Variable());
    } else if (rule == "nadam") {
      const NadamOptions o{.momentum_decay = number("momentum_decay", 0.004), .penalties = penalties};
      updated = nadam_update(w, dw, a, b, update_mu_product(product, scalars, o), scalars, o);
    } else {
      REQUIRE(rule == "lion");
      updated = lion_update(w, dw, a, scalars, {.penalties = penalties});
    }
    Program program({updated}, {});
    INFO(rule, " ", options.dump());
    for (size_t t = 0; t < test.at("dw").size(); ++t) {
      const Array gradient =
          array_of({{"shape", test.at("start").at("shape")}, {"values", test.at("dw")[t]}});
      const Feed feeds[] = {{dw, &gradient}};
      program.submit(feeds);
      compare(cat("step ", t + 1), program.read(0), test.at("w")[t], 3e-6);
    }
  }
}

TEST_SUITE_END();

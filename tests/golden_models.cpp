#include "tests/golden_models.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "engine/core/error.h"
#include "engine/graph/program.h"
#include "engine/ops.h"

namespace stithy::testing {

using nlohmann::json;

Run weighted(const Tensor& output) { return {output, sum(output * Tensor(values("r", output.shape())))}; }

namespace {

json golden(const std::string& family, const std::string& name) {
  const std::string path = std::string(STITHY_SOURCE_DIR) + "/tests/golden/models_" + family + ".json";
  std::ifstream file(path);
  if (!file.is_open()) throw Error(path, "is missing");
  const json all = json::parse(file);
  for (const json& model : all.at("models"))
    if (model.at("name") == name) return model;
  throw Error(path, cat("has no model ", name));
}

// Collects what differs.
class Differences {
 public:
  explicit Differences(std::string where) : where_(std::move(where)) {}
  template <class... Parts>
  void add(const Parts&... parts) {
    text_ += cat(where_, ": ", parts..., "\n");
  }
  // The elements `index` of an array.
  void compare(const std::string& what, const Array& device, const json& index, const json& expected,
               double tolerance) {
    double size = 0, worst = 0;
    for (const float value : device.values<float>()) size = std::max<double>(size, std::abs(value));
    for (size_t i = 0; i < expected.size(); ++i) {
      const double error = std::abs(device.at(index[i].get<int64_t>()) - expected[i].get<double>());
      if (std::isnan(error) || error > worst) worst = error;  // once NaN, it stays
    }
    if (!(worst <= tolerance * size)) add(what, " differs by ", worst, " where the largest is ", size);
  }
  // Elements at equal distances.
  void compare(const std::string& what, const Array& device, const json& expected, double tolerance) {
    const auto count = static_cast<int64_t>(expected.size());
    const int64_t step = device.numel() / count;
    json index;
    for (int64_t i = 0; i < count; ++i) index.push_back(i * step + step / 2);
    compare(what, device, index, expected, tolerance);
  }
  void compare(const std::string& what, double value, double expected, double error) {
    if (!(std::abs(value - expected) <= error)) add(what, " is ", value, " instead of ", expected);
  }
  const std::string& text() const { return text_; }

 private:
  std::string where_, text_;
};

std::string check_names(const std::string& where, const nn::Module& model, const json& test) {
  Differences differences(where);
  if (model.parameter_count() != test.at("count").get<int64_t>())
    differences.add(model.parameter_count(), " parameters instead of ", test.at("count").get<int64_t>());
  if (!test.contains("state")) return differences.text();
  std::vector<std::string> names;
  for (const auto& [name, variable] : state_of(model)) {
    std::string shape = cat(variable.shape());
    std::erase_if(shape, [](char c) { return c == '[' || c == ']' || c == ' '; });
    names.push_back(name + " " + shape);
  }
  // PyTorch lists BatchNorm's buffers as the modules stand, which is our order too.
  const auto expected = test.at("state").get<std::vector<std::string>>();
  for (size_t i = 0; i < std::max(names.size(), expected.size()); ++i) {
    const std::string here = i < names.size() ? names[i] : "nothing";
    const std::string there = i < expected.size() ? expected[i] : "nothing";
    if (here != there) differences.add("name ", i, " is ", here, " instead of ", there);
  }
  return differences.text();
}

std::string check_mode(const std::string& where, nn::Module& model, const json& test, const Array& x,
                       bool training, const Tolerance& tolerance, const RunModel& run) {
  const json& expected = test.at(training ? "train" : "eval");
  Differences differences(where + (training ? ", training" : ", evaluation"));
  model.train(training);
  const auto [output, loss] = run ? run(model, x) : weighted(model(Tensor(x)));
  std::vector<Tensor> fetches{output, loss}, parameters;
  const json samples = expected.value("gradients", json::array());
  for (const json& gradient : samples)
    for (const auto& [name, variable] : model.named_parameters())
      if (gradient.at("name").get<std::string>() == name) parameters.push_back(variable);
  if (parameters.size() != samples.size()) {
    differences.add("parameters are missing");
    return differences.text();
  }
  for (const Tensor& dw : gradients(loss, parameters)) fetches.push_back(dw);
  const std::vector<Tensor> updates = nn::take_updates();
  if (updates.empty() != (!training || model.named_buffers().empty()))
    differences.add(updates.size(), " updates of buffers");
  // A fused kernel is a kernel of its own for each layer, which CPU drivers take seconds to compile; the
  // small models, whose gradients in evaluation are looked at too, have them.
  Program program(fetches, updates, {.fuse = training || !samples.empty()});
  program.submit();
  differences.compare("output", program.read(0), expected.at("output"), tolerance.output);
  // The terms of a weighted sum cancel in part, so its error goes with their sizes.
  const double value = expected.at("loss");
  double size = 0;
  for (const json& y : expected.at("output")) size += std::abs(y.get<double>());
  size *= static_cast<double>(output.numel()) / static_cast<double>(expected.at("output").size());
  differences.compare("loss", program.read(1).item(), value,
                      tolerance.output * std::max(size, std::abs(value)));
  for (size_t i = 0; i < parameters.size(); ++i) {
    const json& gradient = samples[i];
    const Array dw = program.read(i + 2);
    double squares = 0;
    for (const float v : dw.values<float>()) squares += static_cast<double>(v) * v;
    const std::string name = gradient.at("name");
    differences.compare("gradient of " + name, dw, gradient.at("index"), gradient.at("values"),
                        tolerance.gradient);
    const double norm = gradient.at("norm");
    differences.compare("norm of the gradient of " + name, std::sqrt(squares), norm,
                        tolerance.gradient * (1 + norm));
  }
  return differences.text();
}

}  // namespace

std::string check_names(const std::string& family, const std::string& name, const nn::Module& model) {
  return check_names(family + ", " + name, model, golden(family, name));
}

std::string check_model(const std::string& family, const std::string& name, nn::Module& model,
                        const Tolerance& tolerance, const RunModel& run) {
  const std::string where = family + ", " + name;
  const json test = golden(family, name);
  std::string text = check_names(where, model, test);
  Shape shape;
  for (const json& size : test.at("input")) shape.push_back(size.get<int64_t>());
  const Array x = values("x", shape);
  fill(model);
  text += check_mode(where, model, test, x, true, tolerance, run);
  if (test.contains("running_var")) {
    Differences differences(where);
    for (const auto& [buffer, variable] : model.named_buffers())
      if (buffer == test.at("running_var").at("name").get<std::string>())
        differences.compare(buffer, variable.value(), test.at("running_var").at("values"), tolerance.output);
    text += differences.text();
  }
  fill(model);
  return text + check_mode(where, model, test, x, false, tolerance, run);
}

}  // namespace stithy::testing

// Optimizers through the nn interface: trajectories of a small regression against double precision.
#include "nn/optim/optimizer.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>

#include "engine/core/error.h"
#include "engine/graph/autograd.h"
#include "engine/graph/device.h"
#include "engine/graph/op.h"
#include "engine/graph/program.h"
#include "engine/ops.h"
#include "nn/layers.h"
#include "nn/safetensors.h"
#include "nn/trainer.h"
#include "tests/temporary_folder.h"

using namespace stithy;

namespace {
using Doubles = std::vector<double>;

// Mean squared error of y = x w^T + b; parameters are w [1, 3], then b [1].
constexpr size_t kRows = 4, kInputs = 3, kParameters = kInputs + 1;
const Array kX({kRows, kInputs}, {1, 2, -1, 0.5f, -1, 3, -2, 1, 0.5f, 1.5f, 0, -1});
const Array kY({kRows, 1}, {1, -2, 3, 0.5f});
const Doubles kStart{0.3, -0.2, 0.1, 0.05};

Doubles gradient(const Doubles& p, size_t first = 0, size_t rows = kRows) {
  Doubles g(kParameters);
  for (size_t r = first; r < first + rows; ++r) {
    double error = p[kInputs] - kY.at(static_cast<int64_t>(r));
    for (size_t i = 0; i < kInputs; ++i) error += p[i] * kX.at(static_cast<int64_t>(r * kInputs + i));
    for (size_t i = 0; i < kInputs; ++i)
      g[i] += 2 * error * kX.at(static_cast<int64_t>(r * kInputs + i)) / static_cast<double>(rows);
    g[kInputs] += 2 * error / static_cast<double>(rows);
  }
  return g;
}

nn::Linear start() {
  nn::Linear model(kInputs, 1);
  model.weight.set(Array({1, 3}, {0.3f, -0.2f, 0.1f}));
  model.bias.set(Array({1}, {0.05f}));
  return model;
}

// One step of a single number: (w, g, state, t) -> w. State starts at zero.
struct State {
  double a = 0, b = 0, c = 0, mu = 1;
};
using Rule = std::function<double(double w, double g, State& s, int t)>;

void check_close(const nn::Linear& model, const Doubles& p) {
  for (size_t i = 0; i < kInputs; ++i)
    CHECK(model.weight.value().at(static_cast<int64_t>(i)) == doctest::Approx(p[i]).epsilon(2e-5).scale(0.1));
  CHECK(model.bias.value().at(0) == doctest::Approx(p[kInputs]).epsilon(2e-5).scale(0.1));
}

void check_trajectory(const nn::Optimizer& optimizer, const Rule& rule) {
  nn::Linear model = start();
  nn::Trainer trainer(model, nn::Mse{}, optimizer);
  Doubles p = kStart;
  std::vector<State> states(kParameters);
  for (int t = 1; t <= 12; ++t) {
    trainer.step({kX, kY});
    const Doubles g = gradient(p);
    for (size_t i = 0; i < kParameters; ++i) p[i] = rule(p[i], g[i], states[i], t);
    CAPTURE(t);
    check_close(model, p);
  }
}

double sign(double x) { return x > 0 ? 1 : x < 0 ? -1 : 0; }
}  // namespace

TEST_SUITE("optimizer") {
  TEST_CASE("sgd") {
    check_trajectory(nn::Sgd({.lr = 0.05f}), [](double w, double g, State&, int) { return w - 0.05 * g; });
    check_trajectory(nn::Sgd({.lr = 0.05f, .momentum = 0.9f, .dampening = 0.1f, .weight_decay = 0.01f}),
                     [](double w, double g, State& s, int t) {
                       g += 0.01 * w;
                       s.a = t == 1 ? g : 0.9 * s.a + 0.9 * g;
                       return w - 0.05 * s.a;
                     });
    check_trajectory(nn::Sgd({.lr = 0.05f, .momentum = 0.8f, .nesterov = true, .l1 = 0.02f}),
                     [](double w, double g, State& s, int t) {
                       g += 0.02 * sign(w);
                       s.a = t == 1 ? g : 0.8 * s.a + g;
                       return w - 0.05 * (g + 0.8 * s.a);
                     });
  }

  TEST_CASE("rmsprop") {
    check_trajectory(nn::Rmsprop({.lr = 0.02f, .alpha = 0.9f}), [](double w, double g, State& s, int) {
      s.a = 0.9 * s.a + 0.1 * g * g;
      return w - 0.02 * g / (std::sqrt(s.a) + 1e-8);
    });
    check_trajectory(nn::Rmsprop({.lr = 0.02f, .alpha = 0.9f, .momentum = 0.5f, .centered = true}),
                     [](double w, double g, State& s, int) {
                       s.a = 0.9 * s.a + 0.1 * g * g;
                       s.b = 0.9 * s.b + 0.1 * g;
                       s.c = 0.5 * s.c + g / (std::sqrt(s.a - s.b * s.b) + 1e-8);
                       return w - 0.02 * s.c;
                     });
  }

  TEST_CASE("adagrad") {
    nn::Adagrad optimizer({.lr = 0.1f, .lr_decay = 0.05f, .initial_accumulator = 0.5f});
    check_trajectory(optimizer, [](double w, double g, State& s, int t) {
      s.a += (t == 1 ? 0.5 : 0) + g * g;
      return w - 0.1 / (1 + (t - 1) * 0.05) * g / (std::sqrt(s.a) + 1e-10);
    });
  }

  TEST_CASE("adam, amsgrad, adamw") {
    const auto adam = [](double l2, double decay, bool amsgrad) {
      return [=](double w, double g, State& s, int t) {
        g += l2 * w;
        w *= 1 - 0.05 * decay;
        s.a = 0.9 * s.a + 0.1 * g;
        s.b = 0.95 * s.b + 0.05 * g * g;
        s.c = std::max(s.c, s.b);
        const double v = (amsgrad ? s.c : s.b) / (1 - std::pow(0.95, t));
        return w - 0.05 * s.a / (1 - std::pow(0.9, t)) / (std::sqrt(v) + 1e-8);
      };
    };
    check_trajectory(nn::Adam({.lr = 0.05f, .beta2 = 0.95f}), adam(0, 0, false));
    check_trajectory(nn::Adam({.lr = 0.05f, .beta2 = 0.95f, .amsgrad = true, .weight_decay = 0.1f}),
                     adam(0.1, 0, true));
    check_trajectory(nn::AdamW({.lr = 0.05f, .beta2 = 0.95f, .weight_decay = 0.2f}), adam(0, 0.2, false));
  }

  TEST_CASE("nadam") {
    check_trajectory(nn::Nadam({.lr = 0.02f}), [](double w, double g, State& s, int t) {
      const double mu = 0.9 * (1 - 0.5 * std::pow(0.96, t * 0.004));
      const double next = 0.9 * (1 - 0.5 * std::pow(0.96, (t + 1) * 0.004));
      s.mu *= mu;
      s.a = 0.9 * s.a + 0.1 * g;
      s.b = 0.999 * s.b + 0.001 * g * g;
      const double root = std::sqrt(s.b / (1 - std::pow(0.999, t))) + 1e-8;
      return w - 0.02 * (1 - mu) / (1 - s.mu) * g / root - 0.02 * next / (1 - s.mu * next) * s.a / root;
    });
  }

  TEST_CASE("lion") {
    check_trajectory(nn::Lion({.lr = 0.01f, .weight_decay = 0.1f}), [](double w, double g, State& s, int) {
      const double c = 0.9 * s.a + 0.1 * g;
      s.a = 0.99 * s.a + 0.01 * g;
      return w * (1 - 0.01 * 0.1) - 0.01 * sign(c);
    });
  }

  TEST_CASE("groups have a learning rate and decay of their own; frozen parameters stay") {
    nn::Linear model = start();
    nn::Sgd optimizer({.lr = 0.05f, .weight_decay = 0.1f});
    optimizer.group_vectors({.lr_scale = 0.5f, .weight_decay = 0.0f});
    nn::Trainer trainer(model, nn::Mse{}, optimizer);
    Doubles p = kStart;
    for (int t = 0; t < 5; ++t) {
      trainer.step({kX, kY});
      const Doubles g = gradient(p);
      for (size_t i = 0; i < kInputs; ++i) p[i] -= 0.05 * (g[i] + 0.1 * p[i]);
      p[kInputs] -= 0.025 * g[kInputs];
    }
    check_close(model, p);

    nn::Linear frozen = start();
    nn::Adam adam;
    adam.group("wei*", {.trainable = false});
    nn::Trainer part(frozen, nn::Mse{}, adam);
    CHECK(part.optimizer().trained().size() == 1);
    part.step({kX, kY});
    CHECK(frozen.weight.value().at(0) == 0.3f);
    CHECK(frozen.bias.value().at(0) != 0.05f);

    nn::Adam wrong;
    wrong.group("*.embedding", {});
    CHECK_THROWS_AS(nn::Trainer(frozen, nn::Mse{}, wrong), Error);
    CHECK_THROWS_AS(nn::Sgd({.lr = -1}), Error);
  }

  TEST_CASE("accumulated micro-batches make the update of the whole batch") {
    nn::Linear model = start();
    nn::Trainer trainer(model, nn::Mse{}, nn::Sgd({.lr = 0.05f, .momentum = 0.9f}), {.accumulate = 2});
    Doubles p = kStart, m(kParameters);
    for (int t = 0; t < 4; ++t) {
      trainer.step({kX.rows(0, 2), kY.rows(0, 2)});
      CHECK(trainer.steps() == t);
      CHECK(std::isnan(trainer.metrics().grad_norm));
      trainer.step({kX.rows(2, 4), kY.rows(2, 4)});
      CHECK(trainer.steps() == t + 1);
      const Doubles g = gradient(p);
      for (size_t i = 0; i < kParameters; ++i) p[i] -= 0.05 * (m[i] = 0.9 * m[i] + g[i]);
      check_close(model, p);
    }
  }

  TEST_CASE("clipping by value and by global norm") {
    const Doubles g = gradient(kStart);
    double norm = 0;
    for (const double v : g) norm += v * v;
    norm = std::sqrt(norm);
    for (const double limit : {0.5, 100.0}) {
      nn::Linear model = start();
      nn::Trainer trainer(model, nn::Mse{}, nn::Sgd({.lr = 0.1f}), {.clip_norm = static_cast<float>(limit)});
      trainer.step({kX, kY});
      CHECK(trainer.metrics().grad_norm == doctest::Approx(norm).epsilon(1e-5));
      Doubles p = kStart;
      for (size_t i = 0; i < kParameters; ++i) p[i] -= 0.1 * g[i] * std::min(1.0, limit / norm);
      check_close(model, p);
    }
    nn::Linear model = start();
    nn::Trainer trainer(model, nn::Mse{}, nn::Sgd({.lr = 0.1f}), {.clip_value = 0.3f});
    trainer.step({kX, kY});
    Doubles p = kStart;
    for (size_t i = 0; i < kParameters; ++i) p[i] -= 0.1 * std::clamp(g[i], -0.3, 0.3);
    check_close(model, p);
  }

  TEST_CASE("a gradient that is not finite skips the step, state and count included") {
    nn::Linear model = start();
    nn::Trainer trainer(model, nn::Mse{}, nn::Adam({.lr = 0.1f}));
    Array bad = kX;
    bad.set(0, std::nan(""));
    trainer.step({bad, kY});
    CHECK(trainer.metrics().skipped);
    check_close(model, kStart);
    nn::Linear other = start();
    nn::Trainer clean(other, nn::Mse{}, nn::Adam({.lr = 0.1f}));
    trainer.step({kX, kY});
    clean.step({kX, kY});
    CHECK_FALSE(trainer.metrics().skipped);
    CHECK(same_bytes(model.weight.value(), other.weight.value()));
  }

  TEST_CASE("the schedule's factor multiplies the rate") {
    nn::Linear model = start();
    nn::Trainer trainer(model, nn::Mse{}, nn::Sgd({.lr = 0.1f}),
                        {.schedule = nn::schedule::exponential(0.5)});
    Doubles p = kStart;
    for (int t = 0; t < 3; ++t) {
      CHECK(trainer.lr() == doctest::Approx(0.1 * std::pow(0.5, t)));
      trainer.step({kX, kY});
      const Doubles g = gradient(p);
      for (size_t i = 0; i < kParameters; ++i) p[i] -= 0.1 * std::pow(0.5, t) * g[i];
    }
    check_close(model, p);
  }

  TEST_CASE("a step is one update and one norm, and packs the gradients without a copy") {
    nn::Sequential model(nn::Linear(20, 30), nn::Tanh(), nn::Linear(30, 3));
    nn::Trainer trainer(model, nn::Mse{}, nn::AdamW(), {.clip_norm = 1});
    const std::vector<Array> batch{Array({8, 20}, DType::f32), Array({8, 3}, DType::f32)};
    const Plan& plan = trainer.plan(batch);
    std::map<std::string, int> ops, kernels;
    for (const PlannedDispatch& dispatch : plan.dispatches) {
      if (dispatch.node->phase != Phase::optimizer) continue;
      ++ops[std::string(dispatch.node->op->name)];
      if (dispatch.node->op->name == "pack") ++kernels[std::string(dispatch.call.kernel->name)];
    }
    CHECK(ops["adam_update"] == 1);
    CHECK(ops["sum"] == 1);
    CHECK(kernels == std::map<std::string, int>{{"zero_gaps", 1}});
    trainer.step(batch);
    CHECK(trainer.plan(batch).new_variable_bytes > 0);
  }

  TEST_CASE("packed gradients take the memory of the gradients, not that of a copy") {
    nn::Sequential model(nn::Linear(20, 30), nn::Tanh(), nn::Linear(30, 3));
    const Tensor x = input("x", {64, 20}), y = input("y", {64, 3});
    std::vector<Tensor> parameters;
    for (const auto& [name, variable] : model.named_parameters()) parameters.push_back(variable);
    const std::vector<Tensor> dws = gradients(nn::Mse{}(model(x), y), parameters);
    const Plan apart = make_plan(dws, {}, {}, default_device_info());
    const Plan packed = make_plan({pack(dws)}, {}, {}, default_device_info());
    // The whole is alive from its first piece on, so it takes more than pieces apart, but less than a copy
    // would.
    uint64_t copied = 0;
    for (const Tensor& dw : dws) copied += aligned(static_cast<uint64_t>(dw.numel()) * 4);
    CHECK(packed.arena_bytes < apart.arena_bytes + copied);
  }

  TEST_CASE("the plan of a training step is what the trainer allocates") {
    const uint64_t before = device_allocated_bytes();
    nn::Sequential model(nn::Linear(300, 500), nn::Linear(500, 10));
    nn::Trainer trainer(model, nn::Mse{}, nn::AdamW(), {.accumulate = 2});
    const std::vector<Array> batch{Array({32, 300}, DType::f32), Array({32, 10}, DType::f32)};
    const uint64_t planned = trainer.plan(batch).new_bytes(), allocated = device_allocated_bytes() - before;
    CAPTURE(allocated);
    CAPTURE(planned);
    CHECK(static_cast<double>(allocated) < 1.02 * static_cast<double>(planned));
    CHECK(static_cast<double>(allocated) > 0.98 * static_cast<double>(planned));
  }

  TEST_CASE("trainers of one model share its arena, or leave it to the first") {
    nn::Linear model = start();
    Doubles p = kStart;
    const auto descend = [&](nn::Trainer& trainer, double lr, bool bias) {
      trainer.step({kX, kY});
      const Doubles g = gradient(p);
      for (size_t i = 0; i < kParameters; ++i) p[i] -= bias || i < kInputs ? lr * g[i] : 0;
      check_close(model, p);
    };
    CHECK(model(Tensor(kX)).eval().shape() == Shape{4, 1});
    {
      nn::Trainer first(model, nn::Mse{}, nn::Sgd({.lr = 0.05f}));
      descend(first, 0.05, true);
      nn::Trainer second(model, nn::Mse{}, nn::Sgd({.lr = 0.02f, .momentum = 0.5f}));
      descend(second, 0.02, true);
      descend(first, 0.05, true);
      nn::Sgd part({.lr = 0.03f});
      part.group("bias", {.trainable = false});
      nn::Trainer third(model, nn::Mse{}, part, {.accumulate = 1, .clip_value = 1000});
      descend(third, 0.03, false);
      descend(first, 0.05, true);
    }
    nn::Sgd part({.lr = 0.03f});
    part.group("bias", {.trainable = false});
    nn::Trainer alone(model, nn::Mse{}, part);
    descend(alone, 0.03, false);
    const Tensor y = model(Tensor(kX));
    Program forward({y});
    forward.submit();
    const Array early = forward.read(0);
    nn::Trainer all(model, nn::Mse{}, nn::Sgd({.lr = 0.05f}));
    descend(all, 0.05, true);
    forward.submit();
    CHECK_FALSE(same_bytes(forward.read(0), early));
    CHECK(same_bytes(forward.read(0), model(Tensor(kX)).eval()));
  }

  TEST_CASE("the state has a variable for each parameter, and a file of such loads") {
    nn::Linear model = start();
    nn::Trainer trainer(model, nn::Mse{}, nn::Adam({.lr = 0.1f}), {.accumulate = 2});
    std::vector<std::string> names;
    for (const auto& [name, variable] : trainer.optimizer().state()) {
      names.push_back(name);
      CHECK(variable.name() == name);
    }
    CHECK(names == std::vector<std::string>{"optimizer.step", "optimizer.weight.m", "optimizer.bias.m",
                                            "optimizer.weight.v", "optimizer.bias.v"});
    const TemporaryFolder folder;
    const std::string path = folder / "state.safetensors";
    trainer.step({kX, kY});
    trainer.save(path);
    TensorFile file = read_safetensors(path);
    CHECK(file.tensors.at("accumulated.weight").shape() == Shape{1, 3});
    CHECK(file.tensors.at("accumulated.bias").at(0) != 0);
    file.tensors.at("optimizer.weight.m") = Array({1, 3}, {1, 2, 3});
    file.tensors.at("accumulated.bias") = Array({1}, {7});
    write_safetensors(path, file);
    trainer.load(path);
    CHECK(same_bytes(trainer.optimizer().state()[1].variable.value(), Array({1, 3}, {1, 2, 3})));
    trainer.step({kX, kY});
    CHECK(trainer.steps() == 1);
    const double g = gradient(kStart)[0];
    const double m = 0.9 * 1 + 0.1 * g, v = 0.001 * g * g;
    CHECK(trainer.optimizer().state()[1].variable.value().at(0) == doctest::Approx(m).epsilon(1e-5));
    CHECK(model.weight.value().at(0) ==
          doctest::Approx(kStart[0] - 0.1 * m / 0.1 / (std::sqrt(v / 0.001) + 1e-8)).epsilon(1e-4));
  }
}

// Rows of the in-place updates: one step from given states. tests/optim_test.cpp follows them over many
// steps.
#include "tests/harness.h"

#include <algorithm>
#include <cmath>

#include "engine/core/error.h"
#include "engine/graph/node.h"
#include "engine/ops.h"
#include "engine/ops_optim.h"

namespace stithy::testing {
namespace {

// Parameter, dw and states that the update starts from; the same for the device and the reference.
constexpr int64_t kCount = 37;
Array start(int which) {
  Array array({kCount}, DType::f32);
  for (int64_t i = 0; i < kCount; ++i) {
    const double value = std::sin(static_cast<double>(i) * 1.7 + which);
    array.set(i, which >= 3 ? value * value + 0.1 : value);  // 3 and later: squares
  }
  return array;
}

// Step 3 with a learning rate of 0.1 and a gradient scale of 0.5.
UpdateScalars scalars() {
  const int32_t step = 3;
  return {Tensor(0.1f), Tensor(Array({}, std::span(&step, 1))), Tensor(0.5f)};
}
Variable variable(int which) { return Variable(cat("state ", which), start(which)); }

struct Element {
  double w, g, s[3];  // g: with scale and penalties; w: after decoupled decay
};
using Rule = std::function<void(Element& e, double lr, double t)>;

constexpr double kL1 = 0.01, kL2 = 0.02, kDecay = 0.03;
constexpr Penalties kPenalties{kL1, kL2, kDecay};

// `states`: which starts the states have; outputs are w and the states.
Case update_case(
    const std::string& name, const std::vector<int>& states,
    const std::function<Tensor(const Variable& w, const Tensor& dw, const std::vector<Variable>& s)>& update,
    const Rule& rule) {
  return {.name = name,
          .build =
              [=](auto) {
                std::vector<Variable> s;
                for (int which : states) s.push_back(variable(which));
                const Tensor w = update(variable(0), start(1), s);
                std::vector<Tensor> ys;
                for (size_t i = 0; i <= states.size(); ++i)
                  ys.push_back(w.node()->tensor(static_cast<int>(i)));
                return ys;
              },
          .reference =
              [=](auto) {
                std::vector<Reference> ys(1 + states.size(), Reference({kCount}));
                for (int64_t i = 0; i < kCount; ++i) {
                  Element e{.w = start(0).at(i), .g = 0.5 * start(1).at(i), .s = {}};
                  for (size_t k = 0; k < states.size(); ++k) e.s[k] = start(states[k]).at(i);
                  e.g += kL1 * (e.w > 0 ? 1 : e.w < 0 ? -1 : 0) + kL2 * e.w;
                  e.w *= 1 - 0.1 * kDecay;
                  rule(e, 0.1, 3);
                  ys[0][i] = e.w;
                  for (size_t k = 0; k < states.size(); ++k) ys[k + 1][i] = e.s[k];
                }
                return ys;
              },
          .gradient = false};
}

using States = const std::vector<Variable>&;

Case sgd_case(const std::string& name, SgdOptions o) {
  o.penalties = kPenalties;
  const bool momentum = o.momentum != 0;
  return update_case(
      name, momentum ? std::vector{2} : std::vector<int>{},
      [=](const Variable& w, const Tensor& dw, States s) {
        return sgd_update(w, dw, momentum ? s[0] : Variable(), scalars(), o);
      },
      [=](Element& e, double lr, double) {
        double d = e.g;
        if (momentum) {
          e.s[0] = o.momentum * e.s[0] + (1 - o.dampening) * e.g;
          d = o.nesterov ? e.g + o.momentum * e.s[0] : e.s[0];
        }
        e.w -= lr * d;
      });
}
const bool kSgdRow = add_row({.op = "sgd_update",
                              .cases = {sgd_case("plain", {}), sgd_case("momentum", {.momentum = 0.9}),
                                        sgd_case("dampening", {.momentum = 0.9, .dampening = 0.3}),
                                        sgd_case("nesterov", {.momentum = 0.9, .nesterov = true})}});

Case adam_case(const std::string& name, bool amsgrad) {
  const AdamOptions o{.penalties = kPenalties};
  return update_case(
      name, amsgrad ? std::vector{2, 3, 4} : std::vector{2, 3},
      [=](const Variable& w, const Tensor& dw, States s) {
        return adam_update(w, dw, s[0], s[1], scalars(), o, amsgrad ? s[2] : Variable());
      },
      [=](Element& e, double lr, double t) {
        e.s[0] = o.beta1 * e.s[0] + (1 - o.beta1) * e.g;
        e.s[1] = o.beta2 * e.s[1] + (1 - o.beta2) * e.g * e.g;
        e.s[2] = std::max(e.s[2], e.s[1]);
        const double v = (amsgrad ? e.s[2] : e.s[1]) / (1 - std::pow(o.beta2, t));
        e.w -= lr * e.s[0] / (1 - std::pow(o.beta1, t)) / (std::sqrt(v) + o.epsilon);
      });
}
const bool kAdamRow =
    add_row({.op = "adam_update", .cases = {adam_case("adam", false), adam_case("amsgrad", true)}});

const NadamOptions kNadam{.penalties = kPenalties};
const bool kNadamRow =
    add_row({.op = "nadam_update",
             .cases = {update_case(
                 "nadam", {2, 3},
                 [](const Variable& w, const Tensor& dw, States s) {
                   return nadam_update(w, dw, s[0], s[1], Tensor(0.125f), scalars(), kNadam);
                 },
                 [](Element& e, double lr, double t) {
                   e.s[0] = kNadam.beta1 * e.s[0] + (1 - kNadam.beta1) * e.g;
                   e.s[1] = kNadam.beta2 * e.s[1] + (1 - kNadam.beta2) * e.g * e.g;
                   const auto mu = [](double s) {
                     return kNadam.beta1 * (1 - 0.5 * std::pow(0.96, s * kNadam.momentum_decay));
                   };
                   const double root = std::sqrt(e.s[1] / (1 - std::pow(kNadam.beta2, t))) + kNadam.epsilon;
                   e.w -= lr * (1 - mu(t)) / (1 - 0.125) * e.g / root;
                   e.w -= lr * mu(t + 1) / (1 - 0.125 * mu(t + 1)) * e.s[0] / root;
                 })}});

Case rmsprop_case(const std::string& name, double momentum, bool centered) {
  const RmspropOptions o{.momentum = momentum, .centered = centered, .penalties = kPenalties};
  std::vector<int> states{3};
  if (momentum != 0) states.push_back(2);
  if (centered) states.push_back(5);
  const size_t mean = momentum != 0 ? 2 : 1;
  Case test = update_case(
      name, states,
      [=](const Variable& w, const Tensor& dw, States s) {
        // The mean must not exceed the root of the mean square.
        Variable average = centered ? Variable("mean", Array({kCount}, DType::f32)) : Variable();
        return rmsprop_update(w, dw, s[0], momentum != 0 ? s[1] : Variable(), average, scalars(), o);
      },
      [=](Element& e, double lr, double) {
        if (centered) e.s[mean] = 0;
        e.s[0] = o.alpha * e.s[0] + (1 - o.alpha) * e.g * e.g;
        double variance = e.s[0];
        if (centered) {
          e.s[mean] = o.alpha * e.s[mean] + (1 - o.alpha) * e.g;
          variance -= e.s[mean] * e.s[mean];
        }
        double d = e.g / (std::sqrt(variance) + o.epsilon);
        if (momentum != 0) d = e.s[1] = momentum * e.s[1] + d;
        e.w -= lr * d;
      });
  return test;
}
const bool kRmspropRow =
    add_row({.op = "rmsprop_update",
             .cases = {rmsprop_case("plain", 0, false), rmsprop_case("momentum", 0.9, false),
                       rmsprop_case("centered", 0, true), rmsprop_case("centered, momentum", 0.9, true)}});

Case adagrad_case(const std::string& name, double lr_decay) {
  const AdagradOptions o{.lr_decay = lr_decay, .penalties = kPenalties};
  return update_case(
      name, {3},
      [=](const Variable& w, const Tensor& dw, States s) {
        return adagrad_update(w, dw, s[0], scalars(), o);
      },
      [=](Element& e, double lr, double t) {
        e.s[0] += e.g * e.g;
        e.w -= lr / (1 + (t - 1) * lr_decay) * e.g / (std::sqrt(e.s[0]) + o.epsilon);
      });
}
const bool kAdagradRow =
    add_row({.op = "adagrad_update", .cases = {adagrad_case("plain", 0), adagrad_case("decay", 0.1)}});

const LionOptions kLion{.penalties = kPenalties};
const bool kLionRow = add_row({.op = "lion_update",
                               .cases = {update_case(
                                   "lion", {2},
                                   [](const Variable& w, const Tensor& dw, States s) {
                                     return lion_update(w, dw, s[0], scalars(), kLion);
                                   },
                                   [](Element& e, double lr, double) {
                                     const double d = kLion.beta1 * e.s[0] + (1 - kLion.beta1) * e.g;
                                     e.s[0] = kLion.beta2 * e.s[0] + (1 - kLion.beta2) * e.g;
                                     e.w -= lr * (d > 0 ? 1 : d < 0 ? -1 : 0);
                                   })}});

// Of a variable of ones.
Case assign_slice_case(const std::string& name, const Shape& shape, int64_t count, int axis, int32_t place) {
  Shape part = shape;
  part[axis] = count;
  return {.name = name,
          .arguments = {{.shape = part}},
          .build =
              [=](auto xs) {
                Array ones(shape, DType::f32);
                for (int64_t i = 0; i < ones.numel(); ++i) ones.set(i, 1);
                return std::vector{assign_slice(Variable("target", ones), xs[0], axis,
                                                Array(Shape{}, std::vector<int32_t>{place}))};
              },
          .reference =
              [=](auto xs) {
                Reference y(shape);
                int64_t inner = 1;
                for (int d = axis + 1; d < shape.rank(); ++d) inner *= shape[d];
                for (int64_t i = 0; i < y.numel(); ++i) {
                  const int64_t outer = i / (inner * shape[axis]), at = i / inner % shape[axis] - place;
                  y[i] = at < 0 || at >= count ? 1 : xs[0][(outer * count + at) * inner + i % inner];
                }
                return std::vector{y};
              },
          .gradient = false};
}
Case assign_case(const std::string& name, const Shape& shape, DType dtype) {
  return {
      .name = name,
      .arguments = {{.shape = shape, .dtype = dtype}},
      .build = [=](auto xs) { return std::vector{assign(Variable("target", Array(shape, dtype)), xs[0])}; },
      .reference = [](auto xs) { return std::vector{xs[0]}; },
      .gradient = false};
}
const bool kAccumulateRow =
    add_row({.op = "accumulate",
             .cases = {{.name = "an odd size",
                        .arguments = {{.shape = {5, 7}}},
                        .build =
                            [](auto xs) {
                              Array start({5, 7}, DType::f32);
                              for (int64_t i = 0; i < 35; ++i) start.set(i, 0.25 * static_cast<double>(i));
                              return std::vector{accumulate(Variable("total", start), xs[0])};
                            },
                        .reference =
                            [](auto xs) {
                              Reference y = xs[0];
                              for (int64_t i = 0; i < 35; ++i) y[i] += 0.25 * static_cast<double>(i);
                              return std::vector{y};
                            },
                        .gradient = false,
                        .strided = false}}});
const bool kAssignRow =
    add_row({.op = "assign_slice",
             .cases = {assign_slice_case("the middle of an axis", {2, 7, 3}, 2, 1, 4),
                       assign_slice_case("a row", {5, 11}, 1, 0, 3),
                       assign_slice_case("past the end", {3, 5}, 4, 1, 3),
                       assign_slice_case("before the beginning", {3, 5}, 2, 1, -1)}}) &&
    add_row({.op = "assign",
             .cases = {assign_case("f32", {5, 7}, DType::f32), assign_case("i32", {9}, DType::i32),
                       assign_case("u8", {3, 3}, DType::u8), assign_case("a scalar", {}, DType::f32)}});

}  // namespace
}  // namespace stithy::testing

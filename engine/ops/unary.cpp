// Pointwise ops of one input. Their functions, and those of the *_grad ops, are in shaders/pointwise.glsl.
#include <cmath>
#include <numbers>

#include "engine/ops.h"
#include "engine/ops/binary.h"
#include "engine/ops/elements.h"
#include "shaders/unary.h"

namespace stithy {
namespace {

using Gradients = std::vector<Tensor>;

void launch_unary(const Node& n, Launch& launch) {
  const Elements e = walk_elements(n.out().shape, {operand(n.in(0))});
  const Parameters& p = n.attrs<Parameters>();
  launch_elements(launch,
                  shaders::unary{.x = launch.in(0),
                                 .y = launch.out(),
                                 .push = {.count = e.count,
                                          .x_offset = e[0].offset,
                                          .shape = e.shape,
                                          .x_strides = e[0].strides,
                                          .p0 = p.p0,
                                          .p1 = p.p1},
                                 .spec = {.DIMS = e.dims, .X_MODE = e[0].mode},
                                 .variant = shaders::unary::variant_named(n.op->name).value()},
                  e.count);
}

Pointwise pointwise_unary(const Node& n) {
  const bool boolean = n.in(0).dtype() == DType::boolean;
  return pointwise_call(n, {boolean ? "$0 != 0u" : "uintBitsToFloat($0)"});
}

Tensor unary(const OpDef& op, const Tensor& x, Parameters p = {}, DType result = DType::f32) {
  require_dtype(op.name, x, {DType::f32});
  return make_node(op, p, {x}, {{x.shape(), result}});
}

// f_grad(u, dy) = dy f'(x), where u is x, or y where f' is simpler in y. `derivative` is f' in smaller ops:
// the op's composition, which gives the second derivative.
template <Tensor (*derivative)(const Tensor& u, const Parameters& p)>
OpDef grad_op(std::string_view name) {
  return {
      .name = name, .launch = launch_binary, .pointwise = pointwise_binary, .composition = [](const Node& n) {
        return std::vector<Tensor>{n.in(1) * derivative(n.in(0), n.attrs<Parameters>())};
      }};
}

Tensor grad(const OpDef& op, const Tensor& u, const Backward& b) {
  return make_node(op, b.attrs<Parameters>(), {u, b.dy()}, {{u.shape()}});
}

Gradients zero(const Backward&) { return {Tensor()}; }

Tensor one_where(const Tensor& condition) { return cast(condition, DType::f32); }

const OpDef& kNeg = define_op(
    {.name = "neg", .launch = launch_unary, .pointwise = pointwise_unary, .gradient = [](const Backward& b) {
       return Gradients{-b.dy()};
     }});
const OpDef& kAbs = define_op(
    {.name = "abs", .launch = launch_unary, .pointwise = pointwise_unary, .gradient = [](const Backward& b) {
       return Gradients{b.dy() * sign(b.x())};
     }});
const OpDef& kSign =
    define_op({.name = "sign", .launch = launch_unary, .pointwise = pointwise_unary, .gradient = zero});
const OpDef& kExp = define_op(
    {.name = "exp", .launch = launch_unary, .pointwise = pointwise_unary, .gradient = [](const Backward& b) {
       return Gradients{b.dy() * b.y()};
     }});
const OpDef& kLog = define_op(
    {.name = "log", .launch = launch_unary, .pointwise = pointwise_unary, .gradient = [](const Backward& b) {
       return Gradients{b.dy() / b.x()};
     }});
const OpDef& kSqrt = define_op(
    {.name = "sqrt", .launch = launch_unary, .pointwise = pointwise_unary, .gradient = [](const Backward& b) {
       return Gradients{b.dy() / (b.y() + b.y())};
     }});
const OpDef& kRsqrt = define_op(
    {.name = "rsqrt",
     .launch = launch_unary,
     .pointwise = pointwise_unary,
     .gradient = [](const Backward& b) { return Gradients{b.dy() * b.y() * square(b.y()) * -0.5f}; }});
const OpDef& kReciprocal =
    define_op({.name = "reciprocal",
               .launch = launch_unary,
               .pointwise = pointwise_unary,
               .gradient = [](const Backward& b) { return Gradients{-(b.dy() * square(b.y()))}; }});
const OpDef& kSquare =
    define_op({.name = "square",
               .launch = launch_unary,
               .pointwise = pointwise_unary,
               .gradient = [](const Backward& b) { return Gradients{b.dy() * (b.x() + b.x())}; }});
const OpDef& kSin = define_op(
    {.name = "sin", .launch = launch_unary, .pointwise = pointwise_unary, .gradient = [](const Backward& b) {
       return Gradients{b.dy() * cos(b.x())};
     }});
const OpDef& kCos = define_op(
    {.name = "cos", .launch = launch_unary, .pointwise = pointwise_unary, .gradient = [](const Backward& b) {
       return Gradients{-(b.dy() * sin(b.x()))};
     }});
const OpDef& kErf = define_op(
    {.name = "erf", .launch = launch_unary, .pointwise = pointwise_unary, .gradient = [](const Backward& b) {
       const float scale = 2 * std::numbers::inv_sqrtpi_v<float>;
       return Gradients{b.dy() * exp(-square(b.x())) * scale};
     }});
const OpDef& kFloor =
    define_op({.name = "floor", .launch = launch_unary, .pointwise = pointwise_unary, .gradient = zero});
const OpDef& kCeil =
    define_op({.name = "ceil", .launch = launch_unary, .pointwise = pointwise_unary, .gradient = zero});
const OpDef& kRound =
    define_op({.name = "round", .launch = launch_unary, .pointwise = pointwise_unary, .gradient = zero});
const OpDef& kLog1p =
    define_op({.name = "log1p",
               .launch = launch_unary,
               .pointwise = pointwise_unary,
               .gradient = [](const Backward& b) { return Gradients{b.dy() / (b.x() + 1.0f)}; }});
const OpDef& kExpm1 =
    define_op({.name = "expm1",
               .launch = launch_unary,
               .pointwise = pointwise_unary,
               .gradient = [](const Backward& b) { return Gradients{b.dy() * (b.y() + 1.0f)}; }});
const OpDef& kIsnan =
    define_op({.name = "isnan", .launch = launch_unary, .pointwise = pointwise_unary, .gradient = zero});
const OpDef& kIsfinite =
    define_op({.name = "isfinite", .launch = launch_unary, .pointwise = pointwise_unary, .gradient = zero});
const OpDef& kLogicalNot = define_op({.name = "logical_not",
                                      .dtypes = "bool",
                                      .launch = launch_unary,
                                      .pointwise = pointwise_unary,
                                      .gradient = zero});

const OpDef& kTanhGrad = define_op(
    grad_op<[](const Tensor& y, const Parameters&) { return Tensor(1.0f) - square(y); }>("tanh_grad"));
const OpDef& kTanh = define_op(
    {.name = "tanh", .launch = launch_unary, .pointwise = pointwise_unary, .gradient = [](const Backward& b) {
       return Gradients{grad(kTanhGrad, b.y(), b)};
     }});

const OpDef& kSigmoidGrad = define_op(
    grad_op<[](const Tensor& y, const Parameters&) { return y * (Tensor(1.0f) - y); }>("sigmoid_grad"));
const OpDef& kSigmoid =
    define_op({.name = "sigmoid",
               .launch = launch_unary,
               .pointwise = pointwise_unary,
               .gradient = [](const Backward& b) { return Gradients{grad(kSigmoidGrad, b.y(), b)}; }});

const OpDef& kClampGrad = define_op(grad_op<[](const Tensor& x, const Parameters& p) {
  return one_where(logical_and(greater_equal(x, p.p0), less_equal(x, p.p1)));
}>("clamp_grad"));
const OpDef& kClamp =
    define_op({.name = "clamp",
               .launch = launch_unary,
               .pointwise = pointwise_unary,
               .gradient = [](const Backward& b) { return Gradients{grad(kClampGrad, b.x(), b)}; }});

const OpDef& kReluGrad = define_op(
    grad_op<[](const Tensor& x, const Parameters&) { return one_where(greater(x, 0.0f)); }>("relu_grad"));
const OpDef& kRelu = define_op(
    {.name = "relu", .launch = launch_unary, .pointwise = pointwise_unary, .gradient = [](const Backward& b) {
       return Gradients{grad(kReluGrad, b.y(), b)};
     }});

const OpDef& kLeakyReluGrad = define_op(
    grad_op<[](const Tensor& x, const Parameters& p) { return where(greater(x, 0.0f), 1.0f, p.p0); }>(
        "leaky_relu_grad"));
const OpDef& kLeakyRelu =
    define_op({.name = "leaky_relu",
               .launch = launch_unary,
               .pointwise = pointwise_unary,
               .gradient = [](const Backward& b) { return Gradients{grad(kLeakyReluGrad, b.x(), b)}; }});

const OpDef& kEluGrad = define_op(grad_op<[](const Tensor& x, const Parameters& p) {
  return where(greater(x, 0.0f), p.p1, exp(minimum(x, 0.0f)) * (p.p0 * p.p1));
}>("elu_grad"));
const OpDef& kElu = define_op(
    {.name = "elu", .launch = launch_unary, .pointwise = pointwise_unary, .gradient = [](const Backward& b) {
       return Gradients{grad(kEluGrad, b.x(), b)};
     }});

const OpDef& kGeluGrad = define_op(grad_op<[](const Tensor& x, const Parameters&) {
  const float density = std::numbers::inv_sqrtpi_v<float> / std::numbers::sqrt2_v<float>;
  return (erf(x * (0.5f * std::numbers::sqrt2_v<float>)) + 1.0f) * 0.5f +
         x * exp(square(x) * -0.5f) * density;
}>("gelu_grad"));
const OpDef& kGelu = define_op(
    {.name = "gelu", .launch = launch_unary, .pointwise = pointwise_unary, .gradient = [](const Backward& b) {
       return Gradients{grad(kGeluGrad, b.x(), b)};
     }});

const OpDef& kGeluTanhGrad = define_op(grad_op<[](const Tensor& x, const Parameters&) {
  const float c = std::sqrt(2 * std::numbers::inv_pi_v<float>);
  const Tensor t = tanh((x + x * square(x) * 0.044715f) * c);
  const Tensor du = square(x) * (3 * 0.044715f * c) + c;
  return (t + 1.0f) * 0.5f + x * (Tensor(1.0f) - square(t)) * du * 0.5f;
}>("gelu_tanh_grad"));
const OpDef& kGeluTanh =
    define_op({.name = "gelu_tanh",
               .launch = launch_unary,
               .pointwise = pointwise_unary,
               .gradient = [](const Backward& b) { return Gradients{grad(kGeluTanhGrad, b.x(), b)}; }});

const OpDef& kSiluGrad = define_op(grad_op<[](const Tensor& x, const Parameters&) {
  const Tensor s = sigmoid(x);
  return s + x * s * (Tensor(1.0f) - s);
}>("silu_grad"));
const OpDef& kSilu = define_op(
    {.name = "silu", .launch = launch_unary, .pointwise = pointwise_unary, .gradient = [](const Backward& b) {
       return Gradients{grad(kSiluGrad, b.x(), b)};
     }});

const OpDef& kSoftplusGrad =
    define_op(grad_op<[](const Tensor& x, const Parameters&) { return sigmoid(x); }>("softplus_grad"));
const OpDef& kSoftplus =
    define_op({.name = "softplus",
               .launch = launch_unary,
               .pointwise = pointwise_unary,
               .gradient = [](const Backward& b) { return Gradients{grad(kSoftplusGrad, b.x(), b)}; }});

const OpDef& kMishGrad = define_op(grad_op<[](const Tensor& x, const Parameters&) {
  const Tensor t = tanh(softplus(x));
  return t + x * sigmoid(x) * (Tensor(1.0f) - square(t));
}>("mish_grad"));
const OpDef& kMish = define_op(
    {.name = "mish", .launch = launch_unary, .pointwise = pointwise_unary, .gradient = [](const Backward& b) {
       return Gradients{grad(kMishGrad, b.x(), b)};
     }});

const OpDef& kHardswishGrad = define_op(grad_op<[](const Tensor& x, const Parameters&) {
  return where(less_equal(abs(x), 3.0f), x * (1.0f / 3) + 0.5f, one_where(greater(x, 3.0f)));
}>("hardswish_grad"));
const OpDef& kHardswish =
    define_op({.name = "hardswish",
               .launch = launch_unary,
               .pointwise = pointwise_unary,
               .gradient = [](const Backward& b) { return Gradients{grad(kHardswishGrad, b.x(), b)}; }});

const OpDef& kHardsigmoidGrad = define_op(
    grad_op<[](const Tensor& x, const Parameters&) { return one_where(less(abs(x), 3.0f)) * (1.0f / 6); }>(
        "hardsigmoid_grad"));
const OpDef& kHardsigmoid =
    define_op({.name = "hardsigmoid",
               .launch = launch_unary,
               .pointwise = pointwise_unary,
               .gradient = [](const Backward& b) { return Gradients{grad(kHardsigmoidGrad, b.x(), b)}; }});

}  // namespace

Tensor neg(const Tensor& x) { return unary(kNeg, x); }
Tensor abs(const Tensor& x) { return unary(kAbs, x); }
Tensor sign(const Tensor& x) { return unary(kSign, x); }
Tensor exp(const Tensor& x) { return unary(kExp, x); }
Tensor log(const Tensor& x) { return unary(kLog, x); }
Tensor sqrt(const Tensor& x) { return unary(kSqrt, x); }
Tensor rsqrt(const Tensor& x) { return unary(kRsqrt, x); }
Tensor reciprocal(const Tensor& x) { return unary(kReciprocal, x); }
Tensor square(const Tensor& x) { return unary(kSquare, x); }
Tensor sin(const Tensor& x) { return unary(kSin, x); }
Tensor cos(const Tensor& x) { return unary(kCos, x); }
Tensor tanh(const Tensor& x) { return unary(kTanh, x); }
Tensor sigmoid(const Tensor& x) { return unary(kSigmoid, x); }
Tensor erf(const Tensor& x) { return unary(kErf, x); }
Tensor floor(const Tensor& x) { return unary(kFloor, x); }
Tensor ceil(const Tensor& x) { return unary(kCeil, x); }
Tensor round(const Tensor& x) { return unary(kRound, x); }
Tensor log1p(const Tensor& x) { return unary(kLog1p, x); }
Tensor expm1(const Tensor& x) { return unary(kExpm1, x); }
Tensor clamp(const Tensor& x, float low, float high) {
  if (!(low <= high)) throw Error("clamp", cat("low ", low, " is not at most high ", high));
  return unary(kClamp, x, {low, high});
}
Tensor relu(const Tensor& x) { return unary(kRelu, x); }
Tensor leaky_relu(const Tensor& x, float slope) { return unary(kLeakyRelu, x, {slope}); }
Tensor elu(const Tensor& x, float alpha) { return unary(kElu, x, {alpha, 1}); }
Tensor selu(const Tensor& x) { return unary(kElu, x, {1.6732632423543772f, 1.0507009873554805f}); }
Tensor gelu(const Tensor& x, Gelu form) { return unary(form == Gelu::exact ? kGelu : kGeluTanh, x); }
Tensor silu(const Tensor& x) { return unary(kSilu, x); }
Tensor softplus(const Tensor& x) { return unary(kSoftplus, x); }
Tensor mish(const Tensor& x) { return unary(kMish, x); }
Tensor hardswish(const Tensor& x) { return unary(kHardswish, x); }
Tensor hardsigmoid(const Tensor& x) { return unary(kHardsigmoid, x); }
Tensor isnan(const Tensor& x) { return unary(kIsnan, x, {}, DType::boolean); }
Tensor isfinite(const Tensor& x) { return unary(kIsfinite, x, {}, DType::boolean); }
Tensor logical_not(const Tensor& x) {
  require_dtype("logical_not", x, {DType::boolean});
  return make_node(kLogicalNot, Parameters{}, {x}, {{x.shape(), DType::boolean}});
}

}  // namespace stithy

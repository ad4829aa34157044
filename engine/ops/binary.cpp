// Pointwise ops of two inputs, where, cast and contiguous. Their functions are in shaders/pointwise.glsl.
#include "shaders/binary.h"
#include "engine/ops/binary.h"

#include "engine/ops.h"
#include "engine/ops/elements.h"
#include "shaders/copy.h"
#include "shaders/where.h"

namespace stithy {

void launch_binary(const Node& n, Launch& launch) {
  const Parameters& p = n.attrs<Parameters>();
  const Elements e = walk_elements(n.out().shape, {operand(n.in(0)), operand(n.in(1))});
  launch_elements(launch,
                  shaders::binary{.a = launch.in(0),
                                  .b = launch.in(1),
                                  .y = launch.out(),
                                  .push = {.count = e.count,
                                           .a_offset = e[0].offset,
                                           .b_offset = e[1].offset,
                                           .shape = e.shape,
                                           .a_strides = e[0].strides,
                                           .b_strides = e[1].strides,
                                           .p0 = p.p0,
                                           .p1 = p.p1},
                                  .spec = {.DIMS = e.dims,
                                           .A_MODE = e[0].mode,
                                           .B_MODE = e[1].mode,
                                           .INTEGER = n.in(0).dtype() == DType::i32},
                                  .variant = shaders::binary::variant_named(n.op->name).value()},
                  e.count);
}

Pointwise pointwise_call(const Node& n, std::initializer_list<std::string_view> arguments) {
  std::string call = cat("raw_of(op_", n.op->name, "(");
  for (std::string_view argument : arguments)
    call += cat(argument.data() == arguments.begin()->data() ? "" : ", ", argument);
  // The functions that have attributes (shaders/pointwise.glsl).
  static constexpr std::string_view kWithParameters[] = {"clamp", "leaky_relu", "elu"};
  const bool parameters = std::any_of(
      std::begin(kWithParameters), std::end(kWithParameters),
      [&](std::string_view name) { return n.op->name == name || n.op->name == cat(name, "_grad"); });
  if (!parameters) return {call + "))"};
  const Parameters& p = n.attrs<Parameters>();
  return {call + ", vec2(#0, #1)))", {p.p0, p.p1}};
}

Pointwise pointwise_binary(const Node& n) {
  switch (n.in(0).dtype()) {
    case DType::i32: return pointwise_call(n, {"int($0)", "int($1)"});
    case DType::boolean: return pointwise_call(n, {"$0 != 0u", "$1 != 0u"});
    default: return pointwise_call(n, {"uintBitsToFloat($0)", "uintBitsToFloat($1)"});
  }
}

namespace {

using Gradients = std::vector<Tensor>;

// The gradient of broadcasting is that of the expand views in front of the node.
Tensor binary(const OpDef& op, const Tensor& a, const Tensor& b, std::initializer_list<DType> dtypes,
              std::optional<DType> result = {}) {
  require_dtype(op.name, a, dtypes);
  require_dtype(op.name, b, dtypes);
  if (a.dtype() != b.dtype())
    throw Error(std::string(op.name),
                cat("operands are ", a.dtype(), " ", a.shape(), " and ", b.dtype(), " ", b.shape()),
                "convert one of them with cast()");
  const Shape shape = broadcast(op.name, a.shape(), b.shape());
  return make_node(op, Parameters{}, {expand(a, shape), expand(b, shape)},
                   {{shape, result.value_or(a.dtype())}});
}

Tensor arithmetic(const OpDef& op, const Tensor& a, const Tensor& b) {
  return binary(op, a, b, {DType::f32, DType::i32});
}
Tensor comparison(const OpDef& op, const Tensor& a, const Tensor& b) {
  return binary(op, a, b, {DType::f32, DType::i32}, DType::boolean);
}

Gradients zero(const Backward&) { return {Tensor(), Tensor()}; }

// Gradients by input, each built only where it is needed.
template <class A, class B>
Gradients both(const Backward& b, A first, B second) {
  return {b.needs(0) ? first() : Tensor(), b.needs(1) ? second() : Tensor()};
}

constexpr std::string_view kNumbers = "f32 i32";

const OpDef& kAdd = define_op({.name = "add",
                               .dtypes = kNumbers,
                               .launch = launch_binary,
                               .pointwise = pointwise_binary,
                               .gradient = [](const Backward& b) {
                                 return Gradients{b.dy(), b.dy()};
                               }});
const OpDef& kSub = define_op({.name = "sub",
                               .dtypes = kNumbers,
                               .launch = launch_binary,
                               .pointwise = pointwise_binary,
                               .gradient = [](const Backward& b) {
                                 return both(
                                     b, [&] { return b.dy(); }, [&] { return -b.dy(); });
                               }});
const OpDef& kMul = define_op({.name = "mul",
                               .dtypes = kNumbers,
                               .launch = launch_binary,
                               .pointwise = pointwise_binary,
                               .gradient = [](const Backward& b) {
                                 return both(
                                     b, [&] { return b.dy() * b.x(1); }, [&] { return b.dy() * b.x(0); });
                               }});
const OpDef& kDiv =
    define_op({.name = "div",
               .dtypes = kNumbers,
               .launch = launch_binary,
               .pointwise = pointwise_binary,
               .gradient = [](const Backward& b) {
                 return both(
                     b, [&] { return b.dy() / b.x(1); }, [&] { return -(b.dy() * b.y() / b.x(1)); });
               }});
// (a > b) + (a == b) / 2, for the gradients of maximum and minimum: equal operands get half each.
const OpDef& kLargerShare = define_op(
    {.name = "larger_share", .launch = launch_binary, .pointwise = pointwise_binary, .gradient = zero});
Tensor larger_share(const Tensor& a, const Tensor& b) { return binary(kLargerShare, a, b, {DType::f32}); }
const OpDef& kMinimum = define_op({.name = "minimum",
                                   .dtypes = kNumbers,
                                   .launch = launch_binary,
                                   .pointwise = pointwise_binary,
                                   .gradient = [](const Backward& b) {
                                     return both(
                                         b, [&] { return b.dy() * larger_share(b.x(1), b.x(0)); },
                                         [&] { return b.dy() * larger_share(b.x(0), b.x(1)); });
                                   }});
const OpDef& kMaximum = define_op({.name = "maximum",
                                   .dtypes = kNumbers,
                                   .launch = launch_binary,
                                   .pointwise = pointwise_binary,
                                   .gradient = [](const Backward& b) {
                                     return both(
                                         b, [&] { return b.dy() * larger_share(b.x(0), b.x(1)); },
                                         [&] { return b.dy() * larger_share(b.x(1), b.x(0)); });
                                   }});
// At a = 0 the derivative by b is 0, the limit from b > 0.
const OpDef& kPow =
    define_op({.name = "pow",
               .launch = launch_binary,
               .pointwise = pointwise_binary,
               .gradient = [](const Backward& b) {
                 return both(
                     b, [&] { return b.dy() * b.x(1) * pow(b.x(0), b.x(1) - 1.0f); },
                     [&] {
                       const Tensor at_zero = equal(b.x(0), 0.0f);
                       return b.dy() * where(at_zero, 0.0f, b.y() * log(where(at_zero, 1.0f, b.x(0))));
                     });
               }});

const OpDef& kEqual = define_op({.name = "equal",
                                 .dtypes = kNumbers,
                                 .launch = launch_binary,
                                 .pointwise = pointwise_binary,
                                 .gradient = zero});
const OpDef& kNotEqual = define_op({.name = "not_equal",
                                    .dtypes = kNumbers,
                                    .launch = launch_binary,
                                    .pointwise = pointwise_binary,
                                    .gradient = zero});
const OpDef& kLess = define_op({.name = "less",
                                .dtypes = kNumbers,
                                .launch = launch_binary,
                                .pointwise = pointwise_binary,
                                .gradient = zero});
const OpDef& kLessEqual = define_op({.name = "less_equal",
                                     .dtypes = kNumbers,
                                     .launch = launch_binary,
                                     .pointwise = pointwise_binary,
                                     .gradient = zero});
const OpDef& kGreater = define_op({.name = "greater",
                                   .dtypes = kNumbers,
                                   .launch = launch_binary,
                                   .pointwise = pointwise_binary,
                                   .gradient = zero});
const OpDef& kGreaterEqual = define_op({.name = "greater_equal",
                                        .dtypes = kNumbers,
                                        .launch = launch_binary,
                                        .pointwise = pointwise_binary,
                                        .gradient = zero});
const OpDef& kLogicalAnd = define_op({.name = "logical_and",
                                      .dtypes = "bool",
                                      .launch = launch_binary,
                                      .pointwise = pointwise_binary,
                                      .gradient = zero});
const OpDef& kLogicalOr = define_op({.name = "logical_or",
                                     .dtypes = "bool",
                                     .launch = launch_binary,
                                     .pointwise = pointwise_binary,
                                     .gradient = zero});

void launch_where(const Node& n, Launch& launch) {
  const Elements e = walk_elements(n.out().shape, {operand(n.in(0)), operand(n.in(1)), operand(n.in(2))});
  launch_elements(
      launch,
      shaders::where{
          .condition = launch.in(0),
          .a = launch.in(1),
          .b = launch.in(2),
          .y = launch.out(),
          .push = {.count = e.count,
                   .condition_offset = e[0].offset,
                   .a_offset = e[1].offset,
                   .b_offset = e[2].offset,
                   .shape = e.shape,
                   .condition_strides = e[0].strides,
                   .a_strides = e[1].strides,
                   .b_strides = e[2].strides},
          .spec = {.DIMS = e.dims, .CONDITION_MODE = e[0].mode, .A_MODE = e[1].mode, .B_MODE = e[2].mode}},
      e.count);
}

const OpDef& kWhere =
    define_op({.name = "where",
               .dtypes = kNumbers,
               .launch = launch_where,
               .pointwise = [](const Node&) { return Pointwise{"$0 != 0u ? $1 : $2"}; },
               .gradient =
                   [](const Backward& b) {
                     const Tensor zeros = 0.0f;
                     return Gradients{Tensor(), b.needs(1) ? where(b.x(0), b.dy(), zeros) : Tensor(),
                                      b.needs(2) ? where(b.x(0), zeros, b.dy()) : Tensor()};
                   }});

void launch_copy(const Node& n, Launch& launch) {
  const Elements e = walk_elements(n.out().shape, {operand(n.in(0))});
  launch_elements(
      launch,
      shaders::copy{
          .x = launch.in(0),
          .y = launch.out(),
          .push = {.count = e.count, .x_offset = e[0].offset, .shape = e.shape, .x_strides = e[0].strides},
          .spec = {.DIMS = e.dims,
                   .X_MODE = e[0].mode,
                   .X_DTYPE = static_cast<uint32_t>(n.in(0).dtype()),
                   .Y_DTYPE = static_cast<uint32_t>(n.out().dtype)}},
      e.count);
}
Pointwise pointwise_copy(const Node& n) {
  return {
      cat("convert($0, ", static_cast<int>(n.in(0).dtype()), "u, ", static_cast<int>(n.out().dtype), "u)")};
}
double no_flops(const Node&) { return 0; }

constexpr std::string_view kAnything = "f32 f16 bf16 i32 u8 bool";
const OpDef& kCast = define_op(
    {.name = "cast",
     .dtypes = kAnything,
     .launch = launch_copy,
     .pointwise = pointwise_copy,
     .gradient =
         [](const Backward& b) {
           const DType from = b.x().dtype();
           return Gradients{is_float(from) && is_float(b.dy().dtype()) ? cast(b.dy(), from) : Tensor()};
         },
     .flops = no_flops});
const OpDef& kContiguous = define_op({.name = "contiguous",
                                      .dtypes = kAnything,
                                      .launch = launch_copy,
                                      .pointwise = pointwise_copy,
                                      .gradient = [](const Backward& b) { return Gradients{b.dy()}; },
                                      .flops = no_flops});

}  // namespace

Tensor add(const Tensor& a, const Tensor& b) { return arithmetic(kAdd, a, b); }
Tensor sub(const Tensor& a, const Tensor& b) { return arithmetic(kSub, a, b); }
Tensor mul(const Tensor& a, const Tensor& b) { return arithmetic(kMul, a, b); }
Tensor div(const Tensor& a, const Tensor& b) { return arithmetic(kDiv, a, b); }
Tensor minimum(const Tensor& a, const Tensor& b) { return arithmetic(kMinimum, a, b); }
Tensor maximum(const Tensor& a, const Tensor& b) { return arithmetic(kMaximum, a, b); }
Tensor pow(const Tensor& a, const Tensor& b) { return binary(kPow, a, b, {DType::f32}); }
Tensor equal(const Tensor& a, const Tensor& b) { return comparison(kEqual, a, b); }
Tensor not_equal(const Tensor& a, const Tensor& b) { return comparison(kNotEqual, a, b); }
Tensor less(const Tensor& a, const Tensor& b) { return comparison(kLess, a, b); }
Tensor less_equal(const Tensor& a, const Tensor& b) { return comparison(kLessEqual, a, b); }
Tensor greater(const Tensor& a, const Tensor& b) { return comparison(kGreater, a, b); }
Tensor greater_equal(const Tensor& a, const Tensor& b) { return comparison(kGreaterEqual, a, b); }
Tensor logical_and(const Tensor& a, const Tensor& b) { return binary(kLogicalAnd, a, b, {DType::boolean}); }
Tensor logical_or(const Tensor& a, const Tensor& b) { return binary(kLogicalOr, a, b, {DType::boolean}); }

Tensor where(const Tensor& condition, const Tensor& a, const Tensor& b) {
  require_dtype("where", condition, {DType::boolean});
  require_dtype("where", a, {DType::f32, DType::i32});
  require_dtype("where", b, {a.dtype()});
  const Shape shape = broadcast("where", condition.shape(), broadcast("where", a.shape(), b.shape()));
  return make_node(kWhere, {}, {expand(condition, shape), expand(a, shape), expand(b, shape)},
                   {{shape, a.dtype()}});
}

Tensor cast(const Tensor& x, DType dtype) {
  if (!x.defined()) throw Error("cast", "the input is undefined");
  return x.dtype() == dtype ? x : make_node(kCast, {}, {x}, {{x.shape(), dtype}});
}

Tensor contiguous(const Tensor& x) {
  if (!x.defined()) throw Error("contiguous", "the input is undefined");
  return x.is_contiguous() ? x : make_node(kContiguous, {}, {x}, {{x.shape(), x.dtype()}});
}

}  // namespace stithy

// Random numbers: Philox (shaders/philox.glsl) on the device.
#include "shaders/random.h"
#include "engine/ops.h"
#include "engine/ops/elements.h"
#include "engine/ops/random.h"

namespace stithy {
namespace {

struct Draw {
  uint32_t stream = 0;
  float p0 = 0, p1 = 0;
};

Array state_array(uint64_t seed) {
  const std::array<int32_t, 4> words{static_cast<int32_t>(seed), static_cast<int32_t>(seed >> 32), 0, 0};
  return Array({4}, words);
}

// The only input is the generator's state.
template <uint32_t Kind>
void launch_random(const Node& n, Launch& launch) {
  const Draw& draw = n.attrs<Draw>();
  const auto count = static_cast<uint32_t>(n.out().shape.numel());
  launch_elements(
      launch,
      shaders::random{.state = launch.in(0),
                      .y = launch.out(),
                      .push = {.count = count, .stream = draw.stream, .p0 = draw.p0, .p1 = draw.p1},
                      .spec = {.KIND = Kind}},
      count);
}

std::vector<Tensor> no_gradient(const Backward&) { return std::vector<Tensor>(1); }

const OpDef& kUniform =
    define_op({.name = "uniform", .dtypes = "i32", .launch = launch_random<0>, .gradient = no_gradient});
const OpDef& kNormal =
    define_op({.name = "normal", .dtypes = "i32", .launch = launch_random<1>, .gradient = no_gradient});
const OpDef& kBernoulli =
    define_op({.name = "bernoulli", .dtypes = "i32", .launch = launch_random<2>, .gradient = no_gradient});

Tensor drawn(const OpDef& op, const Shape& shape, float p0, float p1, Generator& generator) {
  return make_node(op, Draw{generator.next_stream(), p0, p1}, {generator.state()}, {{shape}});
}

// Inputs: state, x. The same stream gives the same mask, which is thus never stored.
void launch_dropout(const Node& n, Launch& launch) {
  const Draw& draw = n.attrs<Draw>();
  const auto count = static_cast<uint32_t>(n.out().shape.numel());
  launch_elements(launch,
                  shaders::dropout{.state = launch.in(0),
                                   .x = launch.in(1),
                                   .y = launch.out(),
                                   .push = {.count = count,
                                            .x_offset = static_cast<uint32_t>(n.in(1).offset()),
                                            .stream = draw.stream,
                                            .p = draw.p0,
                                            .scale = draw.p1}},
                  count);
}

std::vector<Tensor> dropout_gradient(const Backward& b) {
  return {{}, make_node(*b.node.op, b.node.attributes, {b.x(0), contiguous(b.dy())}, {{b.x(1).shape()}})};
}

const OpDef& kDropout = define_op(
    {.name = "dropout", .dtypes = "f32 i32", .launch = launch_dropout, .gradient = dropout_gradient});

void check_probability(std::string_view op, float p) {
  if (!(p >= 0 && p <= 1)) throw Error(std::string(op), cat("p = ", p, " is not in [0, 1]"));
}

}  // namespace

Generator::Generator(uint64_t seed) : state_("generator", state_array(seed)) {}

void Generator::seed(uint64_t seed) { state_.set(state_array(seed)); }

Tensor Generator::advance() {
  const std::array<int32_t, 4> step{0, 0, 1, 0};
  return assign(state_, state_.tensor() + Tensor(Array({4}, step)));
}

Generator& default_generator() {
  static Generator generator;
  return generator;
}

Tensor uniform(const Shape& shape, float low, float high, Generator& generator) {
  if (!(low <= high)) throw Error("uniform", cat("the range [", low, ", ", high, ") is empty"));
  return drawn(kUniform, shape, low, high, generator);
}

Tensor normal(const Shape& shape, float mean, float deviation, Generator& generator) {
  if (!(deviation >= 0)) throw Error("normal", cat("the deviation ", deviation, " is negative"));
  return drawn(kNormal, shape, mean, deviation, generator);
}

Tensor bernoulli(const Shape& shape, float p, Generator& generator) {
  check_probability("bernoulli", p);
  return drawn(kBernoulli, shape, p, 0, generator);
}

Tensor dropout(const Tensor& x, float p, Generator& generator) {
  require_dtype("dropout", x, {DType::f32});
  check_probability("dropout", p);
  return dropout_of_stream(x, p, generator.next_stream(), generator.state());
}

Tensor dropout_of_stream(const Tensor& x, float p, uint32_t stream, const Tensor& state) {
  // With p = 1 all is dropped, and the scale does not matter.
  const Draw draw{stream, p, p < 1 ? 1 / (1 - p) : 0};
  return make_node(kDropout, draw, {state, contiguous(x)}, {{x.shape()}});
}

}  // namespace stithy

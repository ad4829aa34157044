// Rotary position embedding. shaders/rotary.comp states the formula.
#include <cmath>

#include "engine/graph/op.h"
#include "engine/graph/pieces.h"
#include "engine/ops.h"
#include "engine/ops/elements.h"
#include "engine/ops_sequence.h"
#include "shaders/rotary.h"

namespace stithy {
namespace {

struct Rotary {
  bool interleaved = false;
  float sign = 1;
};

uint32_t u32(int64_t value) { return static_cast<uint32_t>(value); }

// Inputs: x [n, heads, t, d], c and s [t, d / 2] or [n, t, d / 2]. Output: y [n, t, heads, d].
void launch_rotary(const Node& n, Launch& launch) {
  if (n.out().shape.numel() == 0) return;
  const Tensor x = n.in(0), c = n.in(1), s = n.in(2);
  const Rotary& o = n.attrs<Rotary>();
  const int64_t half = x.dim(3) / 2;
  shaders::rotary kernel{.x = launch.in(0), .c = launch.in(1), .s = launch.in(2), .y = launch.out()};
  const auto stride = [&](int axis) { return x.dim(axis) == 1 ? 0 : x.strides()[axis]; };
  bool aligned = half % 4 == 0 && x.offset() % 4 == 0 && c.offset() % 4 == 0 && s.offset() % 4 == 0;
  for (int axis = 0; axis < 3; ++axis) aligned = aligned && stride(axis) % 4 == 0;
  kernel.push = {.batches = u32(x.dim(0)),
                 .heads = u32(x.dim(1)),
                 .t = u32(x.dim(2)),
                 .d = u32(x.dim(3)),
                 .x_offset = u32(x.offset()),
                 .x_n = u32(stride(0)),
                 .x_h = u32(stride(1)),
                 .x_t = u32(stride(2)),
                 .c_offset = u32(c.offset()),
                 .s_offset = u32(s.offset()),
                 .table_n = c.rank() == 3 ? u32(x.dim(2) * half) : 0,
                 .sign = o.sign};
  kernel.spec = {.local_size_x = 64, .INTERLEAVED = o.interleaved, .VEC4 = aligned};
  const auto count = static_cast<uint64_t>(x.numel() / 2 / (aligned ? 4 : 1));
  launch(kernel, launch.grid((count + 63) / 64));
}

// The angles are no inputs of a gradient.
std::vector<Tensor> rotary_composition(const Node& n) {
  const Rotary& o = n.attrs<Rotary>();
  const Tensor x = transpose(n.in(0), 1, 2);
  const int64_t half = x.dim(3) / 2;
  const Tensor c = unsqueeze(stop_gradient(n.in(1)), -2), s = unsqueeze(stop_gradient(n.in(2)), -2) * o.sign;
  const Shape pairs = o.interleaved ? Shape{x.dim(0), x.dim(1), x.dim(2), half, 2}
                                    : Shape{x.dim(0), x.dim(1), x.dim(2), 2, half};
  const int64_t axis = o.interleaved ? 4 : 3;
  const std::vector<Tensor> ab = split(reshape(x, pairs), std::vector<int64_t>{1, 1}, axis);
  const Tensor a = squeeze(ab[0], axis), b = squeeze(ab[1], axis);
  return {reshape(stack(std::vector{a * c - b * s, b * c + a * s}, axis), x.shape())};
}

Tensor with_last_axis_dense(const Tensor& x) { return x.strides()[3] == 1 ? x : contiguous(x); }

Tensor turned(const Rotary& o, const Tensor& x, const Tensor& c, const Tensor& s);
const OpDef& kRotary =
    define_op({.name = "rotary",
               .launch = launch_rotary,
               .gradient =
                   [](const Backward& b) {
                     const Rotary& o = b.attrs<Rotary>();
                     std::vector<Tensor> dxs(3);
                     if (b.needs(0))
                       dxs[0] = turned({o.interleaved, -o.sign}, transpose(b.dy(), 1, 2), b.x(1), b.x(2));
                     return dxs;
                   },
               .flops = [](const Node& n) { return 3.0 * static_cast<double>(n.out().shape.numel()); },
               .composition = rotary_composition});
[[maybe_unused]] const bool kCut = define_cut(
    [](const Node& n, int input, int axis) {
      return axis > 0 ? kNever : input == 0 || n.in(input).rank() == 3 ? 0 : kWhole;
    },
    {"rotary"});

// [n, heads, t, d].
Tensor turned(const Rotary& o, const Tensor& x, const Tensor& c, const Tensor& s) {
  const Shape shape{x.dim(0), x.dim(2), x.dim(1), x.dim(3)};
  return transpose(make_node(kRotary, o, {with_last_axis_dense(x), c, s}, {{shape}}), 1, 2);
}

}  // namespace

Tensor rotary(const Tensor& x, const Tensor& positions, const RotaryOptions& options) {
  require_dtype("rotary", x, {DType::f32});
  if (x.rank() < 2 || x.dim(-1) % 2 != 0 || x.dim(-1) == 0)
    throw Error("rotary", cat("x has the shape ", x.shape(), ", not [..., t, d] with an even d"));
  if (!(options.base > 0)) throw Error("rotary", cat("the base ", options.base, " is not positive"));
  const int64_t t = x.dim(-2), half = x.dim(-1) / 2;
  Tensor at = arange(t);
  if (positions.defined()) {
    require_dtype("rotary", positions, {DType::i32});
    const Shape& shape = positions.shape();
    if (shape.empty())
      at = at + positions;
    else if (shape == Shape{t})
      at = positions;
    else if (x.rank() == 4 && shape == Shape{x.dim(0), t})
      at = positions;
    else
      throw Error("rotary", cat("positions have the shape ", shape, ", which does not fit x ", x.shape()),
                  "they are [], [t], or [n, t] of x [n, heads, t, d]");
  }
  Array frequencies({half}, DType::f32);
  for (int64_t i = 0; i < half; ++i)
    frequencies.set(
        i, std::pow(static_cast<double>(options.base), -static_cast<double>(i) / static_cast<double>(half)));
  const Tensor angle = unsqueeze(cast(at, DType::f32), -1) * Tensor(frequencies);
  // Four axes for the kernel: heads are those before t, the batch those before.
  const int r = x.rank();
  const Shape four{r > 4 ? -1 : r == 4 ? x.dim(0) : 1, r > 2 ? x.dim(r - 3) : 1, t, x.dim(-1)};
  const Tensor y =
      turned({options.interleaved, 1}, reshape(x, four), contiguous(cos(angle)), contiguous(sin(angle)));
  return reshape(y, x.shape());
}

}  // namespace stithy

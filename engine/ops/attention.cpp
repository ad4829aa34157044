// Attention. shaders/attention.comp states the formulas.
#include <cmath>
#include <limits>

#include "engine/graph/op.h"
#include "engine/graph/pieces.h"
#include "engine/graph/plan.h"
#include "engine/ops.h"
#include "engine/ops/elements.h"
#include "engine/ops/random.h"
#include "engine/ops_sequence.h"
#include "shaders/attention.h"

namespace stithy {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// What a node of attention is asked for, and the places of the inputs that may be missing among its inputs,
// behind q, k and v; 0 for none.
struct Attention {
  bool causal = false;
  int64_t window = 0;
  float scale = 1, dropout = 0;
  uint32_t stream = 0;
  int mask = 0, alibi = 0, lengths = 0, state = 0;
};

// Inputs: q, k, v, then those.
struct Inputs {
  Attention o;
  std::vector<Tensor> xs;
  const Tensor& at(int i) const { return xs[static_cast<size_t>(i)]; }
  int64_t queries() const { return at(0).dim(2); }
  int64_t keys() const { return at(1).dim(2); }
};

// [n, heads, t, a] times [n, kv_heads, a, b], which has a head for each group: [n, heads, t, b].
Tensor grouped_matmul(const Tensor& x, const Tensor& y) {
  const int64_t n = x.dim(0), heads = x.dim(1), t = x.dim(2), kv_heads = y.dim(1);
  if (kv_heads == heads) return matmul(x, y);
  return reshape(matmul(reshape(x, {n, kv_heads, heads / kv_heads, t, x.dim(3)}), unsqueeze(y, 2)),
                 {n, heads, t, y.dim(3)});
}

// The probabilities [n, heads, tq, tk] before dropout.
Tensor probabilities(const Inputs& in) {
  const Attention& o = in.o;
  const Tensor q = in.at(0);
  Tensor scores = grouped_matmul(q, transpose(in.at(1))) * o.scale;
  const Tensor key = arange(in.keys()),
               query = unsqueeze(arange(in.queries()), -1) +
                       Tensor(Array({}, std::vector{static_cast<int32_t>(in.keys() - in.queries())}));
  if (o.alibi)
    scores = scores - reshape(stop_gradient(in.at(o.alibi)), {-1, 1, 1}) * abs(cast(query - key, DType::f32));
  Tensor seen;
  const auto also = [&](const Tensor& condition) {
    seen = seen.defined() ? logical_and(seen, condition) : condition;
  };
  if (o.mask) {
    scores = scores + in.at(o.mask);
    also(greater(in.at(o.mask), -kInfinity));
  }
  if (o.causal) also(less_equal(key, query));
  if (o.window) also(less(query - key, Array({}, std::vector{static_cast<int32_t>(o.window)})));
  if (o.lengths) also(less(key, reshape(in.at(o.lengths), {-1, 1, 1, 1})));
  if (!seen.defined()) return softmax(scores);
  // Finite, so that a row that sees nothing is no NaN; it is zero in the end.
  return where(seen, softmax(where(seen, scores, -1e30f)), 0.0f);
}

// Rows of the mask are drawn from a multiple of four on, so that a kernel that walks keys draws four at once.
Tensor dropped(const Inputs& in, const Tensor& p) {
  if (!in.o.state) return p;
  const int64_t keys = p.dim(-1), padded = (keys + 3) / 4 * 4;
  const Tensor wide = pad(p, {0, 0, 0, 0}, {0, 0, 0, padded - keys});
  return slice(dropout_of_stream(wide, in.o.dropout, in.o.stream, in.at(in.o.state)), -1, 0, keys);
}

Tensor composed(const Inputs& in) { return grouped_matmul(dropped(in, probabilities(in)), in.at(2)); }

uint32_t u32(int64_t value) { return static_cast<uint32_t>(value); }

// The scores that are not hidden by `causal` and `window`.
double pairs_of(const Attention& o, int64_t tq, int64_t tk) {
  if (!o.causal) return static_cast<double>(tq) * static_cast<double>(tk);
  double pairs = 0;
  for (int64_t i = 0; i < tq; ++i) {
    const int64_t end = i + tk - tq + 1;
    pairs += static_cast<double>(std::clamp<int64_t>(end, 0, o.window ? o.window : tk));
  }
  return pairs;
}
template <int Products>
double attention_flops(const Node& n) {
  const Tensor q = n.in(0), v = n.in(2);
  return Products * static_cast<double>(q.dim(0) * q.dim(1)) *
         pairs_of(n.attrs<Attention>(), q.dim(2), v.dim(2)) * static_cast<double>(q.dim(3) + v.dim(3));
}

// lavapipe before Mesa 25 leaves a loop after 65,535 turns of all loops of an invocation.
constexpr int64_t kMostTurns = 60000;

// How a kernel is cut into invocations; the shader says what they are.
struct Tile {
  uint32_t local_size = 64, rows = 1, turn = 4, slice = 8;
  bool held = false, texels = false;
};

// Kernels read and write rows as vec4.
bool is_aligned(const Tensor& x) {
  bool aligned = x.offset() % 4 == 0 && x.dim(3) % 4 == 0 && x.strides()[3] == 1;
  for (int i = 0; i < 3; ++i) aligned = aligned && (x.dim(i) == 1 || x.strides()[i] % 4 == 0);
  return aligned;
}
// With zeros at the end of rows where they are no vec4; they change no score.
Tensor aligned(const Tensor& x) {
  if (x.dim(3) % 4 != 0) return pad(x, {0, 0, 0, 0}, {0, 0, 0, 4 - x.dim(3) % 4});
  const Tensor y = is_aligned(x) ? x : contiguous(x);
  return is_aligned(y) ? y : y * 1.0f;  // at an odd place of a larger tensor: a copy
}

// The arguments that all kernels have. Inputs 0 to 2 of their nodes are q, k and v.
template <class Kernel>
Kernel fill(Kernel kernel, const Node& n, const Launch& launch, const Tile& tile) {
  const Attention& o = n.attrs<Attention>();
  const Tensor q = n.in(0), k = n.in(1), v = n.in(2);
  kernel.q = launch.in(0);
  kernel.k = launch.in(1);
  kernel.v = launch.in(2);
  // Those that are missing are not read.
  kernel.mask = launch.in(o.mask);
  kernel.alibi = launch.in(o.alibi);
  kernel.lengths = launch.in(o.lengths);
  kernel.state = launch.in(o.state);
  const auto stride = [](const Tensor& x, int axis) {
    return x.dim(axis) == 1 ? 0u : u32(x.strides()[axis]);
  };
  const auto vec4s = [&](const Tensor& x, int axis) { return stride(x, axis) / 4; };
  kernel.push = {.batches = u32(q.dim(0)),
                 .heads = u32(q.dim(1)),
                 .kv_heads = u32(k.dim(1)),
                 .tq = u32(q.dim(2)),
                 .tk = u32(k.dim(2)),
                 .q_offset = u32(q.offset() / 4),
                 .q_n = vec4s(q, 0),
                 .q_h = vec4s(q, 1),
                 .q_t = vec4s(q, 2),
                 .k_offset = u32(k.offset() / 4),
                 .k_n = vec4s(k, 0),
                 .k_h = vec4s(k, 1),
                 .k_t = vec4s(k, 2),
                 .v_offset = u32(v.offset() / 4),
                 .v_n = vec4s(v, 0),
                 .v_h = vec4s(v, 1),
                 .v_t = vec4s(v, 2),
                 .alibi_offset = u32(n.in(o.alibi).offset()),
                 .lengths_offset = u32(n.in(o.lengths).offset()),
                 .window = static_cast<int32_t>(o.window ? o.window : q.dim(2) + k.dim(2)),
                 .stream = o.stream,
                 .scale = o.scale,
                 .drop_p = o.dropout,
                 .drop_scale = 1 / (1 - o.dropout)};
  if (o.mask) {
    const Tensor& mask = n.in(o.mask);
    uint32_t* strides[] = {&kernel.push.mask_n, &kernel.push.mask_h, &kernel.push.mask_i,
                           &kernel.push.mask_j};
    for (int axis = 0; axis < mask.rank(); ++axis) *strides[axis + 4 - mask.rank()] = stride(mask, axis);
    kernel.push.mask_offset = u32(mask.offset());
  }
  kernel.spec = {.local_size_x = tile.local_size,
                 .ROWS = tile.rows,
                 .TURN = tile.turn,
                 .SLICE = tile.slice,
                 .HELD = tile.held,
                 .D4 = u32(q.dim(3) / 4),
                 .DV4 = u32(v.dim(3) / 4),
                 .CAUSAL = o.causal,
                 .HAS_MASK = o.mask != 0,
                 .HAS_ALIBI = o.alibi != 0,
                 .HAS_LENGTHS = o.lengths != 0,
                 .HAS_DROPOUT = o.state != 0};
  return kernel;
}

// For `inputs` of the node, read as rows, `rows` of a result, each of `width` vec4, and `turns` of rows that
// are walked.
Tile choose_tile(const Node& n, Launch& launch, std::initializer_list<int> inputs, int64_t rows,
                 int64_t width, int64_t turns) {
  const vk::DeviceInfo& device = launch.device();
  bool texels = device.fast_texels && device.texel_alignment <= kAlignment;
  for (const int i : inputs) {
    const Ref ref = launch.in(i);
    texels = texels && storage_bytes(ref.node->out(ref.output)) / 16 <= device.max_texel_elements;
  }
  const bool is_backward = inputs.size() > 3;
  std::vector<Tile> tiles;
  if (device.is_cpu()) {
    // More rows share the loads of others, and take longer to compile. Backward keeps more of a turn.
    const uint32_t lanes = device.subgroup_size;
    const bool large = node_flops(n) > 1e9;
    for (const uint32_t own : {large ? 4u : 2u, large ? 2u : 4u, 1u})
      if (rows > (own - 1) * lanes)
        tiles.push_back({.local_size = lanes,
                         .rows = own,
                         .turn = is_backward ? 2u : 4u,
                         .slice = u32(width),
                         .held = true,
                         .texels = texels});
    if (tiles.size() > 2) tiles.pop_back();
  }
  // Not held, each vec4 of a product is a turn of a loop.
  const int64_t vec4s = (n.in(0).dim(3) + n.in(2).dim(3)) / 4 + 1;
  const size_t plain = tiles.size();
  // A pass over queries makes two results at once.
  const bool two_results = is_backward && n.outputs.size() > 1;
  const uint32_t turn = two_results ? 2 : 4, columns = std::min(two_results ? 4u : 8u, u32(width));
  if (!device.is_cpu() || turns / turn * vec4s < kMostTurns)
    tiles.push_back({.turn = turn, .slice = columns});
  if (!device.is_cpu()) {
    // More rows share loads, more columns share scores; both take registers.
    if (rows > 64) tiles.push_back({.rows = 2, .turn = turn, .slice = columns});
    if (width > columns && !two_results && !device.few_registers)
      tiles.push_back({.turn = turn, .slice = std::min(2 * columns, u32(width))});
  }
  Choice choice{
      .key = cat(size_bucket(rows), " by ", size_bucket(turns), " of ", 4 * width, " batch ",
                 size_bucket(n.in(0).dim(0) * n.in(0).dim(1)), n.attrs<Attention>().causal ? " causal" : ""),
      .labels = {},
      .plain = std::min(plain, tiles.size() - 1)};
  for (const Tile& tile : tiles)
    choice.labels.push_back(cat(tile.local_size, " times ", tile.rows, " rows by ", 4 * tile.slice,
                                tile.held ? " held" : "", tile.texels ? " texels" : ""));
  return tiles[launch.choose(std::move(choice))];
}

template <class Kernel>
void launch_tiles(Launch& launch, const Kernel& kernel, int64_t rows, int64_t width, int64_t heads) {
  const int64_t own = kernel.spec.local_size_x * kernel.spec.ROWS, slice = kernel.spec.SLICE;
  const int64_t groups = (rows + own - 1) / own * ((width + slice - 1) / slice);
  launch(kernel, launch.grid(static_cast<uint64_t>(groups * heads * kernel.push.batches)));
}

// Inputs: q, k, v, then those that Attention names. Outputs: y [n, tq, heads, dv], lse [n, tq, heads].
void launch_attention(const Node& n, Launch& launch) {
  if (n.out().shape.numel() == 0) return;
  const int64_t rows = n.in(0).dim(2), width = n.in(2).dim(3) / 4;
  const Tile tile = choose_tile(n, launch, {0, 1, 2}, rows, width, n.in(1).dim(2));
  const auto run = [&](auto kernel) {
    kernel = fill(kernel, n, launch, tile);
    kernel.y = launch.out(0);
    kernel.lse = launch.out(1);
    launch_tiles(launch, kernel, rows, width, n.in(0).dim(1));
  };
  if (tile.texels)
    run(shaders::attention_texel{});
  else
    run(shaders::attention{});
}

// Inputs: q, k, v, dy, lse, delta, then those that Attention names.
constexpr int kDy = 3, kLse = 4, kDelta = 5;
template <class Kernel>
Kernel fill_backward(Kernel kernel, const Node& n, const Launch& launch, const Tile& tile) {
  kernel = fill(kernel, n, launch, tile);
  kernel.dy = launch.in(kDy);
  kernel.lse = launch.in(kLse);
  kernel.delta = launch.in(kDelta);
  kernel.push.dy_offset = u32(n.in(kDy).offset() / 4);
  kernel.push.lse_offset = u32(n.in(kLse).offset());
  kernel.push.delta_offset = u32(n.in(kDelta).offset());
  return kernel;
}

// Output: dq [n, tq, heads, d].
void launch_dq(const Node& n, Launch& launch) {
  if (n.out().shape.numel() == 0) return;
  const int64_t rows = n.in(0).dim(2), width = n.in(0).dim(3) / 4;
  const Tile tile = choose_tile(n, launch, {0, 1, 2, kDy}, rows, width, n.in(1).dim(2));
  const auto run = [&](auto kernel) {
    kernel = fill_backward(kernel, n, launch, tile);
    kernel.dq = launch.out();
    launch_tiles(launch, kernel, rows, width, n.in(0).dim(1));
  };
  if (tile.texels)
    run(shaders::attention_dq_texel{});
  else
    run(shaders::attention_dq{});
}

// Outputs: dk [n, tk, kv_heads, d], dv [n, tk, kv_heads, dv].
void launch_dkv(const Node& n, Launch& launch) {
  if (n.out().shape.numel() == 0) return;
  const int64_t rows = n.in(1).dim(2), width = std::max(n.in(0).dim(3), n.in(2).dim(3)) / 4;
  const int64_t group = n.in(0).dim(1) / n.in(1).dim(1);
  const Tile tile = choose_tile(n, launch, {0, 1, 2, kDy}, rows, width, group * n.in(0).dim(2));
  const auto run = [&](auto kernel) {
    kernel = fill_backward(kernel, n, launch, tile);
    kernel.dk = launch.out(0);
    kernel.dv = launch.out(1);
    launch_tiles(launch, kernel, rows, width, n.in(1).dim(1));
  };
  if (tile.texels)
    run(shaders::attention_dkv_texel{});
  else
    run(shaders::attention_dkv{});
}

// By elements of the batch. What is dropped goes by the row of all, so that no piece could tell it.
int cut_by_batch(const Node& n, int input, int axis) {
  const Attention& o = n.attrs<Attention>();
  if (axis > 0 || o.state) return kNever;
  const bool for_all = input != 0 && (input == o.alibi || (input == o.mask && n.in(input).rank() < 4));
  return for_all || n.in(input).dim(0) == 1 ? kWhole : 0;
}
[[maybe_unused]] const bool kCut = define_cut(cut_by_batch, {"attention", "attention_dq", "attention_dkv"});

const OpDef& kDqOp = define_op(
    {.name = "attention_dq", .dtypes = "f32 i32", .launch = launch_dq, .flops = attention_flops<3>});
const OpDef& kDkvOp = define_op(
    {.name = "attention_dkv", .dtypes = "f32 i32", .launch = launch_dkv, .flops = attention_flops<4>});

std::vector<Tensor> attention_gradient(const Backward& b) {
  const Inputs in{b.attrs<Attention>(), b.node.inputs};
  const Tensor q = b.x(0), k = b.x(1), v = b.x(2), dy = aligned(contiguous(b.dy()));
  const Tensor delta = sum(dy * b.y(), {-1});
  std::vector<Tensor> inputs{q, k, v, dy, b.y(1), delta}, dxs(b.node.inputs.size());
  inputs.insert(inputs.end(), in.xs.begin() + 3, in.xs.end());
  Attention o = in.o;
  for (int* place : {&o.mask, &o.alibi, &o.lengths, &o.state})
    if (*place) *place += 3;
  const auto shape_like = [](const Tensor& x) { return Shape{x.dim(0), x.dim(2), x.dim(1), x.dim(3)}; };
  if (b.needs(0)) dxs[0] = transpose(make_node(kDqOp, o, inputs, {{shape_like(q)}}), 1, 2);
  if (b.needs(1) || b.needs(2)) {
    const Tensor dk = make_node(kDkvOp, o, inputs, {{shape_like(k)}, {shape_like(v)}});
    if (b.needs(1)) dxs[1] = transpose(dk, 1, 2);
    if (b.needs(2)) dxs[2] = transpose(dk.node()->tensor(1), 1, 2);
  }
  // Where a mask is learned, out of all scores.
  if (o.mask && b.needs(in.o.mask)) {
    const Tensor dp = dropped(in, grouped_matmul(transpose(dy, 1, 2), transpose(v)));
    const Tensor ds = probabilities(in) * (dp - unsqueeze(transpose(delta, 1, 2), -1));
    dxs[static_cast<size_t>(in.o.mask)] = sum_to(ds, in.at(in.o.mask).shape());
  }
  return dxs;
}

const OpDef& kAttention = define_op({.name = "attention",
                                     .dtypes = "f32 i32",
                                     .launch = launch_attention,
                                     .gradient = attention_gradient,
                                     .flops = attention_flops<2>,
                                     .composition = [](const Node& n) {
                                       const Inputs in{n.attrs<Attention>(), n.inputs};
                                       return std::vector{transpose(composed(in), 1, 2), Tensor()};
                                     }});

void check(bool right, const std::string& what, const char* hint = "") {
  if (!right) throw Error("attention", what, hint);
}

void check_shapes(const Tensor& q, const Tensor& k, const Tensor& v) {
  for (const Tensor* x : {&q, &k, &v}) {
    require_dtype("attention", *x, {DType::f32});
    check(x->rank() == 4, cat("an input has the shape ", x->shape()), "it takes [n, heads, t, d]");
  }
  const auto all = [&] { return cat("q ", q.shape(), ", k ", k.shape(), " and v ", v.shape()); };
  check(k.dim(0) == q.dim(0) && v.dim(0) == q.dim(0), all() + " are not of one batch");
  check(k.dim(3) == q.dim(3) && q.dim(3) > 0, all() + " do not fit", "q and k have one last axis");
  check(v.dim(1) == k.dim(1) && v.dim(2) == k.dim(2), all() + " do not fit", "v has the keys of k");
  check(k.dim(1) > 0 && q.dim(1) % k.dim(1) == 0,
        cat(q.dim(1), " heads of q are not a multiple of the ", k.dim(1), " of k and v"));
  check(k.dim(2) > 0, all() + ": there is no key");
}

}  // namespace

Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionOptions& options,
                 const Tensor& mask) {
  check_shapes(q, k, v);
  const int64_t n = q.dim(0), heads = q.dim(1), tq = q.dim(2), tk = k.dim(2);
  check(options.window >= 0, cat("a window of ", options.window, " keys"), "0 is for all");
  check(options.window == 0 || options.causal, "a window is for causal attention", "set causal");
  check(options.dropout >= 0 && options.dropout < 1, cat("dropout ", options.dropout, " is not in [0, 1)"));
  check(std::isfinite(options.scale), cat("the scale ", options.scale, " is not finite"));
  Inputs in{{.causal = options.causal,
             .window = options.window < tk ? options.window : 0,
             .scale = options.scale != 0 ? options.scale : 1 / std::sqrt(static_cast<float>(q.dim(3))),
             .dropout = options.dropout},
            {q, k, v}};
  const auto also = [&](const Tensor& x) {
    in.xs.push_back(x);
    return static_cast<int>(in.xs.size()) - 1;
  };
  if (mask.defined()) {
    require_dtype("attention", mask, {DType::f32, DType::boolean});
    const Shape scores{n, heads, tq, tk};
    check(broadcast("attention", mask.shape(), scores) == scores,
          cat("a mask of shape ", mask.shape(), " does not broadcast to the scores ", scores));
    in.o.mask = also(mask.dtype() == DType::f32 ? mask : where(mask, 0.0f, -kInfinity));
  }
  if (options.alibi.defined()) {
    require_dtype("attention", options.alibi, {DType::f32});
    check(options.alibi.shape() == Shape{heads},
          cat("ALiBi slopes of shape ", options.alibi.shape(), " are not one for each of ", heads, " heads"));
    in.o.alibi = also(contiguous(options.alibi));
  }
  if (options.lengths.defined()) {
    require_dtype("attention", options.lengths, {DType::i32});
    check(options.lengths.shape() == Shape{n},
          cat("lengths have the shape ", options.lengths.shape(), " instead of ", Shape{n}));
    in.o.lengths = also(contiguous(options.lengths));
  }
  if (options.dropout > 0) {
    Generator& generator = options.generator ? *options.generator : default_generator();
    in.o.stream = generator.next_stream();
    in.o.state = also(generator.state());
  }
  // Beyond these the kernels would need too many registers, or too many turns of a loop for some CPU drivers;
  // for a few queries, whose scores take little memory, products keep more lanes busy.
  constexpr int64_t kWidest = 256, kLongest = 2 * kMostTurns, kFew = 3;
  if (tq <= kFew || std::max(q.dim(3), v.dim(3)) > kWidest || std::max(tk, heads / k.dim(1) * tq) > kLongest)
    return composed(in);
  for (size_t i = 0; i < 3; ++i) in.xs[i] = aligned(in.xs[i]);
  const Tensor y = make_node(kAttention, in.o, in.xs, {{{n, tq, heads, in.xs[2].dim(3)}}, {{n, tq, heads}}});
  return transpose(slice(y, 3, 0, v.dim(3)), 1, 2);
}

}  // namespace stithy

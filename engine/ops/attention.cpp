// Attention, and the position embeddings that belong to it.
#include <cmath>
#include <limits>

#include "engine/graph/op.h"
#include "engine/ops.h"
#include "engine/ops/elements.h"
#include "engine/ops/random.h"
#include "engine/ops_sequence.h"

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

// Of k or v: [n, kv_heads, t, d] as [n, heads, t, d].
Tensor of_heads(const Tensor& x, int64_t heads) {
  const int64_t n = x.dim(0), kv_heads = x.dim(1), t = x.dim(2), d = x.dim(3);
  if (kv_heads == heads) return x;
  return reshape(expand(unsqueeze(x, 2), {n, kv_heads, heads / kv_heads, t, d}), {n, heads, t, d});
}

// The probabilities [n, heads, tq, tk] before dropout.
Tensor probabilities(const Inputs& in) {
  const Attention& o = in.o;
  const Tensor q = in.at(0);
  Tensor scores = matmul(q, transpose(of_heads(in.at(1), q.dim(1)))) * o.scale;
  const Tensor key = arange(in.keys()),
               query = unsqueeze(arange(in.queries()), -1) +
                       Tensor(Array({}, std::vector{static_cast<int32_t>(in.keys() - in.queries())}));
  if (o.alibi) scores = scores - reshape(in.at(o.alibi), {-1, 1, 1}) * abs(cast(query - key, DType::f32));
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

Tensor composed(const Inputs& in) {
  return matmul(dropped(in, probabilities(in)), of_heads(in.at(2), in.at(0).dim(1)));
}

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
             .window = options.window,
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
    in.o.alibi = also(stop_gradient(options.alibi));
  }
  if (options.lengths.defined()) {
    require_dtype("attention", options.lengths, {DType::i32});
    check(options.lengths.shape() == Shape{n},
          cat("lengths have the shape ", options.lengths.shape(), " instead of ", Shape{n}));
    in.o.lengths = also(options.lengths);
  }
  if (options.dropout > 0) {
    Generator& generator = options.generator ? *options.generator : default_generator();
    in.o.stream = generator.next_stream();
    in.o.state = also(generator.state());
  }
  return composed(in);
}

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
      at = reshape(positions, {x.dim(0), 1, t});
    else
      throw Error("rotary", cat("positions have the shape ", shape, ", which does not fit x ", x.shape()),
                  "they are [], [t], or [n, t] of x [n, heads, t, d]");
  }
  Array frequencies({half}, DType::f32);
  for (int64_t i = 0; i < half; ++i)
    frequencies.set(
        i, std::pow(static_cast<double>(options.base), -static_cast<double>(i) / static_cast<double>(half)));
  const Tensor angle = unsqueeze(cast(at, DType::f32), -1) * Tensor(frequencies);
  const Tensor c = cos(angle), s = sin(angle);
  if (options.interleaved) {
    Shape pairs = x.shape();
    pairs[x.rank() - 1] = half;
    pairs.push_back(2);
    const Tensor z = reshape(x, pairs);
    const Tensor a = squeeze(slice(z, -1, 0, 1), -1), b = squeeze(slice(z, -1, 1, 2), -1);
    return reshape(stack(std::vector{a * c - b * s, b * c + a * s}, -1), x.shape());
  }
  const std::vector<Tensor> parts = split(x, std::vector{half, half}, -1);
  return concat(std::vector{parts[0] * c - parts[1] * s, parts[1] * c + parts[0] * s}, -1);
}

}  // namespace stithy

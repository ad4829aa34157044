#include "tools/stithy/bench_cases.h"

#include <cmath>

#include "engine/core/error.h"
#include "engine/core/rng.h"
#include "engine/ops.h"
#include "engine/ops_optim.h"
#include "engine/ops_sequence.h"
#include "engine/ops_vision.h"
#include "nn/nn.h"

namespace stithy::measure {

namespace {
Philox next_random() {
  static uint64_t seed = 0;
  return Philox(++seed);
}
}  // namespace

Array random_values(const Shape& shape) {
  Philox random = next_random();
  Array array(shape, DType::f32);
  for (float& value : array.values<float>())
    value = static_cast<float>(static_cast<int32_t>(random.bits())) * 0x1p-31f;  // in [-1, 1)
  return array;
}
Array random_classes(const Shape& shape, int64_t classes) {
  Philox random = next_random();
  Array array(shape, DType::i32);
  for (int32_t& value : array.values<int32_t>())
    value = static_cast<int32_t>(random.below(static_cast<uint64_t>(classes)));
  return array;
}

std::string text_of(const Shape& shape) {
  std::string text;
  for (int64_t size : shape) text += cat(text.empty() ? "" : "x", size);
  return text;
}

namespace {

Tensor variable(const Shape& shape) { return Variable("x", random_values(shape)); }

// All of a tensor is computed, one element is read back.
Tensor tip(const Tensor& x) { return x.rank() == 0 ? x : slice(reshape(x, {x.numel()}), 0, 0, 1); }
Graph outputs(const std::vector<Tensor>& ys) {
  Graph graph;
  for (const Tensor& y : ys) graph.fetches.push_back(tip(y));
  return graph;
}

struct Table {
  std::vector<OpCase> cases;

  void add(const std::string& op, const Shape& shape, bool quick, std::function<Graph()> build) {
    cases.push_back({op, text_of(shape), std::move(build), quick});
  }
  // An op of one tensor.
  void map(const std::string& op, const Shape& shape, bool quick,
           const std::function<Tensor(const Tensor&)>& f) {
    add(op, shape, quick, [=] { return outputs({f(variable(shape))}); });
  }
  // The shape is written m x n x k, after the batch.
  void gemm(const Gemm& g, bool quick = false) {
    const char* layout = g.transpose_a ? "tn" : g.transpose_b ? "nt" : "nn";
    Shape shape{g.m, g.n, g.k};
    if (g.batch > 1) shape.insert(0, g.batch);
    add(cat(g.batch > 1 ? "matmul_batch_" : "matmul_", layout), shape, quick, [g] {
      const auto operand = [&](int64_t rows, int64_t columns, bool transposed) {
        Shape s = transposed ? Shape{columns, rows} : Shape{rows, columns};
        if (g.batch > 1) s.insert(0, g.batch);
        return transposed ? transpose(variable(s)) : variable(s);
      };
      return outputs({matmul(operand(g.m, g.k, g.transpose_a), operand(g.k, g.n, g.transpose_b))});
    });
    cases.back().gemm = g;
  }
  // y = x w^T + b: the products of a step, forward, dw and dx.
  void linear(int64_t rows, int64_t in, int64_t out, bool dx) {
    gemm({rows, out, in, 1, false, true});
    gemm({out, in, rows, 1, true, false});
    if (dx) gemm({rows, in, out, 1, false, false});
  }
  void optimizer(const std::string& op, int64_t n,
                 const std::function<Tensor(const Variable& w, const Tensor& dw, const UpdateScalars&)>& f) {
    add(op, {n}, false, [=] {
      const UpdateScalars scalars{
          Variable("lr", Array::scalar(1e-3f)), Variable("step", Array::scalar(10)), {}};
      return Graph{{}, {f(Variable("w", random_values({n})), variable({n}), scalars)}};
    });
  }
};

void add_products(Table& table) {
  for (const int64_t n : {64, 128, 256, 512, 1024}) {
    table.gemm({n, n, n, 1, false, false}, n == 64 || n == 256);
    table.gemm({n, n, n, 1, false, true});
    table.gemm({n, n, n, 1, true, false});
  }
  table.linear(128, 784, 256, false);  // mlp
  table.linear(128, 256, 10, true);
  table.linear(256, 784, 2048, false);  // mlp_wide
  table.linear(256, 2048, 2048, true);
  table.linear(256, 2048, 10, true);
  table.gemm({1, 1024, 1024, 1, false, true});
  table.gemm({8, 1024, 1024, 1, false, true});
  for (const Gemm& g : {Gemm{64, 64, 32, 48}, Gemm{256, 256, 64, 16}}) {  // heads of attention
    table.gemm({g.m, g.n, g.k, g.batch, false, true}, g.m == 64);
    table.gemm({g.m, g.k, g.n, g.batch, false, false});
  }
}

void add_convolutions(Table& table) {
  struct Layer {
    const char* name;
    Shape x, w;
    ConvOptions options;
    bool quick = false;
  };
  const Layer layers[] = {
      {"3x3", {64, 16, 32, 32}, {16, 16, 3, 3}, {.padding = {1}}, true},  // resnet20, its three stages
      {"3x3", {64, 32, 16, 16}, {32, 32, 3, 3}, {.padding = {1}}},
      {"3x3", {64, 64, 8, 8}, {64, 64, 3, 3}, {.padding = {1}}},
      {"3x3_stride2", {64, 16, 32, 32}, {32, 16, 3, 3}, {.stride = {2}, .padding = {1}}},
      {"3x3", {64, 3, 32, 32}, {16, 3, 3, 3}, {.padding = {1}}},
      {"3x3", {64, 32, 14, 14}, {64, 32, 3, 3}, {.padding = {1}}},  // lenet
      {"3x3", {64, 1, 28, 28}, {32, 1, 3, 3}, {.padding = {1}}},
      {"1x1", {8, 64, 56, 56}, {256, 64, 1, 1}, {}},
      {"7x7_stride2", {2, 3, 224, 224}, {64, 3, 7, 7}, {.stride = {2}, .padding = {3}}},
      {"depthwise", {8, 144, 56, 56}, {144, 1, 3, 3}, {.padding = {1}, .groups = 144}}};
  for (const auto& [name, x_shape, w_shape, options, quick] : layers) {
    const std::string label = cat("conv_", name);
    const Shape shape{x_shape[0], x_shape[1], w_shape[0], x_shape[2], x_shape[3]};
    const auto add = [&](const char* what, const std::function<Tensor(Tensor, Tensor, Tensor)>& f) {
      table.add(cat(label, what), shape, quick && !*what, [=] {
        const Tensor x = variable(x_shape), w = variable(w_shape), y = conv(x, w, options);
        return outputs({f(x, w, y)});
      });
    };
    const auto gradient = [](const Tensor& y, const Tensor& x) {
      return gradients(y, std::vector{x}, Unreached::error, variable(y.shape()))[0];
    };
    add("", [](Tensor, Tensor, Tensor y) { return y; });
    add("_dx", [=](Tensor x, Tensor, Tensor y) { return gradient(y, x); });
    add("_dw", [=](Tensor, Tensor w, Tensor y) { return gradient(y, w); });
  }
}

void add_rows(Table& table) {
  const Shape square{1024, 1024};
  table.map("sum_rows", square, true, [](const Tensor& x) { return sum(x, {1}); });
  table.map("sum_columns", square, false, [](const Tensor& x) { return sum(x, {0}); });
  table.map("sum_all", square, false, [](const Tensor& x) { return sum(x); });
  table.map("max_rows", square, false, [](const Tensor& x) { return max(x, {1}); });
  table.map("argmax_rows", square, false, [](const Tensor& x) { return argmax(x, 1); });
  table.map("mean_columns", {64, 64, 32, 32}, false, [](const Tensor& x) { return mean(x, {0, 2, 3}); });
  for (const Shape& shape : {Shape{256, 10}, square, Shape{16, 50257}}) {
    const bool quick = shape == square;
    table.map("softmax", shape, quick, [](const Tensor& x) { return softmax(x); });
    table.add("softmax_grad", shape, false, [=] {  // forward and backward, as those below
      const Tensor x = variable(shape), y = softmax(x);
      return outputs(gradients(y, std::vector{x}, Unreached::error, variable(shape)));
    });
    table.add("cross_entropy_grad", shape, false, [=] {
      const Tensor x = variable(shape);
      const Tensor targets = Variable("t", random_classes({shape[0]}, shape[1]));
      return outputs(gradients(cross_entropy(x, targets), std::vector{x}));
    });
  }
  for (const Shape& shape : {Shape{768, 128}, Shape{1024, 768}}) {
    const Shape last{shape.back()};
    table.add("layernorm", shape, shape.back() == 128,
              [=] { return outputs({layernorm(variable(shape), variable(last), variable(last))}); });
    table.add("layernorm_grad", shape, false, [=] {
      const Tensor x = variable(shape), w = variable(last), b = variable(last);
      return outputs(gradients(layernorm(x, w, b), std::vector{x, w, b}, Unreached::error, variable(shape)));
    });
  }
}

// Causal, of [n, heads, t, d] as layers lay it out; "composed" is the same out of products and a softmax.
void add_attention(Table& table) {
  for (const Shape& shape : {Shape{12, 4, 64, 32}, Shape{1, 12, 1024, 64}}) {
    const Shape stored{shape[0], shape[2], shape[1], shape[3]};
    const auto build = [=](bool fused, bool gradient) {
      std::vector<Tensor> xs;
      for (int i = 0; i < 3; ++i) xs.push_back(variable(stored));
      const auto of = [&](size_t i) { return transpose(xs[i], 1, 2); };
      Tensor y;
      if (fused) {
        y = attention(of(0), of(1), of(2), {.causal = true});
      } else {
        const Tensor seen = less_equal(arange(shape[2]), unsqueeze(arange(shape[2]), -1));
        const Tensor scores = matmul(of(0), transpose(of(1))) * (1 / std::sqrt(static_cast<float>(shape[3])));
        y = matmul(softmax(where(seen, scores, -1e30f)), of(2));
      }
      y = transpose(y, 1, 2);
      return outputs(gradient ? gradients(y, xs, Unreached::error, variable(stored)) : std::vector{y});
    };
    for (const bool fused : {true, false})
      for (const bool gradient : {false, true})
        table.add(cat("attention", fused ? "" : "_composed", gradient ? "_grad" : ""), shape,
                  fused && !gradient && shape[0] == 12, [=] { return build(fused, gradient); });
  }
}

void add_images(Table& table) {
  for (const Shape& shape : {Shape{64, 16, 32, 32}, Shape{64, 64, 8, 8}}) {  // of ResNet-20
    const Shape channels{shape[1]};
    table.add("batchnorm", shape, shape[1] == 16, [=] {
      return outputs({relu(batchnorm(variable(shape), variable(channels), variable(channels)).y)});
    });
    table.cases.back().bytes = 3 * 4.0 * static_cast<double>(shape.numel());
    table.add("batchnorm_grad", shape, false, [=] {
      const Tensor x = variable(shape), w = variable(channels), b = variable(channels);
      return outputs(
          gradients(batchnorm(x, w, b).y, std::vector{x, w, b}, Unreached::error, variable(shape)));
    });
    table.cases.back().bytes = 7 * 4.0 * static_cast<double>(shape.numel());
  }
}

void add_pointwise(Table& table) {
  const Shape square{1024, 1024};
  table.add("add", square, true, [=] { return outputs({variable(square) + variable(square)}); });
  table.add("add_bias", square, false, [=] { return outputs({variable(square) + variable({1024})}); });
  table.map("relu", square, true, [](const Tensor& x) { return relu(x); });
  table.map("gelu_tanh", square, false, [](const Tensor& x) { return gelu(x, Gelu::tanh); });
  table.map("exp", square, false, [](const Tensor& x) { return exp(x); });
  table.map("chain", square, false,  // of pointwise ops: what fusion is for
            [](const Tensor& x) { return relu(x * 2.0f + 1.0f) * sigmoid(x) - stithy::square(x); });
  table.map("dropout", square, false, [](const Tensor& x) { return dropout(x, 0.1f); });
}

void add_copies(Table& table) {
  table.map("transpose", {1024, 1024}, true, [](const Tensor& x) { return contiguous(transpose(x)); });
  table.map("permute_heads", {12, 64, 4, 32}, false, [](const Tensor& x) {
    return contiguous(permute(x, {0, 2, 1, 3}));
  });
  table.map("cast_f16", {1024, 1024}, false, [](const Tensor& x) { return cast(x, DType::f16); });
  table.map("concat", {512, 1024}, false, [](const Tensor& x) {
    return concat(std::vector{x, x * 1.0f}, 0);
  });
  table.add("zeros", {1024, 1024}, false, [] { return outputs({zeros({1024, 1024})}); });
  for (const Shape& shape : {Shape{65, 128}, Shape{32768, 768}}) {
    const Tensor index = Variable("i", random_classes({1024}, shape[0]));
    const double row_bytes = 4.0 * static_cast<double>(shape[1]), rows = 1024;
    table.add("embedding", shape, false, [=] { return outputs({embedding(variable(shape), index)}); });
    table.cases.back().bytes = 2 * rows * row_bytes;
    table.add("embedding_grad", shape, false, [=] {
      const Tensor w = variable(shape);
      return outputs(
          gradients(embedding(w, index), std::vector{w}, Unreached::error, variable({1024, shape[1]})));
    });
  }
}

void add_optimizers(Table& table) {
  for (const int64_t n : {203530, 1 << 22}) {  // the first has as many as mlp
    table.optimizer("sgd_momentum", n, [=](const Variable& w, const Tensor& dw, const UpdateScalars& s) {
      return sgd_update(w, dw, Variable("m", Array({n}, DType::f32)), s, {.momentum = 0.9});
    });
    table.optimizer("adamw", n, [=](const Variable& w, const Tensor& dw, const UpdateScalars& s) {
      const Variable m("m", Array({n}, DType::f32)), v("v", Array({n}, DType::f32));
      return adam_update(w, dw, m, v, s, {.penalties = {.decay = 0.01}});
    });
  }
  table.cases[table.cases.size() - 1].quick = true;
}

}  // namespace

std::vector<OpCase> op_cases() {
  Table table;
  add_products(table);
  add_convolutions(table);
  add_rows(table);
  add_attention(table);
  add_images(table);
  add_pointwise(table);
  add_copies(table);
  add_optimizers(table);
  return std::move(table.cases);
}

}  // namespace stithy::measure

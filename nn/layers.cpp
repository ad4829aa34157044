#include "nn/layers.h"

#include <cmath>

#include "engine/core/error.h"
#include "nn/init.h"

namespace stithy::nn {

namespace {
void check_positive(const char* layer, std::initializer_list<int64_t> sizes) {
  for (const int64_t size : sizes)
    if (size < 1) throw Error(layer, cat("sizes must be at least 1, got ", size));
}
// PyTorch's default for Linear: Kaiming uniform with slope sqrt(5), which is +-1 / sqrt(fan_in).
Array uniform_fan_in(const Shape& shape, int64_t fan_in) {
  const double bound = 1 / std::sqrt(static_cast<double>(fan_in));
  return init::uniform(shape, -bound, bound);
}
void check_last(const Module& layer, const Tensor& x, int64_t size) {
  if (x.rank() < 1 || x.shape().back() != size)
    throw Error(layer.describe(), cat("the input's last axis must be ", size, ", its shape is ", x.shape()),
                "flatten the input, or change the layer's first size");
}
}  // namespace

Projection::Projection(const char* name, int64_t in, int64_t out, bool with_bias, Layout layout)
    : name_(name), layout_(layout) {
  check_positive(name, {in, out});
  weight =
      parameter("weight", uniform_fan_in(layout == Layout::out_in ? Shape{out, in} : Shape{in, out}, in));
  if (with_bias) bias = parameter("bias", uniform_fan_in({out}, in));
}

Tensor Projection::forward(const Tensor& x) {
  check_last(*this, x, in());
  Tensor y = matmul(x, layout_ == Layout::out_in ? transpose(weight) : weight.tensor());
  if (bias.defined()) y = y + bias;
  return lora_ ? y + lora_->b(lora_->a(lora_->dropout(x))) * lora_->scale : y;
}

std::string Projection::describe() const { return cat(name_, "(", in(), ", ", out(), ")"); }

void Projection::adapt(int64_t rank, float scale, float dropout) {
  if (lora_) throw Error(describe(), "has an adapter already", "merge_lora() makes it a part of the weight");
  if (rank < 1) throw Error(describe(), cat("the rank of an adapter must be at least 1, got ", rank));
  const Dropout drop(dropout);  // throws before anything is added
  LowRank lora{.scale = scale};
  lora.a = child("lora_A", Linear(in(), rank, false));
  lora.b = child("lora_B", Linear(rank, out(), false));
  lora.b->weight.set(Array({out(), rank}, DType::f32));
  lora.dropout = child("lora_dropout", drop);
  lora_ = std::move(lora);
}

void Projection::merge() {
  if (!lora_) throw Error(describe(), "has no adapter to merge");
  const Array a = lora_->a->weight.value(), b = lora_->b->weight.value();
  const auto a_values = a.values<float>(), b_values = b.values<float>();
  Array merged = weight.value();
  const auto w = merged.values<float>();
  const size_t rows = static_cast<size_t>(out()), columns = static_cast<size_t>(in());
  const size_t rank = a_values.size() / columns;
  for (size_t o = 0; o < rows; ++o)
    for (size_t i = 0; i < columns; ++i) {
      double sum = 0;
      for (size_t r = 0; r < rank; ++r)
        sum += static_cast<double>(b_values[o * rank + r]) * a_values[r * columns + i];
      float& element = w[layout_ == Layout::out_in ? o * columns + i : i * rows + o];
      element = static_cast<float>(element + lora_->scale * sum);
    }
  weight.set(merged);
  for (const char* name : {"lora_A", "lora_B", "lora_dropout"}) remove_child(name);
  lora_.reset();
}

Bilinear::Bilinear(int64_t in1, int64_t in2, int64_t out, bool with_bias) {
  check_positive("Bilinear", {in1, in2, out});
  weight = parameter("weight", uniform_fan_in({out, in1, in2}, in1));
  if (with_bias) bias = parameter("bias", uniform_fan_in({out}, in1));
}

Tensor Bilinear::forward(const Tensor& x1, const Tensor& x2) {
  const int64_t out = weight.shape()[0], in1 = weight.shape()[1], in2 = weight.shape()[2];
  check_last(*this, x1, in1);
  check_last(*this, x2, in2);
  Shape lead = x1.shape(), lead2 = x2.shape();
  lead.erase(lead.rank() - 1);
  lead2.erase(lead2.rank() - 1);
  if (lead != lead2)
    throw Error(describe(), cat("the inputs' leading axes differ: ", x1.shape(), " and ", x2.shape()));
  // One product over i, then a weighted sum over j: [n, in1] x [in1, out * in2] -> [n, out, in2].
  const Tensor left = matmul(reshape(x1, {-1, in1}), reshape(permute(weight, {1, 0, 2}), {in1, out * in2}));
  const Tensor y = sum(reshape(left, {-1, out, in2}) * reshape(x2, {-1, 1, in2}), {2});
  lead.push_back(out);
  return bias.defined() ? reshape(y, lead) + bias : reshape(y, lead);
}

std::string Bilinear::describe() const {
  const Shape& s = weight.shape();
  return cat("Bilinear(", s[1], ", ", s[2], ", ", s[0], ")");
}

Embedding::Embedding(int64_t count, int64_t size, std::optional<int64_t> padding) : padding_(padding) {
  check_positive("Embedding", {count, size});
  Array rows = init::normal({count, size}, 0, 1);
  if (padding) {
    if (*padding < 0 || *padding >= count)
      throw Error("Embedding", cat("the padding index ", *padding, " is none of the ", count, " rows"));
    for (int64_t i = 0; i < size; ++i) rows.set(*padding * size + i, 0);
  }
  weight = parameter("weight", rows);
}
Tensor Embedding::forward(const Tensor& x) {
  const Tensor y = embedding(weight, x);
  if (!padding_) return y;
  const Tensor is_padding = equal(x, Array({}, std::vector{static_cast<int32_t>(*padding_)}));
  return where(unsqueeze(is_padding, -1), stop_gradient(y), y);
}
std::string Embedding::describe() const {
  return cat("Embedding(", weight.shape()[0], ", ", weight.shape()[1],
             padding_ ? cat(", padding ", *padding_) : "", ")");
}

Dropout::Dropout(float p) : p_(p) {
  if (!(p >= 0 && p < 1)) throw Error("Dropout", cat("the probability must be in [0, 1), got ", p));
}
Tensor Dropout::forward(const Tensor& x) { return training() && p_ > 0 ? dropout(x, p_) : x; }
std::string Dropout::describe() const { return cat("Dropout(", p_, ")"); }

Tensor Sequential::forward(const Tensor& x) {
  Tensor y = x;
  for (const auto& [name, module] : children()) y = (*module)(y);
  return y;
}

Prelu::Prelu(int64_t channels, float initial) {
  check_positive("Prelu", {channels});
  weight = parameter("weight", init::constant({channels}, initial));
}
Tensor Prelu::forward(const Tensor& x) {
  Tensor slope = weight;
  if (weight.shape()[0] > 1 && x.rank() > 2) {
    Shape shape = Shape::filled(x.rank() - 1, 1);
    shape[0] = weight.shape()[0];
    slope = reshape(weight, shape);
  }
  return relu(x) - slope * relu(-x);
}

}  // namespace stithy::nn

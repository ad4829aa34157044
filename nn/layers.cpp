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

Linear::Linear(int64_t in, int64_t out, bool with_bias) {
  check_positive("Linear", {in, out});
  weight = parameter("weight", uniform_fan_in({out, in}, in));
  if (with_bias) bias = parameter("bias", uniform_fan_in({out}, in));
}

Tensor Linear::forward(const Tensor& x) {
  check_last(*this, x, weight.shape()[1]);
  const Tensor y = matmul(x, transpose(weight));
  return bias.defined() ? y + bias : y;
}

std::string Linear::describe() const {
  return cat("Linear(", weight.shape()[1], ", ", weight.shape()[0], ")");
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

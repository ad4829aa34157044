#include "nn/conv.h"

#include <cmath>

#include "engine/core/error.h"
#include "nn/init.h"

namespace stithy::nn {
namespace {

// [first, second, kernel...]
Shape weight_shape(const char* layer, int axes, int64_t first, int64_t second, const Shape& kernel) {
  if (kernel.rank() != 1 && kernel.rank() != axes)
    throw Error(layer, cat("kernel ", kernel, " has ", kernel.rank(), " entries for ", axes, " spatial axes"),
                "give one for all, or one an axis");
  Shape shape{first, second};
  for (int d = 0; d < axes; ++d) shape.push_back(kernel[kernel.rank() == 1 ? 0 : d]);
  for (const int64_t size : shape)
    if (size < 1) throw Error(layer, cat("sizes must be at least 1, got a weight of ", shape));
  return shape;
}

int64_t in_group(const char* layer, int64_t in, int64_t out, int64_t divided, int64_t groups) {
  if (groups < 1 || in % groups != 0 || out % groups != 0)
    throw Error(layer, cat(in, " channels in and ", out, " out do not divide into ", groups, " groups"));
  return divided / groups;
}

Array initial(const Shape& shape, const Shape& weight) {
  const double bound = 1 / std::sqrt(static_cast<double>(init::fans(weight).in));
  return init::uniform(shape, -bound, bound);
}

Tensor with_bias(const Tensor& y, const Variable& bias) {
  if (!bias.defined()) return y;
  Shape shape = Shape::filled(y.rank() - 1, 1);
  shape[0] = bias.shape()[0];
  return y + reshape(bias, shape);
}

std::string text_of(const std::string& name, int64_t in, int64_t out, const Shape& weight,
                    const ConvOptions& options) {
  Shape kernel = weight;
  kernel.erase(0);
  kernel.erase(0);
  std::string text = cat(name, weight.rank() - 2, "d(", in, ", ", out, ", ", kernel);
  const auto add = [&](const char* option, const Shape& values, int64_t usual) {
    for (const int64_t value : values)
      if (value != usual) {
        text += cat(", ", option, " ", values.rank() == 1 ? cat(values[0]) : cat(values));
        break;
      }
  };
  add("stride", options.stride, 1);
  if (options.same)
    text += ", same";
  else
    add("padding", options.padding, 0);
  add("dilation", options.dilation, 1);
  if (options.groups != 1) text += cat(", groups ", options.groups);
  return text + ")";
}

}  // namespace

Conv::Conv(int axes, int64_t in, int64_t out, const Shape& kernel, const ConvOptions& options, bool bias_too)
    : options_(options) {
  const Shape shape = weight_shape("Conv", axes, out, in_group("Conv", in, out, in, options.groups), kernel);
  weight = parameter("weight", initial(shape, shape));
  if (bias_too) bias = parameter("bias", initial({out}, shape));
}
Tensor Conv::forward(const Tensor& x) { return with_bias(conv(x, weight, options_), bias); }
std::string Conv::describe() const {
  const Shape& w = weight.shape();
  return text_of("Conv", w[1] * options_.groups, w[0], w, options_);
}

ConvTranspose::ConvTranspose(int axes, int64_t in, int64_t out, const Shape& kernel,
                             const ConvOptions& options, const Shape& output_padding, bool bias_too)
    : options_(options), output_padding_(output_padding) {
  const Shape shape = weight_shape("ConvTranspose", axes, in,
                                   in_group("ConvTranspose", in, out, out, options.groups), kernel);
  weight = parameter("weight", initial(shape, shape));
  if (bias_too) bias = parameter("bias", initial({out}, shape));
}
Tensor ConvTranspose::forward(const Tensor& x) {
  return with_bias(conv_transpose(x, weight, options_, output_padding_), bias);
}
std::string ConvTranspose::describe() const {
  const Shape& w = weight.shape();
  return text_of("ConvTranspose", w[0], w[1] * options_.groups, w, options_);
}

}  // namespace stithy::nn

#include "nn/data/mix.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "engine/core/error.h"

namespace stithy {
namespace {

// The logarithm of a Gamma(shape, 1) variate: for a small shape the variate itself is soon below any double.
double draw_log_gamma(Philox& random, double shape) {
  // Below 1 by the next shape: Gamma(a) = Gamma(a + 1) U^(1 / a).
  if (shape < 1) {
    const double boost = std::log(1 - random.uniform()) / shape;
    return draw_log_gamma(random, shape + 1) + boost;
  }
  const double d = shape - 1.0 / 3, c = 1 / std::sqrt(9 * d);
  for (;;) {
    const double x = random.normal(), root = 1 + c * x, v = root * root * root, u = 1 - random.uniform();
    if (root > 0 && std::log(u) < 0.5 * x * x + d - d * v + d * std::log(v)) return std::log(d * v);
  }
}

struct Columns {
  Array& images;
  Array& labels;
  int64_t count;
};

Columns columns_of(const char* name, Batch& batch, int64_t classes) {
  if (batch.columns.size() < 2) throw Error(name, "needs a column of images and one of labels");
  Array &images = batch.columns[0], &labels = batch.columns[1];
  if (images.shape().rank() < 2 || (images.dtype() != DType::u8 && images.dtype() != DType::f32))
    throw Error(name, cat("column 0 is ", images.dtype(), " ", images.shape(), ", no images"));
  if (labels.dtype() != DType::i32 || labels.shape() != Shape{images.shape()[0]})
    throw Error(name, cat("column 1 is ", labels.dtype(), " ", labels.shape(), ", expected i32 [",
                          images.shape()[0], "]"));
  for (int64_t i = 0; i < batch.count; ++i)
    if (const int32_t label = labels.values<int32_t>()[static_cast<size_t>(i)]; label < 0 || label >= classes)
      throw Error(name, cat("label ", label, " is not in 0 to ", classes - 1));
  return {images, labels, batch.count};
}

void mix_labels(const Columns& columns, int64_t classes, double lambda) {
  Array soft({columns.labels.numel(), classes}, DType::f32);
  const auto to = soft.values<float>();
  const auto labels = columns.labels.values<int32_t>();
  const auto row_of = [&](int64_t item) { return static_cast<size_t>(item * classes); };
  for (int64_t i = 0; i < columns.count; ++i) {
    const int64_t other = (i + columns.count - 1) % columns.count;
    to[row_of(i) + static_cast<size_t>(labels[static_cast<size_t>(i)])] += static_cast<float>(lambda);
    to[row_of(i) + static_cast<size_t>(labels[static_cast<size_t>(other)])] += static_cast<float>(1 - lambda);
  }
  columns.labels = std::move(soft);
}

}  // namespace

double draw_beta(Philox& random, double a, double b) {
  if (!(a > 0 && b > 0 && std::isfinite(a + b)))
    throw Error("beta", cat("Beta(", a, ", ", b, ") does not exist"));
  const double x = draw_log_gamma(random, a), y = draw_log_gamma(random, b);
  return 1 / (1 + std::exp(y - x));
}

void MixUp::operator()(Batch& batch, Philox& random) const {
  const Columns columns = columns_of("mixup", batch, classes);
  const double lambda = draw_beta(random, alpha, alpha);
  const Array before = columns.images;
  const size_t item = static_cast<size_t>(before.numel() / before.shape()[0]),
               count = static_cast<size_t>(columns.count);
  const float own = static_cast<float>(lambda), others = static_cast<float>(1 - lambda);
  for (size_t i = 0; i < count * item; ++i) {
    const size_t k = i >= item ? i - item : i + (count - 1) * item;
    if (before.dtype() == DType::u8) {
      const auto from = before.values<uint8_t>();
      columns.images.values<uint8_t>()[i] = static_cast<uint8_t>(own * static_cast<float>(from[i]) +
                                                                 others * static_cast<float>(from[k]) + 0.5f);
    } else {
      const auto from = before.values<float>();
      columns.images.values<float>()[i] = own * from[i] + others * from[k];
    }
  }
  mix_labels(columns, classes, lambda);
}

void CutMix::operator()(Batch& batch, Philox& random) const {
  const Columns columns = columns_of("cutmix", batch, classes);
  const Shape& shape = columns.images.shape();
  if (shape.rank() < 3) throw Error("cutmix", cat("column 0 has shape ", shape, ", no height and width"));
  const int64_t height = shape[shape.rank() - 2], width = shape.back();
  const double lambda = draw_beta(random, alpha, alpha), side = std::sqrt(1 - lambda) / 2;
  const int64_t x = static_cast<int64_t>(random.below(static_cast<uint64_t>(width))),
                y = static_cast<int64_t>(random.below(static_cast<uint64_t>(height)));
  const int64_t half_width = static_cast<int64_t>(side * static_cast<double>(width)),
                half_height = static_cast<int64_t>(side * static_cast<double>(height));
  const int64_t left = std::max<int64_t>(x - half_width, 0), right = std::min(x + half_width, width),
                top = std::max<int64_t>(y - half_height, 0), bottom = std::min(y + half_height, height);
  const Array before = columns.images;
  const size_t element = size_of(before.dtype());
  const int64_t planes = before.numel() / shape[0] / (height * width);
  for (int64_t i = 0; i < columns.count; ++i)
    for (int64_t plane = 0; plane < planes; ++plane)
      for (int64_t row = top; row < bottom; ++row) {
        const auto at = [&](int64_t image) {
          return static_cast<size_t>(((image * planes + plane) * height + row) * width + left) * element;
        };
        std::memcpy(columns.images.bytes().data() + at(i),
                    before.bytes().data() + at((i + columns.count - 1) % columns.count),
                    static_cast<size_t>(right - left) * element);
      }
  const double cut = static_cast<double>((right - left) * (bottom - top));
  mix_labels(columns, classes, 1 - cut / static_cast<double>(height * width));
}

}  // namespace stithy

#include "nn/data/dataset.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <utility>

#include "engine/core/error.h"

namespace stithy {
namespace {

// Philox streams of this file, apart from those of the epochs, which count from 0.
constexpr uint64_t kSplitStream = uint64_t{1} << 63;

class Subset : public Dataset {
 public:
  Subset(DatasetPtr dataset, std::vector<int64_t> indices)
      : dataset_(std::move(dataset)), indices_(std::move(indices)) {
    for (int64_t index : indices_)
      if (index < 0 || index >= dataset_->size())
        throw Error("subset", cat("index ", index, " is out of range for ", dataset_->size(), " items"));
  }
  int64_t size() const override { return static_cast<int64_t>(indices_.size()); }
  const std::vector<Column>& columns() const override { return dataset_->columns(); }
  std::vector<Column> batch_columns(std::span<const int64_t> indices) const override {
    std::vector<int64_t> inner;
    for (const int64_t index : indices) inner.push_back(indices_.at(static_cast<size_t>(index)));
    return dataset_->batch_columns(inner);
  }
  void fetch(int64_t index, std::span<const std::span<std::byte>> out) const override {
    dataset_->fetch(indices_.at(static_cast<size_t>(index)), out);
  }
  void fetch_random(int64_t index, Philox& random, std::span<const std::span<std::byte>> out) const override {
    dataset_->fetch_random(indices_.at(static_cast<size_t>(index)), random, out);
  }

 private:
  DatasetPtr dataset_;
  std::vector<int64_t> indices_;
};

size_t item_bytes(const Array& batch) {
  return batch.shape()[0] ? batch.bytes().size() / static_cast<size_t>(batch.shape()[0]) : 0;
}

}  // namespace

InMemoryDataset::InMemoryDataset(std::vector<Source> sources) {
  if (sources.empty()) throw Error("dataset", "has no columns");
  for (Source& source : sources) {
    Shape item = source.values.shape();
    if (item.empty()) throw Error("dataset", cat("column '", source.name, "' is a scalar"));
    if (values_.empty()) size_ = item[0];
    if (item[0] != size_)
      throw Error("dataset", cat("column '", source.name, "' has ", item[0], " rows, '", columns_[0].name,
                                 "' has ", size_));
    item.erase(0);
    columns_.push_back({source.name, item, source.values.dtype(), source.padding});
    values_.push_back(std::move(source.values));
  }
}

void InMemoryDataset::fetch(int64_t index, std::span<const std::span<std::byte>> out) const {
  if (index < 0 || index >= size_)
    throw Error("dataset", cat("item ", index, " is out of range for ", size_, " items"));
  for (size_t c = 0; c < values_.size(); ++c)
    if (!out[c].empty())
      std::memcpy(out[c].data(), values_[c].bytes().data() + static_cast<size_t>(index) * out[c].size(),
                  out[c].size());
}

DatasetPtr image_dataset(ImageClasses data) {
  return std::make_shared<InMemoryDataset>(std::vector<InMemoryDataset::Source>{
      {"image", std::move(data.images)}, {"label", std::move(data.labels), kIgnoreIndex}});
}

DatasetPtr subset(DatasetPtr dataset, std::vector<int64_t> indices) {
  return std::make_shared<Subset>(std::move(dataset), std::move(indices));
}

std::vector<DatasetPtr> split(const DatasetPtr& dataset, std::span<const double> fractions, uint64_t seed) {
  double sum = 0;
  for (double fraction : fractions) {
    if (!(fraction >= 0 && fraction <= 1))
      throw Error("split", cat("fraction ", fraction, " is not in [0, 1]"));
    sum += fraction;
  }
  if (sum > 1 + 1e-9) throw Error("split", cat("the fractions sum to ", sum, ", more than 1"));
  const std::vector<int64_t> order = permutation(dataset->size(), seed, kSplitStream);
  std::vector<DatasetPtr> parts;
  double upto = 0;
  auto begin = order.begin();
  for (double fraction : fractions) {
    upto += fraction;
    const auto end = order.begin() + std::min<int64_t>(std::llround(upto * static_cast<double>(order.size())),
                                                       static_cast<int64_t>(order.size()));
    parts.push_back(subset(dataset, {begin, end}));
    begin = end;
  }
  return parts;
}

std::vector<Array> batch_arrays(const Dataset& dataset, int64_t count) {
  return batch_arrays(dataset.columns(), count);
}

std::vector<Array> batch_arrays(std::span<const Column> columns, int64_t count) {
  std::vector<Array> batch;
  for (const Column& column : columns) {
    Shape shape = column.shape;
    shape.insert(0, count);
    batch.emplace_back(shape, column.dtype);
  }
  return batch;
}

void fetch_rows(const Dataset& dataset, std::span<const int64_t> indices, std::span<Array> batch,
                const std::function<Philox(int64_t)>& stream) {
  std::vector<std::span<std::byte>> out(batch.size());
  for (size_t row = 0; row < indices.size(); ++row) {
    for (size_t c = 0; c < batch.size(); ++c) {
      const size_t bytes = item_bytes(batch[c]);
      out[c] = batch[c].bytes().subspan(row * bytes, bytes);
    }
    if (stream) {
      Philox random = stream(indices[row]);
      dataset.fetch_random(indices[row], random, out);
    } else {
      dataset.fetch(indices[row], out);
    }
  }
}

std::vector<Array> fetch_all(const Dataset& dataset) {
  std::vector<Array> all = batch_arrays(dataset, dataset.size());
  std::vector<int64_t> indices(static_cast<size_t>(dataset.size()));
  std::iota(indices.begin(), indices.end(), 0);
  fetch_rows(dataset, indices, all);
  return all;
}

std::vector<int64_t> permutation(int64_t n, uint64_t seed, uint64_t epoch) {
  std::vector<int64_t> order(static_cast<size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  Philox random(seed, epoch);
  for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random.below(i)]);
  return order;
}

namespace {
// Elements after one index of `axis`, and the number of its indices.
std::pair<size_t, size_t> layout(const Shape& shape, int axis) {
  if (axis == -1) return {1, 1};
  if (axis < 0 || axis >= shape.rank())
    throw Error("normalizer", cat("axis ", axis, " is out of range for shape ", shape));
  size_t inner = 1;
  for (int i = axis + 1; i < shape.rank(); ++i) inner *= static_cast<size_t>(shape[i]);
  return {inner, static_cast<size_t>(shape[axis])};
}
}  // namespace

Normalizer Normalizer::fit(const Array& x, int axis) {
  const auto [inner, features] = layout(x.shape(), axis);
  if (x.numel() == 0) throw Error("normalizer", cat("cannot be fitted on an empty array, shape ", x.shape()));
  Normalizer result;
  result.axis_ = axis;
  result.mean_.assign(features, 0);
  result.std_.assign(features, 0);
  std::vector<double> count(features, 0);
  const auto each = [&, inner = inner, features = features](auto visit) {
    for (int64_t i = 0, n = x.numel(); i < n; ++i)
      if (const double value = x.at(i); !std::isnan(value))
        visit(static_cast<size_t>(i) / inner % features, value);
  };
  // Two passes: the difference of sums of squares would cancel.
  each([&](size_t f, double value) { result.mean_[f] += value, ++count[f]; });
  for (size_t f = 0; f < features; ++f) result.mean_[f] /= std::max(count[f], 1.0);
  each([&](size_t f, double value) {
    result.std_[f] += (value - result.mean_[f]) * (value - result.mean_[f]);
  });
  for (size_t f = 0; f < features; ++f) {
    result.std_[f] = std::sqrt(result.std_[f] / std::max(count[f], 1.0));
    if (!(result.std_[f] > 0)) result.std_[f] = 1;
  }
  return result;
}

template <class F>
Array Normalizer::map(const Array& x, F f) const {
  const auto [inner, features] = layout(x.shape(), axis_);
  if (features != mean_.size())
    throw Error("normalizer",
                cat("was fitted on ", mean_.size(), " features, shape ", x.shape(), " has ", features));
  Array result(x.shape(), DType::f32);
  const std::span<float> out = result.values<float>();
  for (size_t i = 0; i < out.size(); ++i)
    out[i] = static_cast<float>(f(x.at(static_cast<int64_t>(i)), i / inner % features));
  return result;
}

Array Normalizer::apply(const Array& x, bool missing_to_mean) const {
  return map(x, [&](double value, size_t f) {
    return missing_to_mean && std::isnan(value) ? 0 : (value - mean_[f]) / std_[f];
  });
}

Array Normalizer::invert(const Array& y) const {
  return map(y, [&](double value, size_t f) { return value * std_[f] + mean_[f]; });
}

}  // namespace stithy

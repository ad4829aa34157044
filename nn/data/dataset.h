// Datasets: items by index, each a row of named columns; splitting and normalisation.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/core/array.h"
#include "engine/core/rng.h"

namespace stithy {

// The target that a loss ignores; padded items carry it (the value that PyTorch's cross_entropy ignores).
inline constexpr int32_t kIgnoreIndex = -100;

struct Column {
  std::string name;
  Shape shape;  // of one item
  DType dtype = DType::f32;
  double padding = 0;  // what a padded item holds (LastBatch::pad); kIgnoreIndex for class targets
};

class Dataset {
 public:
  virtual ~Dataset() = default;
  virtual int64_t size() const = 0;
  virtual const std::vector<Column>& columns() const = 0;
  // Those of a batch of the items at `indices`, where their shapes depend on the items: of sequences of
  // different lengths, the length that all are padded to. The rank, the type and the name are those of
  // columns().
  virtual std::vector<Column> batch_columns(std::span<const int64_t> indices) const {
    (void)indices;
    return columns();
  }
  // Writes item `index`: out[c] has the bytes of one item of columns()[c], or of batch_columns()[c].
  // Several threads may call it at once; equal indices give equal bytes.
  virtual void fetch(int64_t index, std::span<const std::span<std::byte>> out) const = 0;
  // The same for a dataset that changes its items at random (transforms.h): equal indices and equal streams
  // give equal bytes. DataLoader calls this one, with a stream for each item and epoch.
  virtual void fetch_random(int64_t index, Philox& random, std::span<const std::span<std::byte>> out) const {
    (void)random;
    fetch(index, out);
  }
};
using DatasetPtr = std::shared_ptr<const Dataset>;

// Arrays that share their first dimension; item i is row i of each.
class InMemoryDataset : public Dataset {
 public:
  struct Source {
    std::string name;
    Array values;
    double padding = 0;
  };
  // Throws Error when the numbers of rows differ or a column is a scalar.
  explicit InMemoryDataset(std::vector<Source> sources);
  int64_t size() const override { return size_; }
  const std::vector<Column>& columns() const override { return columns_; }
  void fetch(int64_t index, std::span<const std::span<std::byte>> out) const override;

 private:
  std::vector<Array> values_;
  std::vector<Column> columns_;
  int64_t size_ = 0;
};

// Images with a class each.
struct ImageClasses {
  Array images;  // u8 [n, height, width] or [n, channels, height, width]
  Array labels;  // i32 [n]
};
// Columns "image" (u8, one of the images) and "label" (i32, padded by kIgnoreIndex).
DatasetPtr image_dataset(ImageClasses data);

// The items of `dataset` at `indices`, in that order. Throws Error for an index out of range.
DatasetPtr subset(DatasetPtr dataset, std::vector<int64_t> indices);

// Disjoint random parts, one for each fraction (train, validation, test ...); the same for equal seeds.
// Fractions are at least 0 and sum to at most 1; when they sum to 1, every item is in a part.
std::vector<DatasetPtr> split(const DatasetPtr& dataset, std::span<const double> fractions, uint64_t seed);

// Zeroed arrays for `count` items, one array a column, with the item's shape after the count.
std::vector<Array> batch_arrays(const Dataset& dataset, int64_t count);
std::vector<Array> batch_arrays(std::span<const Column> columns, int64_t count);
// Writes the items at `indices` into the first rows of `batch`, which batch_arrays made: by fetch(), or by
// fetch_random() with the stream that `stream(index)` gives.
void fetch_rows(const Dataset& dataset, std::span<const int64_t> indices, std::span<Array> batch,
                const std::function<Philox(int64_t index)>& stream = {});
// All items, one array a column.
std::vector<Array> fetch_all(const Dataset& dataset);

// (x - mean) / std, with the statistics of the training data: fit on it, then apply to every split.
class Normalizer {
 public:
  Normalizer() = default;
  // Population statistics of all elements (axis -1), or of each index of `axis` (1 for the columns of
  // [n, features] and for the channels of [n, channels, height, width]). NaN, a missing value, is left out;
  // a constant feature gets std 1. Throws Error for an empty array or an axis out of range.
  static Normalizer fit(const Array& x, int axis = -1);
  // f32, of x's shape. A missing value stays NaN, or becomes the mean where `missing_to_mean` is set.
  Array apply(const Array& x, bool missing_to_mean = false) const;
  Array invert(const Array& y) const;
  // [features], or [1].
  const std::vector<double>& mean() const { return mean_; }
  const std::vector<double>& std() const { return std_; }

 private:
  template <class F>
  Array map(const Array& x, F f) const;
  int axis_ = -1;
  std::vector<double> mean_, std_;
};

// The order of `n` items in epoch `epoch`: a uniform permutation, a pure function of its arguments (Fisher
// and Yates, in Durstenfeld's form, drawing from Philox).
std::vector<int64_t> permutation(int64_t n, uint64_t seed, uint64_t epoch);

}  // namespace stithy

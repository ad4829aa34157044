// DataLoader: batches of a dataset in a shuffled order, prepared ahead by threads.
#pragma once

#include <functional>
#include <memory>

#include "engine/core/rng.h"
#include "nn/data/dataset.h"
#include "nn/data/sampler.h"

namespace stithy {

struct Batch {
  std::vector<Array> columns;  // one array a column, [batch, item shape...]
  int64_t count = 0;           // items that are not padding
  int64_t epoch = 0, index = 0;
};

struct LoaderPosition {
  int64_t epoch = 0, batch = 0;  // of the next batch
  friend bool operator==(const LoaderPosition&, const LoaderPosition&) = default;
};

struct LoaderOptions {
  int64_t batch = 32;
  bool shuffle = true;
  uint64_t seed = 0;
  LastBatch last = LastBatch::drop;
  // Which items make which batch, instead of `batch`, `shuffle` and `last`: bucket_sampler() for sequences.
  BatchSamplerPtr sampler = {};
  // Threads that make whole batches, each another one; their number changes no batch. 0 makes each batch in
  // next(), -1 takes a thread for each core, up to 8.
  int workers = -1;
  // Batches made ahead, those in the making included: the most memory that they take, and the most workers
  // that can be busy. 0 makes each in next(), -1 is one more than there are workers.
  int prefetch = -1;
  LoaderPosition start = {};
  // Changes a batch where it is made: MixUp, normalisation, another dtype. Several workers may call it at
  // once. The numbers drawn are a pure function of (seed, epoch, batch), so a resumed run sees the same.
  std::function<void(Batch&, Philox&)> transform = {};
};

// The order of an epoch is a pure function of the seed and the epoch: nothing but the position is needed to
// resume, bit for bit, in the midst of an epoch.
class DataLoader {
 public:
  // Throws Error for options out of range and for a dataset that gives no batch.
  DataLoader(DatasetPtr dataset, LoaderOptions options);
  ~DataLoader();
  DataLoader(const DataLoader&) = delete;
  DataLoader& operator=(const DataLoader&) = delete;

  int64_t batches_per_epoch() const { return batches_per_epoch_; }
  // The next batch; after the last one of an epoch, the first of the following epoch. It stays valid until
  // the next call of next() or seek(). Rethrows what the dataset or the transform threw for this batch.
  const Batch& next();
  // Of the batch that next() will give.
  LoaderPosition position() const { return position_; }
  // Goes on from `position`, which another loader of the same dataset, seed and batch size reported.
  void seek(LoaderPosition position);
  const Dataset& dataset() const { return *dataset_; }

 private:
  struct Workers;
  using Order = std::shared_ptr<const EpochBatches>;
  Order order(int64_t epoch);
  void make(LoaderPosition position, const EpochBatches& order, Batch& batch) const;
  LoaderPosition after(LoaderPosition position) const;

  DatasetPtr dataset_;
  LoaderOptions options_;
  int64_t batches_per_epoch_ = 0;
  LoaderPosition position_;
  Order order_;  // of epoch order_epoch_; the workers' while there are any, under their lock
  int64_t order_epoch_ = -1;
  Batch current_;
  std::unique_ptr<Workers> workers_;
};

}  // namespace stithy

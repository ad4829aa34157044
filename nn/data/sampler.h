// Samplers: which items of a dataset make which batch.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "nn/data/dataset.h"

namespace stithy {

// What becomes of the items that do not fill the last batch of an epoch. A batch of another size means a
// new input shape, for which a program is planned and recorded once more.
enum class LastBatch {
  drop,  // left out; the usual choice for training, as each epoch leaves out others
  keep,  // a smaller batch
  pad,   // a full batch, filled up by each column's padding; Batch::count tells the real items
};

// The batches of one epoch.
struct EpochBatches {
  std::vector<int64_t> items;  // of all batches, one batch after another
  std::vector<int64_t> ends;   // where each batch ends in `items`
  std::vector<int64_t> rows;   // of each batch: those beyond its items are padding
};

// A pure function of the epoch, so that a position is all that a resumed run needs.
class BatchSampler {
 public:
  virtual ~BatchSampler() = default;
  virtual int64_t batches_per_epoch() const = 0;  // at least 1
  virtual EpochBatches epoch(int64_t epoch) const = 0;
};
using BatchSamplerPtr = std::shared_ptr<const BatchSampler>;

struct SamplerOptions {
  int64_t batch = 32;  // items
  bool shuffle = true;
  uint64_t seed = 0;
  LastBatch last = LastBatch::drop;
};

// Batches of the items in the order of permutation(size, seed, epoch), or in their own order. Throws Error
// for options out of range and for a dataset that gives no batch.
BatchSamplerPtr plain_sampler(int64_t size, const SamplerOptions& options);

// Batches of items whose batch has the same shapes (Dataset::batch_columns): sequences of about the same
// length, which wastes little on padding, and asks for no more programs than there are lengths. Items are
// shuffled within their group, batches among each other; `last` is about the last batch of each group. Where
// `elements` is set, a batch has as many items as keep its largest column within so many elements, padding
// included, rather than `options.batch`; at least one.
BatchSamplerPtr bucket_sampler(const Dataset& dataset, const SamplerOptions& options, int64_t elements = 0);

}  // namespace stithy

#include "nn/data/sampler.h"

#include <algorithm>
#include <map>
#include <numeric>

#include "engine/core/error.h"

namespace stithy {
namespace {

// Philox streams of the buckets, apart from those of permutation() for the epochs, which count from 0, and
// from the loader's.
uint64_t group_stream(int64_t epoch, size_t group) {
  return (uint64_t{5} << 60) | (static_cast<uint64_t>(epoch) & 0xffffffff) << 24 | group;
}
uint64_t batch_stream(int64_t epoch) { return (uint64_t{7} << 60) | static_cast<uint64_t>(epoch); }

void check(const SamplerOptions& options) {
  if (options.batch < 1) throw Error("loader", cat("batch ", options.batch, " is less than 1"));
}

int64_t batches_of(int64_t items, int64_t batch, LastBatch last) {
  return items / batch + (last != LastBatch::drop && items % batch ? 1 : 0);
}

// Cuts `items` into batches.
void cut(std::span<const int64_t> items, int64_t batch, LastBatch last, EpochBatches& result) {
  const auto size = static_cast<int64_t>(items.size());
  const int64_t count = batches_of(size, batch, last);
  result.items.insert(result.items.end(), items.begin(), items.begin() + std::min(count * batch, size));
  for (int64_t i = 0; i < count; ++i) {
    const int64_t real = std::min(batch, size - i * batch);
    result.ends.push_back((result.ends.empty() ? 0 : result.ends.back()) + real);
    result.rows.push_back(last == LastBatch::pad ? batch : real);
  }
}

class PlainSampler : public BatchSampler {
 public:
  PlainSampler(int64_t size, const SamplerOptions& options) : size_(size), options_(options) {
    check(options);
    if (batches_per_epoch() == 0)
      throw Error("loader", cat("a dataset of ", size, " items gives no batch of ", options.batch),
                  "use a smaller batch, or LastBatch::keep or pad");
  }
  int64_t batches_per_epoch() const override { return batches_of(size_, options_.batch, options_.last); }
  EpochBatches epoch(int64_t epoch) const override {
    std::vector<int64_t> order(static_cast<size_t>(size_));
    if (options_.shuffle)
      order = permutation(size_, options_.seed, static_cast<uint64_t>(epoch));
    else
      std::iota(order.begin(), order.end(), 0);
    EpochBatches result;
    cut(order, options_.batch, options_.last, result);
    return result;
  }

 private:
  int64_t size_;
  SamplerOptions options_;
};

class BucketSampler : public BatchSampler {
 public:
  BucketSampler(const Dataset& dataset, const SamplerOptions& options, int64_t elements) : options_(options) {
    check(options);
    if (elements < 0) throw Error("bucket sampler", cat("elements ", elements, " is negative"));
    std::map<std::vector<int64_t>, std::vector<int64_t>> groups;  // items by all the dimensions
    for (int64_t i = 0; i < dataset.size(); ++i) {
      std::vector<int64_t> key;
      for (const Column& column : dataset.batch_columns({&i, 1}))
        key.insert(key.end(), column.shape.begin(), column.shape.end());
      groups[std::move(key)].push_back(i);
    }
    for (auto& [key, items] : groups) {
      int64_t most = 1;
      for (const Column& column : dataset.batch_columns({items.data(), 1}))
        most = std::max(most, column.shape.numel());
      const int64_t batch = elements ? std::max<int64_t>(1, elements / most) : options.batch;
      batches_ += batches_of(static_cast<int64_t>(items.size()), batch, options.last);
      groups_.push_back({std::move(items), batch});
    }
    if (batches_ == 0)
      throw Error("bucket sampler", cat("none of ", groups_.size(), " groups of items gives a batch"),
                  "use a smaller batch, fewer lengths, or LastBatch::keep or pad");
  }
  int64_t batches_per_epoch() const override { return batches_; }
  EpochBatches epoch(int64_t epoch) const override {
    EpochBatches sorted;
    for (size_t g = 0; g < groups_.size(); ++g) {
      std::vector<int64_t> items = groups_[g].items;
      if (options_.shuffle) {
        const std::vector<int64_t> order =
            permutation(static_cast<int64_t>(items.size()), options_.seed, group_stream(epoch, g));
        for (size_t i = 0; i < items.size(); ++i) items[i] = groups_[g].items[static_cast<size_t>(order[i])];
      }
      cut(items, groups_[g].batch, options_.last, sorted);
    }
    if (!options_.shuffle) return sorted;
    EpochBatches result;
    for (const int64_t b : permutation(batches_, options_.seed, batch_stream(epoch))) {
      const auto i = static_cast<size_t>(b);
      const auto begin = sorted.items.begin() + (i ? sorted.ends[i - 1] : 0);
      result.items.insert(result.items.end(), begin, sorted.items.begin() + sorted.ends[i]);
      result.ends.push_back(static_cast<int64_t>(result.items.size()));
      result.rows.push_back(sorted.rows[i]);
    }
    return result;
  }

 private:
  struct Group {
    std::vector<int64_t> items;
    int64_t batch;
  };
  SamplerOptions options_;
  std::vector<Group> groups_;
  int64_t batches_ = 0;
};

}  // namespace

BatchSamplerPtr plain_sampler(int64_t size, const SamplerOptions& options) {
  return std::make_shared<PlainSampler>(size, options);
}

BatchSamplerPtr bucket_sampler(const Dataset& dataset, const SamplerOptions& options, int64_t elements) {
  return std::make_shared<BucketSampler>(dataset, options, elements);
}

}  // namespace stithy

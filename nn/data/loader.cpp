#include "nn/data/loader.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <numeric>
#include <optional>
#include <thread>

#include "engine/core/error.h"

namespace stithy {

namespace {
// Philox stream of the transform of a batch, apart from the shuffling streams, which count epochs from 0.
uint64_t transform_stream(LoaderPosition position) {
  return (uint64_t{1} << 62) | (static_cast<uint64_t>(position.epoch) << 31) |
         static_cast<uint64_t>(position.batch);
}
}  // namespace

// The thread makes batches from `position` on until `capacity` are ready, into buffers handed back by next().
struct DataLoader::Worker {
  Worker(DataLoader& loader, LoaderPosition position, size_t capacity)
      : thread([this, &loader, position, capacity] { run(loader, position, capacity); }) {}
  ~Worker() {
    {
      const std::lock_guard lock(mutex);
      stop = true;
    }
    changed.notify_all();
    thread.join();
  }

  void run(DataLoader& loader, LoaderPosition position, size_t capacity) {
    for (;; position = loader.after(position)) {
      Batch batch;
      {
        std::unique_lock lock(mutex);
        changed.wait(lock, [&] { return stop || ready.size() < capacity; });
        if (stop) return;
        if (!free.empty()) {
          batch = std::move(free.back());
          free.pop_back();
        }
      }
      std::exception_ptr thrown;
      try {
        loader.make(position, batch);
      } catch (...) {
        thrown = std::current_exception();
      }
      {
        const std::lock_guard lock(mutex);
        if (thrown)
          error = thrown;
        else
          ready.push_back(std::move(batch));
      }
      changed.notify_all();
      if (thrown) return;
    }
  }

  // Hands `used` back for reuse.
  Batch take(Batch used) {
    std::unique_lock lock(mutex);
    if (!used.columns.empty()) free.push_back(std::move(used));
    changed.wait(lock, [&] { return !ready.empty() || error; });
    if (ready.empty()) std::rethrow_exception(error);
    Batch batch = std::move(ready.front());
    ready.pop_front();
    lock.unlock();
    changed.notify_all();
    return batch;
  }

  std::mutex mutex;
  std::condition_variable changed;
  std::deque<Batch> ready;
  std::vector<Batch> free;
  std::exception_ptr error;
  bool stop = false;
  std::thread thread;  // last: it uses all of the above
};

DataLoader::DataLoader(DatasetPtr dataset, LoaderOptions options)
    : dataset_(std::move(dataset)), options_(std::move(options)) {
  if (!dataset_) throw Error("loader", "needs a dataset");
  if (options_.batch < 1) throw Error("loader", cat("batch ", options_.batch, " is less than 1"));
  if (options_.prefetch < 0 || options_.prefetch > 1024)
    throw Error("loader", cat("prefetch ", options_.prefetch, " is not in 0 to 1024"));
  const int64_t n = dataset_->size();
  batches_per_epoch_ = n / options_.batch + (options_.last != LastBatch::drop && n % options_.batch ? 1 : 0);
  if (batches_per_epoch_ == 0)
    throw Error("loader", cat("a dataset of ", n, " items gives no batch of ", options_.batch),
                "use a smaller batch, or LastBatch::keep or pad");
  seek(options_.start);
}

DataLoader::~DataLoader() = default;

void DataLoader::seek(LoaderPosition position) {
  // The position after an epoch's last batch is the start of the next epoch.
  if (position.batch == batches_per_epoch_) position = {position.epoch + 1, 0};
  if (position.epoch < 0 || position.batch < 0 || position.batch > batches_per_epoch_)
    throw Error("loader", cat("epoch ", position.epoch, ", batch ", position.batch,
                              " is out of range: an epoch has ", batches_per_epoch_, " batches"));
  worker_.reset();
  position_ = position;
}

LoaderPosition DataLoader::after(LoaderPosition position) const {
  return position.batch + 1 < batches_per_epoch_ ? LoaderPosition{position.epoch, position.batch + 1}
                                                 : LoaderPosition{position.epoch + 1, 0};
}

void DataLoader::make(LoaderPosition position, Batch& batch) {
  if (order_epoch_ != position.epoch) {
    if (options_.shuffle) {
      order_ = permutation(dataset_->size(), options_.seed, static_cast<uint64_t>(position.epoch));
    } else if (order_.empty()) {
      order_.resize(static_cast<size_t>(dataset_->size()));
      std::iota(order_.begin(), order_.end(), 0);
    }
    order_epoch_ = position.epoch;
  }
  const int64_t begin = position.batch * options_.batch;
  batch.count = std::min(options_.batch, dataset_->size() - begin);
  batch.epoch = position.epoch;
  batch.index = position.batch;
  const int64_t rows = options_.last == LastBatch::pad ? options_.batch : batch.count;

  const std::vector<Column>& columns = dataset_->columns();
  bool fits = batch.columns.size() == columns.size();
  for (size_t c = 0; fits && c < columns.size(); ++c) {
    Shape shape = columns[c].shape;
    shape.insert(0, rows);
    fits = batch.columns[c].shape() == shape && batch.columns[c].dtype() == columns[c].dtype;
  }
  if (!fits) batch.columns = batch_arrays(*dataset_, rows);
  fetch_rows(*dataset_,
             std::span(order_).subspan(static_cast<size_t>(begin), static_cast<size_t>(batch.count)),
             batch.columns);
  for (size_t c = 0; c < columns.size(); ++c) {
    const int64_t numel = batch.columns[c].numel();
    for (int64_t i = numel / rows * batch.count; i < numel; ++i) batch.columns[c].set(i, columns[c].padding);
  }
  if (options_.transform) {
    Philox random(options_.seed, transform_stream(position));
    options_.transform(batch, random);
  }
}

const Batch& DataLoader::next() {
  if (options_.prefetch == 0) {
    make(position_, current_);
  } else {
    if (!worker_)
      worker_ = std::make_unique<Worker>(*this, position_, static_cast<size_t>(options_.prefetch));
    current_ = worker_->take(std::move(current_));
  }
  position_ = after(position_);
  return current_;
}

}  // namespace stithy

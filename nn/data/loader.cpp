#include "nn/data/loader.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

#include "engine/core/error.h"

namespace stithy {

namespace {
// Philox stream of the transform of a batch, apart from the shuffling streams, which count epochs from 0.
uint64_t transform_stream(LoaderPosition position) {
  return (uint64_t{1} << 62) | (static_cast<uint64_t>(position.epoch) << 31) |
         static_cast<uint64_t>(position.batch);
}
// And that of an item; epochs repeat after four million.
uint64_t item_stream(int64_t epoch, int64_t index) {
  return (uint64_t{3} << 62) | (static_cast<uint64_t>(epoch) & 0x3fffff) << 40 | static_cast<uint64_t>(index);
}
}  // namespace

// The threads take positions in turn and make their batches, of which at most `capacity` are not taken yet,
// into buffers handed back by next().
struct DataLoader::Workers {
  Workers(DataLoader& loader_, LoaderPosition position, int threads_, size_t capacity_)
      : loader(loader_), next(position), capacity(capacity_) {
    for (int i = 0; i < threads_; ++i) threads.emplace_back([this] { run(); });
  }
  ~Workers() {
    {
      const std::lock_guard lock(mutex);
      stop = true;
    }
    changed.notify_all();
  }

  struct Slot {
    Batch batch;
    std::exception_ptr error;
    bool done = false;
  };

  void run() {
    std::unique_lock lock(mutex);
    for (;;) {
      changed.wait(lock, [&] { return stop || slots.size() < capacity; });
      if (stop) return;
      Slot& slot = slots.emplace_back();  // stays in place: only the ends of a deque change
      const LoaderPosition position = next;
      next = loader.after(next);
      if (!free.empty()) {
        slot.batch = std::move(free.back());
        free.pop_back();
      }
      try {
        const Order order = loader.order(position.epoch);
        lock.unlock();
        loader.make(position, *order, slot.batch);
      } catch (...) {
        slot.error = std::current_exception();
      }
      if (!lock) lock.lock();
      slot.done = true;
      changed.notify_all();
    }
  }

  // Hands `used` back for reuse. A batch that failed stays where it is, and fails again.
  Batch take(Batch used) {
    std::unique_lock lock(mutex);
    if (!used.columns.empty()) free.push_back(std::move(used));
    changed.wait(lock, [&] { return !slots.empty() && slots.front().done; });
    if (slots.front().error) std::rethrow_exception(slots.front().error);
    Batch batch = std::move(slots.front().batch);
    slots.pop_front();
    lock.unlock();
    changed.notify_all();
    return batch;
  }

  DataLoader& loader;
  LoaderPosition next;
  const size_t capacity;
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<Slot> slots;  // in order; those not done are being made
  std::vector<Batch> free;
  bool stop = false;
  std::vector<std::jthread> threads;  // last: they use all of the above
};

DataLoader::DataLoader(DatasetPtr dataset, LoaderOptions options)
    : dataset_(std::move(dataset)), options_(std::move(options)) {
  if (!dataset_) throw Error("loader", "needs a dataset");
  if (options_.workers < -1 || options_.workers > 256)
    throw Error("loader", cat("workers ", options_.workers, " is not in -1 to 256"));
  if (options_.prefetch < -1 || options_.prefetch > 1024)
    throw Error("loader", cat("prefetch ", options_.prefetch, " is not in -1 to 1024"));
  if (options_.workers == -1) options_.workers = std::clamp<int>(std::thread::hardware_concurrency(), 1, 8);
  if (options_.prefetch == -1) options_.prefetch = options_.workers + 1;
  options_.workers = std::min(options_.workers, options_.prefetch);
  if (!options_.sampler)
    options_.sampler = plain_sampler(
        dataset_->size(),
        {.batch = options_.batch, .shuffle = options_.shuffle, .seed = options_.seed, .last = options_.last});
  batches_per_epoch_ = options_.sampler->batches_per_epoch();
  seek(options_.start);
}

DataLoader::~DataLoader() = default;

void DataLoader::seek(LoaderPosition position) {
  // The position after an epoch's last batch is the start of the next epoch.
  if (position.batch == batches_per_epoch_) position = {position.epoch + 1, 0};
  if (position.epoch < 0 || position.batch < 0 || position.batch > batches_per_epoch_)
    throw Error("loader", cat("epoch ", position.epoch, ", batch ", position.batch,
                              " is out of range: an epoch has ", batches_per_epoch_, " batches"));
  workers_.reset();
  position_ = position;
}

LoaderPosition DataLoader::after(LoaderPosition position) const {
  return position.batch + 1 < batches_per_epoch_ ? LoaderPosition{position.epoch, position.batch + 1}
                                                 : LoaderPosition{position.epoch + 1, 0};
}

DataLoader::Order DataLoader::order(int64_t epoch) {
  if (order_epoch_ == epoch) return order_;
  order_ = std::make_shared<const EpochBatches>(options_.sampler->epoch(epoch));
  order_epoch_ = epoch;
  return order_;
}

void DataLoader::make(LoaderPosition position, const EpochBatches& order, Batch& batch) const {
  const auto b = static_cast<size_t>(position.batch);
  const int64_t begin = b ? order.ends[b - 1] : 0;
  batch.count = order.ends[b] - begin;
  batch.epoch = position.epoch;
  batch.index = position.batch;
  const int64_t rows = order.rows[b];
  const auto items =
      std::span(order.items).subspan(static_cast<size_t>(begin), static_cast<size_t>(batch.count));

  const std::vector<Column> columns = dataset_->batch_columns(items);
  bool fits = batch.columns.size() == columns.size();
  for (size_t c = 0; fits && c < columns.size(); ++c) {
    Shape shape = columns[c].shape;
    shape.insert(0, rows);
    fits = batch.columns[c].shape() == shape && batch.columns[c].dtype() == columns[c].dtype;
  }
  if (!fits) batch.columns = batch_arrays(columns, rows);
  fetch_rows(*dataset_, items, batch.columns,
             [&](int64_t index) { return Philox(options_.seed, item_stream(position.epoch, index)); });
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
  if (options_.workers == 0) {
    make(position_, *order(position_.epoch), current_);
  } else {
    if (!workers_)
      workers_ = std::make_unique<Workers>(*this, position_, options_.workers,
                                           static_cast<size_t>(options_.prefetch));
    current_ = workers_->take(std::move(current_));
  }
  position_ = after(position_);
  return current_;
}

}  // namespace stithy

#include "nn/data/loader.h"

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <numeric>
#include <set>
#include <thread>

#include "engine/core/error.h"

using namespace stithy;

namespace {
DatasetPtr counting(int64_t n) {
  std::vector<int32_t> ids(static_cast<size_t>(n));
  std::iota(ids.begin(), ids.end(), 0);
  return std::make_shared<InMemoryDataset>(
      std::vector<InMemoryDataset::Source>{{"id", Array({n, 1}, ids)}, {"y", Array({n}, ids), kIgnoreIndex}});
}
std::vector<int32_t> ids(const Batch& batch) {
  const auto values = batch.columns[1].values<int32_t>();
  return {values.begin(), values.end()};
}
// Throws at one index; otherwise gives the index, slowly.
class Broken : public Dataset {
 public:
  explicit Broken(int64_t at) : at_(at) {}
  int64_t size() const override { return 20; }
  const std::vector<Column>& columns() const override { return columns_; }
  void fetch(int64_t index, std::span<const std::span<std::byte>> out) const override {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    if (index == at_) throw Error("broken", cat("item ", index));
    out[0][0] = static_cast<std::byte>(index);
  }

 private:
  int64_t at_;
  std::vector<Column> columns_ = {{"x", {}, DType::u8}};
};
}  // namespace

TEST_SUITE("loader") {
  TEST_CASE("an epoch gives every item once; epochs differ; threads change nothing") {
    DataLoader plain(counting(103), {.batch = 10, .seed = 5, .last = LastBatch::keep, .prefetch = 0});
    DataLoader ahead(counting(103), {.batch = 10, .seed = 5, .last = LastBatch::keep, .prefetch = 3});
    CHECK(plain.batches_per_epoch() == 11);
    std::vector<std::vector<int32_t>> epochs(3);
    for (int epoch = 0; epoch < 3; ++epoch)
      for (int b = 0; b < 11; ++b) {
        const Batch& one = plain.next();
        const Batch& other = ahead.next();
        CHECK(one.epoch == epoch);
        CHECK(other.index == b);
        CHECK(ids(one) == ids(other));
        CHECK(one.columns[0].shape() == Shape{b == 10 ? 3 : 10, 1});
        for (int32_t id : ids(one)) epochs[static_cast<size_t>(epoch)].push_back(id);
      }
    for (const auto& epoch : epochs) CHECK(std::set(epoch.begin(), epoch.end()).size() == 103);
    CHECK(epochs[0] != epochs[1]);
    CHECK(epochs[1] != epochs[2]);
  }

  TEST_CASE("policies for the last batch") {
    DataLoader drop(counting(7), {.batch = 3, .shuffle = false, .last = LastBatch::drop});
    CHECK(drop.batches_per_epoch() == 2);
    drop.next(), drop.next();
    CHECK(ids(drop.next()) == std::vector<int32_t>{0, 1, 2});

    DataLoader pad(counting(7), {.batch = 3, .shuffle = false, .last = LastBatch::pad});
    CHECK(pad.batches_per_epoch() == 3);
    pad.next(), pad.next();
    const Batch& last = pad.next();
    CHECK(last.count == 1);
    CHECK(ids(last) == std::vector<int32_t>{6, kIgnoreIndex, kIgnoreIndex});
    CHECK(last.columns[0].at(1) == 0);
    // The buffers are used again: no padding may be left.
    for (int i = 0; i < 9; ++i) {
      const Batch& batch = pad.next();
      CHECK(batch.count == (batch.index == 2 ? 1 : 3));
      CHECK((ids(batch)[2] == kIgnoreIndex) == (batch.index == 2));
    }
  }

  TEST_CASE("resuming from any position gives the same batches, bit for bit") {
    const LoaderOptions options{
        .batch = 4, .seed = 9, .last = LastBatch::pad, .transform = [](Batch& batch, Philox& random) {
          batch.columns[0].set(0, static_cast<double>(random.bits() >> 8));
        }};
    DataLoader whole(counting(18), options);
    std::vector<LoaderPosition> positions;
    std::vector<Batch> batches;
    for (int i = 0; i < 12; ++i) {
      positions.push_back(whole.position());
      batches.push_back(whole.next());
    }
    CHECK(positions[5] == LoaderPosition{1, 0});
    DataLoader seeking(counting(18), options);
    for (size_t from = 0; from < 12; ++from) {
      LoaderOptions started = options;
      started.start = positions[from];
      started.prefetch = static_cast<int>(from % 3);
      DataLoader resumed(counting(18), started);
      seeking.next();
      seeking.seek(positions[from]);
      for (size_t i = from; i < 12; ++i) {
        const Batch& batch = resumed.next();
        CHECK(same_bytes(batch.columns[0], batches[i].columns[0]));
        CHECK(same_bytes(batch.columns[1], batches[i].columns[1]));
        CHECK(same_bytes(seeking.next().columns[0], batches[i].columns[0]));
      }
    }
    whole.seek({3, 5});
    CHECK(whole.position() == LoaderPosition{4, 0});
    CHECK_THROWS_AS(whole.seek({0, 6}), Error);
    CHECK_THROWS_AS(whole.seek({-1, 0}), Error);
  }

  TEST_CASE("an exception surfaces in next(), at its batch, and does not block the end") {
    for (const auto& [workers, prefetch] : {std::pair(0, 4), {4, 0}, {1, 1}, {2, 4}, {5, -1}, {-1, -1}}) {
      DataLoader loader(std::make_shared<Broken>(7),
                        {.batch = 5, .shuffle = false, .workers = workers, .prefetch = prefetch});
      CHECK(loader.next().columns[0].at(4) == 4);
      CHECK_THROWS_WITH_AS(loader.next(), "broken: item 7", Error);
      CHECK_THROWS_WITH_AS(loader.next(), "broken: item 7", Error);
      CHECK(loader.position() == LoaderPosition{0, 1});
      loader.seek({0, 2});
      CHECK(loader.next().columns[0].at(0) == 10);
    }
  }

  TEST_CASE("the number of workers and their pace change no byte") {
    // Early items of a batch take the longest, so that later batches are ready before.
    class Uneven : public Dataset {
     public:
      int64_t size() const override { return 41; }
      const std::vector<Column>& columns() const override { return columns_; }
      void fetch(int64_t index, std::span<const std::span<std::byte>> out) const override {
        std::this_thread::sleep_for(std::chrono::microseconds(index * 7919 % 5 * 300));
        out[0][0] = static_cast<std::byte>(index);
      }

     private:
      std::vector<Column> columns_ = {{"x", {}, DType::u8}};
    };
    const auto run = [](int workers, int prefetch) {
      DataLoader loader(std::make_shared<Uneven>(),
                        {.batch = 4,
                         .seed = 3,
                         .last = LastBatch::pad,
                         .workers = workers,
                         .prefetch = prefetch,
                         .transform = [](Batch& batch, Philox& random) {
                           batch.columns.push_back(Array::scalar(static_cast<float>(random.uniform())));
                         }});
      std::vector<Batch> batches;
      for (int i = 0; i < 30; ++i) {
        batches.push_back(loader.next());
        CHECK(batches.back().epoch == i / 11);
        CHECK(batches.back().index == i % 11);
      }
      return batches;
    };
    const std::vector<Batch> expected = run(0, 0);
    for (const auto& [workers, prefetch] : {std::pair(1, 2), {2, 1}, {2, 3}, {5, -1}, {5, 16}, {-1, -1}}) {
      const std::vector<Batch> batches = run(workers, prefetch);
      for (size_t i = 0; i < batches.size(); ++i) {
        CHECK(same_bytes(batches[i].columns[0], expected[i].columns[0]));
        CHECK(same_bytes(batches[i].columns[1], expected[i].columns[1]));
      }
    }
  }

  TEST_CASE("workers work at once, and stop at the bound") {
    // Each item waits until `together` of them are being fetched, or gives up.
    class Meeting : public Dataset {
     public:
      explicit Meeting(int together) : together_(together) {}
      int64_t size() const override { return 1000; }
      const std::vector<Column>& columns() const override { return columns_; }
      void fetch(int64_t, std::span<const std::span<std::byte>> out) const override {
        ++begun;
        const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
        while (begun < together_ && std::chrono::steady_clock::now() < end) std::this_thread::yield();
        out[0][0] = std::byte{begun >= together_};
      }
      mutable std::atomic<int> begun = 0;

     private:
      int together_;
      std::vector<Column> columns_ = {{"x", {}, DType::u8}};
    };
    const auto data = std::make_shared<Meeting>(3);
    DataLoader loader(data, {.batch = 1, .workers = 3, .prefetch = 7});
    CHECK(loader.next().columns[0].at(0) == 1);
    for (int wait = 0; wait < 2000 && data->begun < 8; ++wait)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    CHECK(data->begun == 8);
  }

  TEST_CASE("an exception belongs to its batch: those before it are given, those after it by seek()") {
    DataLoader loader(std::make_shared<Broken>(10),
                      {.batch = 2, .shuffle = false, .workers = 5, .prefetch = 9});
    for (int i = 0; i < 5; ++i) CHECK(loader.next().columns[0].at(1) == 2 * i + 1);
    CHECK_THROWS_WITH_AS(loader.next(), "broken: item 10", Error);
    loader.seek({0, 6});
    CHECK(loader.next().columns[0].at(0) == 12);
  }

  TEST_CASE("a loader can be destroyed at any time") {
    for (int taken = 0; taken < 6; ++taken)
      for (int wait = 0; wait < 3; ++wait) {
        DataLoader loader(std::make_shared<Broken>(-1),
                          {.batch = 2, .workers = 1 + taken % 3, .prefetch = 2});
        for (int i = 0; i < taken; ++i) loader.next();
        std::this_thread::sleep_for(std::chrono::milliseconds(wait));
      }
  }

  TEST_CASE("options out of range") {
    CHECK_THROWS_AS(DataLoader(nullptr, {}), Error);
    CHECK_THROWS_WITH_AS(DataLoader(counting(9), {.batch = 0}), doctest::Contains("batch 0"), Error);
    CHECK_THROWS_WITH_AS(DataLoader(counting(9), {.batch = 10}), doctest::Contains("gives no batch of 10"),
                         Error);
    CHECK_THROWS_AS(DataLoader(counting(0), {.batch = 1, .last = LastBatch::pad}), Error);
    CHECK_THROWS_AS(DataLoader(counting(9), {.batch = 1, .prefetch = -2}), Error);
    CHECK_THROWS_AS(DataLoader(counting(9), {.batch = 1, .workers = -2}), Error);
  }
}

// Sequences of numbers for batches: padding, truncation, masks, and the datasets of language models.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "nn/data/dataset.h"

namespace stithy {

enum class Side { pre, post };

struct PadOptions {
  int64_t length = 0;  // of all sequences; 0: of the longest, at least 1
  Side padding = Side::post;
  Side truncation = Side::post;  // where a longer sequence loses elements
  int32_t value = 0;             // of the padding
};

struct PaddedSequences {
  Array ids;      // i32 [n, length]
  Array mask;     // bool [n, length]: false where ids is padding
  Array lengths;  // i32 [n], after truncation
};
PaddedSequences pad_sequences(std::span<const std::vector<int32_t>> sequences,
                              const PadOptions& options = {});

struct SequenceOptions {
  // What batches are padded to: the smallest of these that holds the longest of their items, all of an item's
  // sequences alike. Ascending; what is longer than the last is truncated. Empty: the longest item. Each
  // length is a shape, for which a program is planned once; bucket_sampler() makes batches of items with the
  // same.
  std::vector<int64_t> lengths = {};
  Side padding = Side::post;
  Side truncation = Side::post;
};

// Items with one sequence or several (source and target), and other columns (labels).
class SequenceDataset : public Dataset {
 public:
  struct Source {
    std::string name;
    std::vector<std::vector<int32_t>> sequences;
    int32_t padding = 0;  // kIgnoreIndex for targets
    bool mask = true;     // a column NAME_mask (bool), false where NAME is padding, follows
  };
  // Columns: i32 [length] of each source, with its mask; then the others. Throws Error when their numbers of
  // items differ and for lengths that do not ascend.
  SequenceDataset(std::vector<Source> sources, std::vector<InMemoryDataset::Source> others = {},
                  const SequenceOptions& options = {});
  int64_t size() const override { return static_cast<int64_t>(item_lengths_.size()); }
  const std::vector<Column>& columns() const override { return columns_; }
  std::vector<Column> batch_columns(std::span<const int64_t> indices) const override;
  void fetch(int64_t index, std::span<const std::span<std::byte>> out) const override;

 private:
  std::vector<Source> sources_;
  std::vector<InMemoryDataset> others_;  // none or one
  SequenceOptions options_;
  std::vector<Column> columns_;
  std::vector<int64_t> item_lengths_;  // of the longest sequence of each item
};

struct WindowOptions {
  int64_t length = 64;  // of a window
  // From the start of a window to that of the next one; 0: the length, which leaves nothing out but the end
  // of the text. 1 gives every window, in a shuffled order nanoGPT's random blocks.
  int64_t stride = 0;
  // Every epoch starts each window at another place within its stride, drawn anew, so that few windows see
  // all positions in time. Only in fetch_random(), which training uses.
  bool shift = false;
};

// Windows of a long text for the prediction of the next token: columns "x" (i32 [length], tokens t, t + 1,
// ...) and "y" (i32 [length], tokens t + 1, t + 2, ...; padded by kIgnoreIndex).
class TokenWindows : public Dataset {
 public:
  // Throws Error for a text that is not longer than a window.
  TokenWindows(std::vector<int32_t> tokens, const WindowOptions& options = {});
  int64_t size() const override { return size_; }
  const std::vector<Column>& columns() const override { return columns_; }
  void fetch(int64_t index, std::span<const std::span<std::byte>> out) const override;
  void fetch_random(int64_t index, Philox& random, std::span<const std::span<std::byte>> out) const override;

 private:
  void copy(int64_t start, std::span<const std::span<std::byte>> out) const;
  std::vector<int32_t> tokens_;
  WindowOptions options_;
  std::vector<Column> columns_;
  int64_t size_ = 0;
};

}  // namespace stithy

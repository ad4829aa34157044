#include "nn/text/sequences.h"

#include <algorithm>
#include <cstring>

#include "engine/core/error.h"

namespace stithy {
namespace {

// Where the kept elements begin in a sequence and in its row, and how many they are.
struct Placement {
  size_t from, to, count;
};
Placement place(size_t sequence, size_t length, Side padding, Side truncation) {
  const size_t count = std::min(sequence, length);
  return {truncation == Side::pre ? sequence - count : 0, padding == Side::pre ? length - count : 0, count};
}

// `mask` may be empty.
void fill_row(const std::vector<int32_t>& sequence, int32_t value, Side padding, Side truncation,
              std::span<std::byte> row, std::span<std::byte> mask) {
  const size_t length = row.size() / sizeof(int32_t);
  const auto [from, to, count] = place(sequence.size(), length, padding, truncation);
  const auto put = [&](size_t i, const int32_t* values, size_t n) {
    std::memcpy(row.data() + i * sizeof(int32_t), values, n * sizeof(int32_t));
  };
  for (size_t i = 0; i < length; ++i)
    if (i < to || i >= to + count) put(i, &value, 1);
  if (count) put(to, sequence.data() + from, count);
  for (size_t i = 0; i < mask.size(); ++i) mask[i] = static_cast<std::byte>(i >= to && i < to + count);
}

}  // namespace

PaddedSequences pad_sequences(std::span<const std::vector<int32_t>> sequences, const PadOptions& options) {
  if (options.length < 0) throw Error("pad_sequences", cat("length ", options.length, " is negative"));
  const auto n = static_cast<int64_t>(sequences.size());
  int64_t length = options.length;
  if (length == 0) {
    length = 1;
    for (const auto& sequence : sequences) length = std::max(length, static_cast<int64_t>(sequence.size()));
  }
  PaddedSequences result{Array({n, length}, DType::i32), Array({n, length}, DType::boolean),
                         Array({n}, DType::i32)};
  const auto columns = static_cast<size_t>(length);
  for (size_t i = 0; i < sequences.size(); ++i) {
    fill_row(sequences[i], options.value, options.padding, options.truncation,
             result.ids.bytes().subspan(i * columns * sizeof(int32_t), columns * sizeof(int32_t)),
             result.mask.bytes().subspan(i * columns, columns));
    result.lengths.values<int32_t>()[i] = static_cast<int32_t>(std::min(columns, sequences[i].size()));
  }
  return result;
}

SequenceDataset::SequenceDataset(std::vector<Source> sources, std::vector<InMemoryDataset::Source> others,
                                 const SequenceOptions& options)
    : sources_(std::move(sources)), options_(options) {
  if (sources_.empty()) throw Error("sequences", "there is no source");
  item_lengths_.resize(sources_[0].sequences.size());
  for (const Source& source : sources_) {
    if (source.sequences.size() != item_lengths_.size())
      throw Error("sequences", cat("'", source.name, "' has ", source.sequences.size(), " items, '",
                                   sources_[0].name, "' has ", item_lengths_.size()));
    for (size_t i = 0; i < item_lengths_.size(); ++i)
      item_lengths_[i] = std::max(item_lengths_[i], static_cast<int64_t>(source.sequences[i].size()));
  }
  std::vector<int64_t>& lengths = options_.lengths;
  if (lengths.empty()) {
    const auto longest = std::max_element(item_lengths_.begin(), item_lengths_.end());
    lengths = {longest == item_lengths_.end() ? 1 : std::max<int64_t>(1, *longest)};
  }
  for (size_t i = 0; i < lengths.size(); ++i)
    if (lengths[i] <= (i ? lengths[i - 1] : 0))
      throw Error("sequences", cat("length ", lengths[i], " is not more than ", i ? lengths[i - 1] : 0),
                  "lengths ascend, from 1 on");
  for (const Source& source : sources_) {
    columns_.push_back({source.name, {lengths.back()}, DType::i32, static_cast<double>(source.padding)});
    if (source.mask) columns_.push_back({source.name + "_mask", {lengths.back()}, DType::boolean});
  }
  if (others.empty()) return;
  others_.emplace_back(std::move(others));
  if (others_[0].size() != size())
    throw Error("sequences", cat("'", others_[0].columns()[0].name, "' has ", others_[0].size(), " items, '",
                                 sources_[0].name, "' has ", size()));
  columns_.insert(columns_.end(), others_[0].columns().begin(), others_[0].columns().end());
}

std::vector<Column> SequenceDataset::batch_columns(std::span<const int64_t> indices) const {
  int64_t longest = 0;
  for (const int64_t index : indices)
    longest = std::max(longest, item_lengths_.at(static_cast<size_t>(index)));
  const std::vector<int64_t>& lengths = options_.lengths;
  const auto fitting = std::lower_bound(lengths.begin(), lengths.end(), longest);
  const int64_t length = fitting == lengths.end() ? lengths.back() : *fitting;
  std::vector<Column> columns = columns_;
  const size_t sequences = columns.size() - (others_.empty() ? 0 : others_[0].columns().size());
  for (size_t c = 0; c < sequences; ++c) columns[c].shape = {length};
  return columns;
}

void SequenceDataset::fetch(int64_t index, std::span<const std::span<std::byte>> out) const {
  if (index < 0 || index >= size())
    throw Error("sequences", cat("item ", index, " is out of range for ", size(), " items"));
  size_t c = 0;
  for (const Source& source : sources_) {
    const std::span<std::byte> row = out[c++];
    const std::span<std::byte> mask = source.mask ? out[c++] : std::span<std::byte>();
    fill_row(source.sequences[static_cast<size_t>(index)], source.padding, options_.padding,
             options_.truncation, row, mask);
  }
  if (!others_.empty()) others_[0].fetch(index, out.subspan(c));
}

TokenWindows::TokenWindows(std::vector<int32_t> tokens, const WindowOptions& options)
    : tokens_(std::move(tokens)), options_(options) {
  if (options_.length < 1) throw Error("token windows", cat("length ", options_.length, " is less than 1"));
  if (options_.stride < 0) throw Error("token windows", cat("stride ", options_.stride, " is negative"));
  if (options_.stride == 0) options_.stride = options_.length;
  const auto count = static_cast<int64_t>(tokens_.size());
  if (count <= options_.length)
    throw Error("token windows", cat(count, " tokens are too few for a window of ", options_.length,
                                     " and the token after it"));
  size_ = (count - options_.length - 1) / options_.stride + 1;
  columns_ = {{"x", {options_.length}, DType::i32},
              {"y", {options_.length}, DType::i32, static_cast<double>(kIgnoreIndex)}};
}

void TokenWindows::copy(int64_t start, std::span<const std::span<std::byte>> out) const {
  for (size_t c = 0; c < 2; ++c)
    std::memcpy(out[c].data(), tokens_.data() + start + static_cast<int64_t>(c), out[c].size());
}

void TokenWindows::fetch(int64_t index, std::span<const std::span<std::byte>> out) const {
  if (index < 0 || index >= size_)
    throw Error("token windows", cat("item ", index, " is out of range for ", size_, " items"));
  copy(index * options_.stride, out);
}

void TokenWindows::fetch_random(int64_t index, Philox& random,
                                std::span<const std::span<std::byte>> out) const {
  if (!options_.shift || index < 0 || index >= size_) return fetch(index, out);
  const int64_t start = index * options_.stride;
  const int64_t last = static_cast<int64_t>(tokens_.size()) - options_.length - 1;
  const int64_t room = std::min(options_.stride, last - start + 1);
  copy(start + static_cast<int64_t>(random.below(static_cast<uint64_t>(room))), out);
}

}  // namespace stithy

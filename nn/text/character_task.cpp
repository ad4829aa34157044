#include "nn/text/character_task.h"

#include <algorithm>
#include <filesystem>
#include <numeric>
#include <optional>

#include "engine/core/error.h"
#include "engine/core/rng.h"
#include "nn/text/sequences.h"
#include "nn/text/text_files.h"
#include "nn/text/words.h"

namespace stithy {
namespace {

constexpr size_t kHeldOut = 1000;  // pairs, at most a fifth of all

// All pairs a * 10^digits + b in a random order: validation, test, then training.
struct Pairs {
  std::vector<int32_t> all;
  size_t held_out;
};
Pairs pairs_of(int64_t digits, uint64_t seed) {
  if (digits < 1 || digits > 4)
    throw Error("addition_task", cat("numbers of ", digits, " digits"), "give 1 to 4");
  int32_t numbers = 1;
  for (int64_t i = 0; i < digits; ++i) numbers *= 10;
  Pairs pairs{std::vector<int32_t>(static_cast<size_t>(numbers) * static_cast<size_t>(numbers)), 0};
  std::iota(pairs.all.begin(), pairs.all.end(), 0);
  Philox random(seed, 0x73756d73);
  for (size_t i = pairs.all.size() - 1; i > 0; --i) std::swap(pairs.all[i], pairs.all[random.below(i + 1)]);
  pairs.held_out = std::min(kHeldOut, pairs.all.size() / 10);
  return pairs;
}

std::string padded(int64_t number, int64_t digits) {
  std::string text = std::to_string(number);
  return std::string(static_cast<size_t>(digits) - text.size(), '0') + text;
}
std::array<std::string, 2> example_of(int32_t pair, int64_t digits) {
  int64_t numbers = 1;
  for (int64_t i = 0; i < digits; ++i) numbers *= 10;
  const int64_t a = pair / numbers, b = pair % numbers;
  std::string sum = padded(a + b, digits + 1);
  std::ranges::reverse(sum);
  return {padded(a, digits) + "+" + padded(b, digits) + "=", sum};
}

class Sums : public Dataset {
 public:
  Sums(std::vector<int32_t> pairs, int64_t digits, TokenizerPtr tokenizer)
      : pairs_(std::move(pairs)), digits_(digits), tokenizer_(std::move(tokenizer)) {
    const Shape shape{3 * digits + 2};
    columns_ = {{"x", shape, DType::i32}, {"y", shape, DType::i32, kIgnoreIndex}};
  }
  int64_t size() const override { return static_cast<int64_t>(pairs_.size()); }
  const std::vector<Column>& columns() const override { return columns_; }
  void fetch(int64_t index, std::span<const std::span<std::byte>> out) const override {
    const auto [prompt, sum] = example_of(pairs_[static_cast<size_t>(index)], digits_);
    const std::vector<int32_t> ids = tokenizer_->encode(prompt + sum);
    std::vector<int32_t> next(ids.begin() + 1, ids.end());
    std::fill_n(next.begin(), prompt.size() - 1, kIgnoreIndex);
    std::copy_n(std::as_bytes(std::span(ids)).begin(), out[0].size(), out[0].begin());
    std::copy_n(std::as_bytes(std::span(next)).begin(), out[1].size(), out[1].begin());
  }

 private:
  std::vector<int32_t> pairs_;
  int64_t digits_;
  TokenizerPtr tokenizer_;
  std::vector<Column> columns_;
};

std::string text_file(const std::string& path) {
  if (!std::filesystem::is_directory(path)) return path;
  std::vector<std::string> found;
  for (const auto& entry : std::filesystem::directory_iterator(path))
    if (entry.path().extension() == ".txt") found.push_back(entry.path().string());
  if (found.size() != 1)
    throw Error(path, cat("has ", found.size(), " files *.txt"), "name the one to be read");
  return found[0];
}

}  // namespace

CharacterTask addition_task(int64_t digits, uint64_t seed) {
  Pairs pairs = pairs_of(digits, seed);
  CharacterTask task;
  task.tokenizer = CharacterTokenizer::train(std::vector<std::string>{"0123456789+="});
  const auto part = [&](size_t begin, size_t end) {
    return std::make_shared<Sums>(std::vector<int32_t>(pairs.all.begin() + static_cast<ptrdiff_t>(begin),
                                                       pairs.all.begin() + static_cast<ptrdiff_t>(end)),
                                  digits, task.tokenizer);
  };
  task.validation = part(0, pairs.held_out);
  task.test = part(pairs.held_out, 2 * pairs.held_out);
  task.train = part(2 * pairs.held_out, pairs.all.size());
  task.prompt = example_of(pairs.all[pairs.held_out], digits)[0];
  return task;
}

std::vector<std::array<std::string, 2>> addition_examples(int64_t digits, uint64_t seed, size_t count) {
  const Pairs pairs = pairs_of(digits, seed);
  std::vector<std::array<std::string, 2>> examples;
  for (size_t i = 0; i < std::min(count, pairs.held_out); ++i)
    examples.push_back(example_of(pairs.all[pairs.held_out + i], digits));
  return examples;
}

CharacterTask text_task(const std::string& path, int64_t length) {
  const std::string file = text_file(path), text = read_text(file);
  CharacterTask task;
  task.tokenizer = CharacterTokenizer::train(std::span(&text, 1));
  const std::vector<int32_t> ids = task.tokenizer->encode(text);
  const auto cut = static_cast<ptrdiff_t>(ids.size() * 9 / 10);
  const auto windows = [&](auto begin, auto end, int64_t stride) {
    if (end - begin <= length)
      throw Error(file, cat(end - begin, " of its ", ids.size(), " characters are no window of ", length),
                  "give a longer text or a shorter --context");
    return std::make_shared<TokenWindows>(std::vector<int32_t>(begin, end),
                                          WindowOptions{.length = length, .stride = stride});
  };
  task.train = windows(ids.begin(), ids.begin() + cut, 1);
  task.validation = task.test = windows(ids.begin() + cut, ids.end(), length);
  task.prompt = task.tokenizer->decode(std::span(ids).subspan(static_cast<size_t>(cut), 1));
  return task;
}

}  // namespace stithy

// Handwritten-like digits, drawn rather than downloaded: what a sample trains on where there is no data.
// Several ways of writing each digit are turned, sheared, stretched and bent at random, then painted by a
// brush of random width. Image i of a split is a pure function of (seed, split, i).
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "nn/data/dataset.h"

namespace stithy {

inline constexpr int kDigitSize = 28;

enum class DigitsSplit : uint32_t { train = 0, validation = 1, test = 2 };

// Paints image `index`, 28 rows of 28 bytes, white on black, and returns its digit, 0 to 9.
int draw_digit(DigitsSplit split, int64_t index, uint64_t seed, std::span<uint8_t> image);

// The first `count` images of a split, drawn by `threads` threads (0: one a core); their number changes
// nothing. Throws Error when count is negative or above 2^31.
ImageClasses draw_digits(DigitsSplit split, int64_t count, uint64_t seed = 0, int threads = 0);

// The same images, with the columns of image_dataset(). Each is drawn when it is fetched first, so that
// training begins at once, and kept.
class DigitsDataset : public Dataset {
 public:
  // Throws Error when size is negative or above 2^31.
  DigitsDataset(DigitsSplit split, int64_t size, uint64_t seed = 0);
  int64_t size() const override { return size_; }
  const std::vector<Column>& columns() const override { return columns_; }
  void fetch(int64_t index, std::span<const std::span<std::byte>> out) const override;

 private:
  DigitsSplit split_;
  int64_t size_;
  uint64_t seed_;
  struct Drawn {
    std::atomic<bool> claimed = false, ready = false;
    uint8_t digit = 0;
    std::array<uint8_t, kDigitSize * kDigitSize> image;
  };
  std::unique_ptr<Drawn[]> drawn_;
  std::vector<Column> columns_ = {{"image", {kDigitSize, kDigitSize}, DType::u8},
                                  {"label", {}, DType::i32, kIgnoreIndex}};
};

struct DigitsData {
  DatasetPtr train, test;
};
// What samples classify: MNIST's four files in `folder` (load_mnist), or, where it is empty, as many drawn
// digits.
DigitsData load_or_draw_digits(const std::string& folder, int64_t train, int64_t test, uint64_t seed = 0);

}  // namespace stithy

// ImageFolder: images in folders that are named after their classes, as torchvision reads them.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "nn/data/dataset.h"
#include "nn/data/transforms.h"

namespace stithy {

struct ImageFolderOptions {
  int channels = 3;  // or 1
  // Applied to a decoded image once, before it is cached: what does not change from epoch to epoch.
  Augment prepare = {ResizeShorter{256}};
  // Applied whenever an item is fetched; must end with one size for all images.
  Augment transforms = {CenterCrop{224, 224}};
  // A broken image is an error of the fetch that finds it. With `skip_broken` every file is decoded when the
  // dataset is made, by all cores, and the broken ones are left out, so that size() and the items' indices
  // are right from the beginning and the same in each run; that takes as long as an epoch of decoding.
  bool skip_broken = false;
  // Told by any thread, now and then, how many of all files were decoded so far in that check.
  std::function<void(int64_t done, int64_t all)> progress = {};
  // Prepared images are kept in memory until they take this many bytes; others are decoded each time.
  uint64_t cache_bytes = 0;
};

// Columns "image" (u8 [channels, height, width], or what the transforms make of it) and "label" (i32, padded
// by kIgnoreIndex).
class ImageFolder : public Dataset {
 public:
  // FOLDER/CLASS/**/*.png, .jpg and .jpeg, whatever the case; names that begin with a dot are passed over,
  // and so are links to folders below a class. Classes are numbered in the order of their names' bytes, items
  // in the order of their paths. The transforms are tried on the first image. Throws Error when there is no
  // class, a class has no image (or none that is whole), or the first image is broken.
  explicit ImageFolder(const std::string& folder, ImageFolderOptions options = {});
  int64_t size() const override { return static_cast<int64_t>(files_.size()); }
  const std::vector<Column>& columns() const override { return columns_; }
  // Draws the same for an item every time.
  void fetch(int64_t index, std::span<const std::span<std::byte>> out) const override;
  void fetch_random(int64_t index, Philox& random, std::span<const std::span<std::byte>> out) const override;

  const std::vector<std::string>& classes() const { return classes_; }
  const std::string& path(int64_t index) const { return files_.at(static_cast<size_t>(index)).path; }
  // What was wrong with each file that skip_broken left out, in the order of their paths.
  const std::vector<std::string>& skipped() const { return skipped_; }

 private:
  struct File {
    std::string path;
    int32_t label;
  };
  struct Cached {
    std::atomic<bool> claimed = false, ready = false;
    Array image;
  };
  Array prepared(int64_t index) const;
  void leave_out_broken();

  ImageFolderOptions options_;
  std::vector<std::string> classes_, skipped_;
  std::vector<File> files_;
  std::vector<Column> columns_;
  std::unique_ptr<Cached[]> cache_;
  mutable std::atomic<uint64_t> cached_bytes_ = 0;
};

}  // namespace stithy

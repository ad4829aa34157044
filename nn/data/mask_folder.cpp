#include "nn/data/mask_folder.h"

#include <algorithm>
#include <atomic>
#include <bitset>
#include <cstring>
#include <exception>
#include <filesystem>
#include <map>
#include <mutex>
#include <thread>

#include "engine/core/error.h"
#include "nn/data/image.h"
#include "nn/data/image_size.h"
#include "nn/data/transforms.h"

namespace stithy {
namespace {

namespace fs = std::filesystem;
constexpr size_t kMostClasses = 64;

// The files of a folder with one of these extensions, by their names without them.
std::map<std::string, std::string> files_in(const fs::path& folder,
                                            const std::vector<std::string>& extensions) {
  std::map<std::string, std::string> files;
  try {
    for (const auto& entry : fs::directory_iterator(folder)) {
      std::string extension = entry.path().extension();
      for (char& c : extension) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
      if (entry.path().filename().string().starts_with('.') || !entry.is_regular_file() ||
          std::ranges::find(extensions, extension) == extensions.end())
        continue;
      const auto [other, added] = files.emplace(entry.path().stem(), entry.path());
      if (!added) throw Error(entry.path(), cat("has the name of ", other->second), "delete one of them");
    }
  } catch (const fs::filesystem_error& error) {
    throw Error(folder, cat("cannot be read: ", error.code().message()),
                "images are in FOLDER/images, masks of the same names in FOLDER/masks");
  }
  return files;
}

}  // namespace

MaskFolder::MaskFolder(const std::string& folder, int64_t size)
    : columns_{{"image", {3, size, size}, DType::u8}, {"mask", {size, size}, DType::i32, kIgnoreIndex}} {
  if (size < 1 || size > kImageSide)
    throw Error("mask folder", cat("size ", size, " is not in 1 to ", kImageSide));
  const fs::path images_folder = fs::path(folder) / "images", masks_folder = fs::path(folder) / "masks";
  const auto images = files_in(images_folder, {".png", ".jpg", ".jpeg"}),
             masks = files_in(masks_folder, {".png"});
  for (const auto& [name, image] : images) {
    const auto mask = masks.find(name);
    if (mask == masks.end()) throw Error(image, cat("has no mask ", masks_folder / (name + ".png")));
    files_.push_back({image, mask->second});
  }
  for (const auto& [name, mask] : masks)
    if (!images.contains(name)) throw Error(mask, cat("is the mask of no image in ", images_folder));
  if (files_.empty()) throw Error(images_folder, "has no .png, .jpg or .jpeg file");

  std::bitset<256> values;
  std::atomic<size_t> next = 0;
  std::atomic<bool> failed = false;
  std::exception_ptr wrong;
  std::mutex mutex;
  const auto look = [&] {
    std::bitset<256> own;
    try {
      for (size_t i; !failed && (i = next++) < files_.size();) {
        const Array mask = read_image(files_[i].mask, 1);
        for (const uint8_t value : mask.values<uint8_t>()) own.set(value);
      }
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (!failed.exchange(true)) wrong = std::current_exception();
    }
    const std::lock_guard lock(mutex);
    values |= own;
  };
  {
    std::vector<std::jthread> threads;
    for (unsigned i = 1; i < std::thread::hardware_concurrency(); ++i) threads.emplace_back(look);
    look();
  }
  if (wrong) std::rethrow_exception(wrong);
  if (values.count() < 2 || values.count() > kMostClasses)
    throw Error(masks_folder,
                cat("the masks have ", values.count(), " different values, not 2 to ", kMostClasses),
                "a pixel of a mask is its class: 0, 1, 2 ..., without smoothing");
  for (size_t value = 0; value < values.size(); ++value)
    if (values.test(value)) {
      class_of_[value] = static_cast<int32_t>(classes_.size());
      classes_.push_back(static_cast<int>(value));
    }
}

void MaskFolder::fetch(int64_t index, std::span<const std::span<std::byte>> out) const {
  if (index < 0 || index >= size())
    throw Error("mask folder", cat("item ", index, " is out of range for ", size(), " items"));
  const File& file = files_[static_cast<size_t>(index)];
  const Array image = to_planes(read_image(file.image)), mask = read_image(file.mask, 1);
  const int64_t height = mask.shape()[0], width = mask.shape()[1], side = columns_[1].shape[0];
  if (image.shape() != Shape{3, height, width})
    throw Error(file.mask, cat("is ", height, " x ", width, " pixels, its image ", image.shape()[1], " x ",
                               image.shape()[2]));
  const Array resized = resize(image, side, side);
  std::memcpy(out[0].data(), resized.bytes().data(), out[0].size());
  const auto values = mask.values<uint8_t>();
  for (int64_t i = 0; i < side * side; ++i) {
    const int64_t y = (2 * (i / side) + 1) * height / (2 * side),
                  x = (2 * (i % side) + 1) * width / (2 * side);
    const int32_t c = class_of_[values[static_cast<size_t>(y * width + x)]];
    std::memcpy(out[1].data() + static_cast<size_t>(i) * sizeof c, &c, sizeof c);
  }
}

}  // namespace stithy

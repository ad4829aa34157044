#include "nn/data/image_folder.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <thread>

#include "engine/core/error.h"
#include "nn/data/image.h"

namespace stithy {
namespace {

namespace fs = std::filesystem;

bool is_image(const fs::path& path) {
  std::string extension = path.extension();
  for (char& c : extension) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
  return extension == ".png" || extension == ".jpg" || extension == ".jpeg";
}
bool is_hidden(const fs::path& path) { return path.filename().string().starts_with('.'); }

std::vector<std::string> folders_in(const std::string& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder))
    if (entry.is_directory() && !is_hidden(entry.path())) names.push_back(entry.path().filename());
  std::sort(names.begin(), names.end());
  return names;
}

std::vector<std::string> images_in(const fs::path& folder) {
  std::vector<std::string> paths;
  for (fs::recursive_directory_iterator entry(folder), end; entry != end; ++entry) {
    if (is_hidden(entry->path())) {
      if (entry->is_directory()) entry.disable_recursion_pending();
    } else if (entry->is_regular_file() && is_image(entry->path())) {
      paths.push_back(entry->path());
    }
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

}  // namespace

ImageFolder::ImageFolder(const std::string& folder, ImageFolderOptions options)
    : options_(std::move(options)) {
  try {
    classes_ = folders_in(folder);
    for (size_t label = 0; label < classes_.size(); ++label) {
      const std::vector<std::string> paths = images_in(fs::path(folder) / classes_[label]);
      if (paths.empty())
        throw Error(folder, cat("class '", classes_[label], "' has no .png, .jpg or .jpeg file"));
      for (const std::string& path : paths) files_.push_back({path, static_cast<int32_t>(label)});
    }
  } catch (const fs::filesystem_error& error) {
    throw Error(folder, cat("cannot be read: ", error.code().message()));
  }
  if (files_.empty())
    throw Error(folder, "has no folder with images", "each class has a folder: FOLDER/CLASS/IMAGE.png");
  if (options_.skip_broken) leave_out_broken();
  if (options_.cache_bytes) cache_ = std::make_unique<Cached[]>(files_.size());
  Philox random(0);
  const Array first = options_.transforms(prepared(0), random);
  columns_ = {{"image", first.shape(), first.dtype()}, {"label", {}, DType::i32, kIgnoreIndex}};
}

Array ImageFolder::prepared(int64_t index) const {
  Philox random(0, static_cast<uint64_t>(index));
  const auto decode = [&] {
    return options_.prepare(to_planes(read_image(path(index), options_.channels)), random);
  };
  if (!cache_) return decode();
  Cached& cached = cache_[static_cast<size_t>(index)];
  if (cached.ready.load(std::memory_order_acquire)) return cached.image;
  Array image = decode();
  // One thread keeps it; others that are here at the same moment have decoded the same.
  if (!cached.claimed.exchange(true)) {
    const uint64_t bytes = image.bytes().size();
    if (cached_bytes_.fetch_add(bytes) + bytes <= options_.cache_bytes) {
      cached.image = image;
      cached.ready.store(true, std::memory_order_release);
    } else {
      cached_bytes_ -= bytes;
    }
  }
  return image;
}

void ImageFolder::leave_out_broken() {
  std::vector<std::string> wrong(files_.size());
  std::atomic<size_t> next = 0, done = 0;
  std::exception_ptr fatal;
  std::atomic<bool> failed = false;
  const auto check = [&] {
    for (size_t i; !failed && (i = next++) < files_.size();) {
      try {
        try {
          read_image(files_[i].path, options_.channels);
        } catch (const Error& error) {
          wrong[i] = error.what();
        }
        const size_t so_far = ++done;
        if (options_.progress && (so_far % 100 == 0 || so_far == files_.size()))
          options_.progress(static_cast<int64_t>(so_far), static_cast<int64_t>(files_.size()));
      } catch (...) {
        if (!failed.exchange(true)) fatal = std::current_exception();
      }
    }
  };
  {
    std::vector<std::jthread> threads;
    for (unsigned i = 1; i < std::thread::hardware_concurrency(); ++i) threads.emplace_back(check);
    check();
  }
  if (fatal) std::rethrow_exception(fatal);
  std::vector<File> whole;
  std::vector<bool> has(classes_.size());
  for (size_t i = 0; i < files_.size(); ++i) {
    if (!wrong[i].empty()) {
      skipped_.push_back(wrong[i]);
      continue;
    }
    has[static_cast<size_t>(files_[i].label)] = true;
    whole.push_back(std::move(files_[i]));
  }
  for (size_t label = 0; label < has.size(); ++label)
    if (!has[label])
      throw Error(classes_[label], "every image of this class is broken", "the first of all: " + skipped_[0]);
  files_ = std::move(whole);
}

void ImageFolder::fetch(int64_t index, std::span<const std::span<std::byte>> out) const {
  Philox random(0, static_cast<uint64_t>(index));
  fetch_random(index, random, out);
}

void ImageFolder::fetch_random(int64_t index, Philox& random,
                               std::span<const std::span<std::byte>> out) const {
  if (index < 0 || index >= size())
    throw Error("image_folder", cat("item ", index, " is out of range for ", size(), " items"));
  const Array image = options_.transforms(prepared(index), random);
  if (image.shape() != columns_[0].shape || image.dtype() != columns_[0].dtype)
    throw Error(path(index),
                cat("became ", image.dtype(), " ", image.shape(), ", the first image ", columns_[0].dtype,
                    " ", columns_[0].shape),
                "end the transforms with a crop or a resize to a fixed size");
  std::memcpy(out[0].data(), image.bytes().data(), image.bytes().size());
  std::memcpy(out[1].data(), &files_[static_cast<size_t>(index)].label, sizeof(int32_t));
}

}  // namespace stithy

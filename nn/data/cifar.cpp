#include "nn/data/cifar.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <vector>

#include "engine/core/error.h"
#include "nn/gzip.h"

namespace stithy {
namespace {

namespace fs = std::filesystem;

constexpr size_t kPixels = 3 * 32 * 32;

struct Format {
  const char* name;
  size_t label_bytes;  // the last one counts
  int classes;
};
constexpr Format kCifar10{"cifar10", 1, 10}, kCifar100{"cifar100", 2, 100};

ImageClasses read(const std::vector<std::string>& paths, const Format& format) {
  const size_t record = format.label_bytes + kPixels;
  std::string bytes;
  for (const std::string& path : paths) {
    const std::string part = read_gzip_or_plain(path);
    if (part.empty() || part.size() % record)
      throw Error(path,
                  cat("has ", part.size(), " bytes, which are no multiple of the ", record,
                      " of an image with its label"),
                  "is the download complete, and is it the binary version?");
    for (size_t at = format.label_bytes - 1; at < part.size(); at += record)
      if (const int label = static_cast<uint8_t>(part[at]); label >= format.classes)
        throw Error(path, cat("label ", label, " of image ", at / record, " is not below ", format.classes));
    bytes += part;
  }
  const int64_t n = static_cast<int64_t>(bytes.size() / record);
  ImageClasses result{Array({n, 3, 32, 32}, DType::u8), Array({n}, DType::i32)};
  for (size_t i = 0; i < static_cast<size_t>(n); ++i) {
    const char* from = bytes.data() + i * record + format.label_bytes;
    result.labels.values<int32_t>()[i] = static_cast<uint8_t>(from[-1]);
    std::memcpy(result.images.bytes().data() + i * kPixels, from, kPixels);
  }
  return result;
}

TrainTest load(const std::string& folder, const Format& format) {
  const auto part = [&](std::string_view first, std::string_view second) {
    std::vector<std::string> paths;
    std::error_code failed;
    for (fs::directory_iterator entry(folder, failed), end; !failed && entry != end;
         entry.increment(failed)) {
      const std::string name = entry->path().filename();
      if (name.ends_with(".bin") && (name.starts_with(first) || name.starts_with(second)))
        paths.push_back(entry->path());
    }
    if (paths.empty())
      throw Error(format.name, cat("the folder '", folder, "' has no ", first, "*.bin or ", second, "*.bin"));
    std::sort(paths.begin(), paths.end());
    return read(paths, format);
  };
  return {part("data_batch", "train"), part("test", "val")};
}

}  // namespace

ImageClasses read_cifar10(const std::string& path) { return read({path}, kCifar10); }
ImageClasses read_cifar100(const std::string& path) { return read({path}, kCifar100); }
TrainTest load_cifar10(const std::string& folder) { return load(folder, kCifar10); }
TrainTest load_cifar100(const std::string& folder) { return load(folder, kCifar100); }

}  // namespace stithy

#include "nn/data/idx.h"

#include <algorithm>
#include <cstring>
#include <filesystem>

#include "engine/core/error.h"
#include "nn/gzip.h"

namespace stithy {
namespace {

uint32_t big_endian(const std::string& bytes, size_t at) {
  uint32_t value = 0;
  for (size_t i = 0; i < 4; ++i) value = value << 8 | static_cast<uint8_t>(bytes[at + i]);
  return value;
}

std::string find_file(const std::string& folder, const std::string& stem, const std::string& type) {
  std::string tried;
  for (const char* separator : {"-", "."})
    for (const char* extension : {"", ".gz"}) {
      const std::string name = stem + separator + type + extension;
      std::error_code ignored;
      if (std::filesystem::is_regular_file(folder + "/" + name, ignored)) return folder + "/" + name;
      tried += (tried.empty() ? "" : ", ") + name;
    }
  throw Error("mnist", cat("the folder '", folder, "' has none of ", tried));
}

ImageClasses load_part(const std::string& folder, const std::string& part, int classes) {
  const std::string images_path = find_file(folder, part + "-images", "idx3-ubyte");
  const std::string labels_path = find_file(folder, part + "-labels", "idx1-ubyte");
  ImageClasses result{read_idx(images_path), read_idx(labels_path)};
  if (result.images.dtype() != DType::u8 || result.images.shape().rank() != 3)
    throw Error(images_path, cat("holds ", result.images.dtype(), " ", result.images.shape(),
                                 ", expected u8 [n, height, width]"));
  if (result.labels.dtype() != DType::u8 || result.labels.shape().rank() != 1)
    throw Error(labels_path,
                cat("holds ", result.labels.dtype(), " ", result.labels.shape(), ", expected u8 [n]"));
  if (result.images.shape()[0] != result.labels.shape()[0])
    throw Error(labels_path, cat("has ", result.labels.shape()[0], " labels for the ",
                                 result.images.shape()[0], " images of ", images_path));
  const auto labels = result.labels.values<uint8_t>();
  const auto wrong =
      std::find_if(labels.begin(), labels.end(), [&](uint8_t label) { return label >= classes; });
  if (wrong != labels.end())
    throw Error(labels_path,
                cat("label ", int{*wrong}, " at ", wrong - labels.begin(), " is not below ", classes));
  result.labels = result.labels.to(DType::i32);
  return result;
}

}  // namespace

Array read_idx(const std::string& path) {
  const std::string bytes = read_gzip_or_plain(path);
  if (bytes.size() < 4 || bytes[0] != 0 || bytes[1] != 0)
    throw Error(path, "does not begin as an IDX file does");
  const uint8_t type = static_cast<uint8_t>(bytes[2]), rank = static_cast<uint8_t>(bytes[3]);
  if (type != 0x08 && type != 0x0c && type != 0x0d)
    throw Error(path, cat("holds IDX type ", int{type}, "; u8 (8), i32 (12) and f32 (13) are known"));
  const DType dtype = type == 0x08 ? DType::u8 : type == 0x0c ? DType::i32 : DType::f32;
  if (rank > kMaxRank) throw Error(path, cat("has ", int{rank}, " dimensions, more than ", kMaxRank));
  const size_t header = 4 + size_t{4} * rank;
  if (bytes.size() < header) throw Error(path, "ends inside its header");
  Shape shape;
  for (size_t i = 0; i < rank; ++i) shape.push_back(big_endian(bytes, 4 + 4 * i));

  uint64_t wanted = size_of(dtype);
  bool overflow = false;
  for (int64_t dim : shape) overflow |= __builtin_mul_overflow(wanted, static_cast<uint64_t>(dim), &wanted);
  if (overflow || wanted != bytes.size() - header)
    throw Error(
        path,
        cat("has ", bytes.size() - header, " bytes of data, which do not fill shape ", shape, " of ", dtype),
        "is the download complete?");
  Array result(shape, dtype);
  if (dtype == DType::u8) {
    if (wanted) std::memcpy(result.bytes().data(), bytes.data() + header, wanted);
    return result;
  }
  for (size_t at = 0; at < wanted; at += 4) {
    const uint32_t value = big_endian(bytes, header + at);
    std::memcpy(result.bytes().data() + at, &value, 4);
  }
  return result;
}

TrainTest load_mnist(const std::string& folder, int classes) {
  return {load_part(folder, "train", classes), load_part(folder, "t10k", classes)};
}

}  // namespace stithy

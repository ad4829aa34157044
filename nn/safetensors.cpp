#include "nn/safetensors.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <vector>

#include "engine/core/error.h"
#include "engine/core/file.h"
#include "nn/stored_type.h"

namespace stithy {
namespace {

using Json = nlohmann::json;

constexpr uint64_t kHeaderLimit = 100'000'000;
constexpr std::string_view kMetadata = "__metadata__";

struct Entry {
  std::string name, dtype;
  std::vector<uint64_t> shape, offsets;
  std::set<std::string> fields;  // seen so far
};

// Takes the header in by JSON events, since a parsed document would have lost duplicate keys.
class HeaderReader : public nlohmann::json_sax<Json> {
 public:
  explicit HeaderReader(const std::string& path) : path_(path) {}
  std::vector<Entry> entries;
  std::map<std::string, std::string> metadata;

  bool start_object(size_t) override {
    if (in_array_ || depth_ >= 2) refuse("an object");
    ++depth_;
    if (depth_ == 2 && !in_metadata_) entries.push_back({key_, {}, {}, {}, {}});
    return true;
  }
  bool end_object() override {
    if (depth_ == 2 && !in_metadata_ && entries.back().fields.size() != 3)
      throw Error(path_, cat("tensor '", entries.back().name, "' lacks dtype, shape or data_offsets"));
    if (depth_ == 2) in_metadata_ = false;
    --depth_;
    return true;
  }
  bool key(std::string& name) override {
    key_ = name;
    has_key_ = true;
    bool is_new = true;
    if (depth_ == 1) {
      is_new = names_.insert(name).second;
      in_metadata_ = name == kMetadata;
    } else if (in_metadata_) {
      is_new = metadata.emplace(name, "").second;
    } else {
      if (name != "dtype" && name != "shape" && name != "data_offsets") refuse("an unknown field");
      is_new = entries.back().fields.insert(name).second;
    }
    if (!is_new) throw Error(path_, cat("the header has the key '", name, "' twice"));
    return true;
  }
  bool string(std::string& value) override {
    if (depth_ == 2 && in_metadata_)
      metadata[key_] = value;
    else if (depth_ == 2 && !in_array_ && key_ == "dtype")
      entries.back().dtype = value;
    else
      refuse("a string");
    return true;
  }
  bool start_array(size_t) override {
    if (depth_ != 2 || in_metadata_ || in_array_ || key_ == "dtype") refuse("an array");
    in_array_ = true;
    return true;
  }
  bool end_array() override {
    in_array_ = false;
    return true;
  }
  bool number_unsigned(uint64_t value) override {
    if (!in_array_) refuse("a number");
    std::vector<uint64_t>& list = key_ == "shape" ? entries.back().shape : entries.back().offsets;
    list.push_back(value);
    if (key_ == "shape" && list.size() > kMaxRank)
      throw Error(path_, cat("tensor '", entries.back().name, "' has more than ", kMaxRank, " dimensions"));
    if (key_ == "data_offsets" && list.size() > 2) refuse("a third number");
    return true;
  }
  bool number_integer(int64_t) override { refuse("a negative number"); }
  bool number_float(double, const std::string&) override { refuse("a number that is no integer"); }
  bool boolean(bool) override { refuse("a boolean"); }
  bool null() override { refuse("null"); }
  bool binary(Json::binary_t&) override { refuse("binary data"); }
  bool parse_error(size_t position, const std::string&, const Json::exception&) override {
    throw Error(path_, cat("the header is no valid JSON at byte ", position));
  }

 private:
  [[noreturn]] void refuse(const char* what) const {
    throw Error(path_, cat("the header holds ", what, " where it does not belong",
                           has_key_ ? cat(", at key '", key_, "'") : ""));
  }

  const std::string& path_;
  int depth_ = 0;
  bool in_array_ = false, in_metadata_ = false, has_key_ = false;
  std::string key_;
  std::set<std::string> names_;
};

const StoredType& stored_type(const std::string& where, const Entry& entry) {
  if (const StoredType* type = find_stored_type(entry.dtype)) return *type;
  throw Error(where,
              cat("tensor '", entry.name, "' has the type '", entry.dtype, "', which is not supported"));
}

// Bytes of an entry by its shape and type.
uint64_t stored_bytes(const std::string& where, const Entry& entry, uint64_t size) {
  bool overflow = false;
  uint64_t bytes = size;
  for (uint64_t dim : entry.shape)
    overflow |= dim > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()) ||
                __builtin_mul_overflow(bytes, dim, &bytes);
  if (overflow) throw Error(where, cat("the shape of tensor '", entry.name, "' is too large"));
  return bytes;
}

Array read_tensor(const InputFile& file, const Entry& entry, const StoredType& type, uint64_t data_begin) {
  Shape shape;
  for (uint64_t dim : entry.shape) shape.push_back(static_cast<int64_t>(dim));
  std::vector<std::byte> raw(entry.offsets[1] - entry.offsets[0]);
  file.read(data_begin + entry.offsets[0], raw);
  return array_of(file.path(), entry.name, type, shape, raw);
}

}  // namespace

TensorFile read_safetensors(const std::string& path) {
  const InputFile file(path);
  if (file.size() < 8) throw Error(path, "is too short for a safetensors file");
  uint64_t header_size = 0;
  file.read(0, std::as_writable_bytes(std::span(&header_size, 1)));
  if (header_size > kHeaderLimit || header_size > file.size() - 8)
    throw Error(path,
                cat("claims a header of ", header_size, " bytes; the file has ", file.size(),
                    " and the limit is ", kHeaderLimit),
                "is it a safetensors file?");
  std::string header(header_size, '\0');
  file.read(8, std::as_writable_bytes(std::span(header)));
  if (!header.starts_with('{')) throw Error(path, "the header does not begin with '{'");

  HeaderReader reader(path);
  Json::sax_parse(header, &reader);
  const uint64_t data_begin = 8 + header_size;
  for (const Entry& entry : reader.entries)
    if (entry.offsets.size() != 2) throw Error(path, cat("tensor '", entry.name, "' needs two data_offsets"));
  std::sort(reader.entries.begin(), reader.entries.end(),
            [](const Entry& a, const Entry& b) { return a.offsets < b.offsets; });
  // All offsets are checked against the file before any tensor is allocated.
  uint64_t position = 0;
  for (const Entry& entry : reader.entries) {
    const uint64_t begin = entry.offsets[0], end = entry.offsets[1];
    if (begin != position)
      throw Error(path,
                  cat("the data of tensor '", entry.name, "' begins at ", begin, ", expected ", position,
                      begin < position ? ": it overlaps another" : ": there is a hole before it"));
    const uint64_t bytes = stored_bytes(path, entry, stored_type(path, entry).size);
    if (end < begin || end - begin != bytes)
      throw Error(path, cat("tensor '", entry.name, "' needs ", bytes,
                            " bytes by its shape, its offsets are ", begin, " to ", end));
    position = end;
    if (position > file.size() - data_begin)
      throw Error(path, cat("tensor '", entry.name, "' ends beyond the file"), "is the download complete?");
  }
  if (position != file.size() - data_begin)
    throw Error(path,
                cat("the tensors cover ", position, " of ", file.size() - data_begin, " bytes of data"));

  TensorFile result;
  result.metadata = std::move(reader.metadata);
  for (const Entry& entry : reader.entries)
    result.tensors.emplace(entry.name, read_tensor(file, entry, stored_type(path, entry), data_begin));
  return result;
}

void write_safetensors(const std::string& path, const TensorFile& file) {
  std::vector<const std::pair<const std::string, Array>*> order;
  for (const auto& named : file.tensors) {
    if (named.first == kMetadata) throw Error(path, cat("a tensor cannot be named '", kMetadata, "'"));
    order.push_back(&named);
  }
  std::stable_sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
    return size_of(a->second.dtype()) > size_of(b->second.dtype());
  });
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!file.metadata.empty()) header[std::string(kMetadata)] = file.metadata;
  uint64_t position = 0;
  for (const auto* named : order) {
    const Array& array = named->second;
    const uint64_t end = position + array.bytes().size();
    header[named->first] = {{"dtype", stored_type_of(array.dtype()).name},
                            {"shape", std::vector<int64_t>(array.shape().begin(), array.shape().end())},
                            {"data_offsets", {position, end}}};
    position = end;
  }
  std::string text;
  try {
    text = header.dump();
  } catch (const Json::exception&) {
    throw Error(path, "a tensor name or metadata is no valid UTF-8");
  }
  text.append((8 - text.size() % 8) % 8, ' ');
  if (text.size() > kHeaderLimit) throw Error(path, "the header would be larger than 100 MB");
  write_file_atomically(path, [&](const WriteBytes& write) {
    const uint64_t header_size = text.size();
    write(std::as_bytes(std::span(&header_size, 1)));
    write(std::as_bytes(std::span(text)));
    for (const auto* named : order) write(named->second.bytes());
  });
}

}  // namespace stithy

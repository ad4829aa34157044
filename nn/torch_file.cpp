#include "nn/torch_file.h"

#include <zip.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "engine/core/error.h"
#include "engine/core/file.h"
#include "nn/pickle.h"
#include "nn/stored_type.h"

namespace stithy {
namespace {

using Kind = PickleValue::Kind;

constexpr uint64_t kPickleLimit = 64 << 20;
constexpr int kDepthLimit = 64;
constexpr uint64_t kViewFactor = 8;
constexpr std::string_view kRebuildTensor = "torch._utils._rebuild_tensor_v2",
                           kRebuildOldTensor = "torch._utils._rebuild_tensor",
                           kRebuildParameter = "torch._utils._rebuild_parameter",
                           kRebuildParameterWithState = "torch._utils._rebuild_parameter_with_state";
// The pickle of the magic number with which a legacy file begins.
constexpr std::string_view kLegacyMagic("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.", 15);

// Calls that become values: what makes tensors, and types of which checkpoints keep a few besides.
bool may_call(const std::string& function) {
  for (std::string_view known : {kRebuildTensor,
                                 kRebuildOldTensor,
                                 kRebuildParameter,
                                 kRebuildParameterWithState,
                                 std::string_view("torch.Size"),
                                 std::string_view("torch.device"),
                                 std::string_view("collections.Counter"),
                                 std::string_view("collections.deque"),
                                 std::string_view("_codecs.encode"),
                                 std::string_view("__builtin__.set"),
                                 std::string_view("builtins.set"),
                                 std::string_view("copy_reg._reconstructor"),
                                 std::string_view("copyreg._reconstructor"),
                                 std::string_view("pathlib.PosixPath"),
                                 std::string_view("datetime.datetime"),
                                 std::string_view("datetime.timedelta"),
                                 std::string_view("numpy.core.multiarray.scalar"),
                                 std::string_view("numpy._core.multiarray.scalar"),
                                 std::string_view("numpy.core.multiarray._reconstruct"),
                                 std::string_view("numpy._core.multiarray._reconstruct"),
                                 std::string_view("numpy.dtype")})
    if (function == known) return true;
  return false;
}

struct StorageType {
  std::string_view name;    // of the class
  std::string_view stored;  // of safetensors; empty where we have no such type
  uint64_t size;
};
constexpr StorageType kStorageTypes[] = {
    {"torch.FloatStorage", "F32", 4},     {"torch.DoubleStorage", "F64", 8},
    {"torch.HalfStorage", "F16", 2},      {"torch.BFloat16Storage", "BF16", 2},
    {"torch.ByteStorage", "U8", 1},       {"torch.CharStorage", "I8", 1},
    {"torch.ShortStorage", "I16", 2},     {"torch.IntStorage", "I32", 4},
    {"torch.LongStorage", "I64", 8},      {"torch.BoolStorage", "BOOL", 1},
    {"torch.ComplexFloatStorage", "", 8}, {"torch.ComplexDoubleStorage", "", 16},
    {"torch.QInt8Storage", "", 1},        {"torch.QUInt8Storage", "", 1},
    {"torch.QInt32Storage", "", 4},       {"torch.storage.UntypedStorage", "", 1},
};

struct Storage {
  const StorageType* type;
  std::string key;
  uint64_t numel;   // of the whole storage
  uint64_t offset;  // where a legacy view of it begins, in elements
  uint64_t bytes() const { return numel * type->size; }
};

struct View {
  std::string name;
  Storage storage;
  uint64_t offset;
  Shape shape;
  std::vector<uint64_t> strides;
};

// ("storage", type, key, place, number of elements[, view]), the view being (key, offset, size) or None.
bool is_storage(const PickleValue& value) {
  if (value.kind != Kind::persistent || value.items[0]->kind != Kind::tuple) return false;
  const auto& parts = value.items[0]->items;
  return parts.size() >= 5 && parts[0]->kind == Kind::text && parts[0]->text == "storage" &&
         parts[1]->kind == Kind::global && parts[2]->kind == Kind::text;
}

// Walks the values of a pickle and gathers tensors.
class Gatherer {
 public:
  explicit Gatherer(const std::string& path) : path_(path) {}

  void gather(const PickleValue& value, const std::string& name, int depth = 0) {
    if (depth > kDepthLimit)
      throw Error(path_, cat("is nested deeper than ", kDepthLimit, ", at '", name.substr(0, 100), "...'"));
    spend(name.size());
    const auto dotted = [&](const std::string& part) { return name.empty() ? part : name + "." + part; };
    switch (value.kind) {
      case Kind::dict:
        for (size_t i = 0; i + 1 < value.items.size(); i += 2) {
          const PickleValue& key = *value.items[i];
          if (key.kind == Kind::text) gather(*value.items[i + 1], dotted(key.text), depth + 1);
          if (key.kind == Kind::integer) gather(*value.items[i + 1], dotted(cat(key.integer)), depth + 1);
        }
        break;
      case Kind::list:
      case Kind::tuple:
        for (size_t i = 0; i < value.items.size(); ++i) gather(*value.items[i], dotted(cat(i)), depth + 1);
        break;
      case Kind::call: {
        const PickleValue& arguments = *value.items[0];
        if (value.text == kRebuildTensor || value.text == kRebuildOldTensor) {
          views.push_back(view_of(name, arguments.items));
        } else if (value.text == kRebuildParameter || value.text == kRebuildParameterWithState) {
          if (arguments.items.empty()) refuse(name, "is a parameter without a tensor");
          gather(*arguments.items[0], name, depth + 1);
        }
        break;
      }
      case Kind::text:
        spend(value.text.size());
        metadata.emplace(name, value.text);
        break;
      case Kind::integer: metadata.emplace(name, cat(value.integer)); break;
      case Kind::boolean: metadata.emplace(name, value.integer ? "true" : "false"); break;
      case Kind::number: metadata.emplace(name, cat(value.number)); break;
      default: break;
    }
  }

  Storage storage_of(const std::string& name, const PickleValue& value) const {
    if (!is_storage(value)) refuse(name, "has a storage of an unknown form");
    const auto& parts = value.items[0]->items;
    Storage storage{nullptr, parts[2]->text, count_of(name, *parts[4]), 0};
    for (const StorageType& type : kStorageTypes)
      if (type.name == parts[1]->text) storage.type = &type;
    if (!storage.type) refuse(name, cat("has the type ", parts[1]->text, ", which is not supported"));
    if (parts.size() > 5 && parts[5]->kind == Kind::tuple && parts[5]->items.size() == 3)
      storage.offset = count_of(name, *parts[5]->items[1]);
    uint64_t bytes;
    if (__builtin_mul_overflow(storage.numel, storage.type->size, &bytes))
      refuse(name, "has a storage that is too large");
    return storage;
  }

  std::vector<View> views;
  std::map<std::string, std::string> metadata;

 private:
  [[noreturn]] void refuse(const std::string& name, const std::string& message) const {
    throw Error(path_, cat("tensor '", name, "' ", message));
  }

  uint64_t count_of(const std::string& name, const PickleValue& value) const {
    if (value.kind != Kind::integer || value.integer < 0)
      refuse(name, "has a size, a stride or an offset that is none");
    return static_cast<uint64_t>(value.integer);
  }

  // (storage, offset, shape, strides, ...)
  View view_of(const std::string& name, const std::vector<const PickleValue*>& arguments) const {
    if (arguments.size() < 4 || arguments[2]->kind != Kind::tuple || arguments[3]->kind != Kind::tuple ||
        arguments[2]->items.size() != arguments[3]->items.size())
      refuse(name, "is described in an unknown form");
    View view{name, storage_of(name, *arguments[0]), count_of(name, *arguments[1]), {}, {}};
    if (view.storage.type->stored.empty())
      refuse(name, cat("has the type ", view.storage.type->name, ", which is not supported"));
    if (arguments[2]->items.size() > kMaxRank) refuse(name, cat("has more than ", kMaxRank, " dimensions"));
    bool overflow = __builtin_add_overflow(view.offset, view.storage.offset, &view.offset);
    uint64_t numel = 1, last = view.offset;
    for (size_t i = 0; i < arguments[2]->items.size(); ++i) {
      const uint64_t dim = count_of(name, *arguments[2]->items[i]),
                     stride = count_of(name, *arguments[3]->items[i]);
      view.shape.push_back(static_cast<int64_t>(dim));
      view.strides.push_back(stride);
      uint64_t span = 0;
      overflow |= __builtin_mul_overflow(numel, dim, &numel);
      overflow |= dim > 0 && __builtin_mul_overflow(dim - 1, stride, &span);
      overflow |= __builtin_add_overflow(last, span, &last);
    }
    if (overflow || numel > (uint64_t{1} << 60))
      refuse(name, cat("has the shape ", view.shape, ", which is too large"));
    if (numel > 0 && last >= view.storage.numel)
      refuse(name, cat("reaches element ", last, " of a storage of ", view.storage.numel));
    return view;
  }

  // Values can be shared: without a bound, n of them are walked 2^n times, and a long text is copied often.
  void spend(uint64_t letters) {
    letters_ += letters;
    if (++steps_ > 4'000'000 || letters_ > (uint64_t{1} << 27)) throw Error(path_, "holds too many values");
  }

  const std::string& path_;
  uint64_t steps_ = 0, letters_ = 0;
};

// Every storage of a pickle, by its key.
std::map<std::string, Storage> storages_of(const std::string& path, const Pickle& pickle) {
  std::map<std::string, Storage> storages;
  const Gatherer gatherer(path);
  for (const PickleValue& value : pickle.values) {
    if (!is_storage(value)) continue;
    const Storage storage = gatherer.storage_of("of any name", value);
    const auto [known, is_new] = storages.emplace(storage.key, storage);
    if (!is_new && known->second.bytes() != storage.bytes())
      throw Error(path, cat("storage ", storage.key, " has two sizes"));
  }
  return storages;
}

// The elements of a view, one after another.
std::vector<std::byte> elements_of(const View& view, std::span<const std::byte> storage) {
  const uint64_t size = view.storage.type->size, numel = static_cast<uint64_t>(view.shape.numel());
  std::vector<std::byte> raw(numel * size);
  const std::byte* from = storage.data() + view.offset * size;
  if (numel &&
      is_contiguous(view.shape, Shape(std::vector<int64_t>(view.strides.begin(), view.strides.end())))) {
    std::memcpy(raw.data(), from, raw.size());
    return raw;
  }
  for (uint64_t i = 0; i < numel; ++i) {
    uint64_t rest = i, at = 0;
    for (size_t axis = view.strides.size(); axis-- > 0;) {
      const uint64_t dim = static_cast<uint64_t>(view.shape[static_cast<int>(axis)]);
      at += rest % dim * view.strides[axis];
      rest /= dim;
    }
    std::memcpy(raw.data() + i * size, from + at * size, size);
  }
  return raw;
}

// Tensors and texts of the pickle's root; `read` gives the bytes of a storage, which are as many as it needs.
TensorFile tensors_of(const std::string& path, const Pickle& pickle, uint64_t data_bytes,
                      const std::function<std::string(const Storage&)>& read) {
  Gatherer gatherer(path);
  gatherer.gather(*pickle.root, "");
  if (gatherer.views.empty())
    throw Error(path, "has no tensor",
                "a whole pickled model has none that can be read: save its state_dict()");
  uint64_t total = 0;
  for (const View& view : gatherer.views) {
    const uint64_t bytes = static_cast<uint64_t>(view.shape.numel()) * view.storage.type->size;
    if (bytes > (1 << 20) + kViewFactor * data_bytes - total)
      throw Error(path, cat("tensor '", view.name, "' of shape ", view.shape, " brings the tensors above ",
                            kViewFactor, " times the file's data"));
    total += bytes;
  }
  // Each storage is read once, however many tensors see it.
  std::stable_sort(gatherer.views.begin(), gatherer.views.end(),
                   [](const View& a, const View& b) { return a.storage.key < b.storage.key; });
  TensorFile file{{}, std::move(gatherer.metadata)};
  std::string storage;
  const View* before = nullptr;
  for (const View& view : gatherer.views) {
    if (!before || before->storage.key != view.storage.key || before->storage.bytes() != view.storage.bytes())
      storage = read(view.storage);
    before = &view;
    if (!file.tensors
             .emplace(view.name, array_of(path, view.name, *find_stored_type(view.storage.type->stored),
                                          view.shape, elements_of(view, std::as_bytes(std::span(storage)))))
             .second)
      throw Error(path, cat("has two tensors named '", view.name, "'"));
  }
  return file;
}

// ---- zip

class Archive {
 public:
  Archive(const std::string& path, uint64_t file_size) : path_(path), file_size_(file_size) {
    int code = 0;
    zip_ = zip_open(path.c_str(), ZIP_RDONLY, &code);
    if (zip_) return;
    zip_error_t error;
    zip_error_init_with_code(&error, code);
    const std::string reason = zip_error_strerror(&error);
    zip_error_fini(&error);
    throw Error(path, cat("is a broken zip archive: ", reason), "is the download complete?");
  }
  ~Archive() { zip_discard(zip_); }
  Archive(const Archive&) = delete;
  Archive& operator=(const Archive&) = delete;

  // The folder, with its slash, that holds an entry of this name; throws where there is none.
  std::string folder_of(const std::string& name) const {
    const zip_int64_t entries = zip_get_num_entries(zip_, 0);
    for (zip_int64_t i = 0; i < entries; ++i) {
      const char* entry = zip_get_name(zip_, static_cast<zip_uint64_t>(i), ZIP_FL_ENC_RAW);
      const std::string_view text = entry ? entry : "";
      if (text == name || (text.ends_with("/" + name) && text.find('/') == text.size() - name.size() - 1))
        return std::string(text.substr(0, text.size() - name.size()));
    }
    throw Error(path_, cat("is a zip archive without ", name), "was it written by torch.save?");
  }
  bool has(const std::string& name) const { return zip_name_locate(zip_, name.c_str(), ZIP_FL_ENC_RAW) >= 0; }

  struct Size {
    uint64_t packed, unpacked;
  };
  // Throws Error where the packed bytes cannot hold the unpacked ones, or the file the packed ones.
  Size size_of(const std::string& name) const {
    zip_stat_t about;
    zip_stat_init(&about);
    if (zip_stat(zip_, name.c_str(), ZIP_FL_ENC_RAW, &about) != 0) fail(name, zip_strerror(zip_));
    const zip_uint64_t needed =
        ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_COMP_METHOD | ZIP_STAT_ENCRYPTION_METHOD;
    if ((about.valid & needed) != needed || about.encryption_method != ZIP_EM_NONE ||
        (about.comp_method != ZIP_CM_STORE && about.comp_method != ZIP_CM_DEFLATE))
      fail(name, "is packed by a method other than none or deflate");
    // Deflate packs at most 1032 bytes into one.
    const uint64_t factor = about.comp_method == ZIP_CM_STORE ? 1 : 1032;
    if (about.comp_size > file_size_ || about.size / factor > about.comp_size)
      fail(name, "claims more than the file has");
    return {about.comp_size, about.size};
  }

  // The whole entry, its checksum verified. Throws Error where it has more than `limit` bytes.
  std::string read(const std::string& name, uint64_t limit) const {
    const uint64_t size = size_of(name).unpacked;
    if (size > limit) fail(name, cat("has ", size, " bytes, more than ", limit));
    const std::unique_ptr<zip_file_t, int (*)(zip_file_t*)> file(
        zip_fopen(zip_, name.c_str(), ZIP_FL_ENC_RAW), zip_fclose);
    if (!file) fail(name, zip_strerror(zip_));
    std::string bytes(size, '\0');
    // The read at the end is what compares the checksum.
    for (uint64_t at = 0;;) {
      char beyond;
      const bool at_end = at == bytes.size();
      const zip_int64_t got =
          zip_fread(file.get(), at_end ? &beyond : bytes.data() + at, at_end ? 1 : bytes.size() - at);
      if (got < 0) fail(name, zip_file_strerror(file.get()));
      if (got == 0 && at_end) return bytes;
      if (got == 0 || at_end) fail(name, "has another size than it claims");
      at += static_cast<uint64_t>(got);
    }
  }

 private:
  [[noreturn]] void fail(const std::string& name, const std::string& reason) const {
    throw Error(path_, cat("entry ", name, ": ", reason));
  }

  const std::string& path_;
  uint64_t file_size_;
  zip_t* zip_;
};

TensorFile read_archive(const std::string& path, uint64_t file_size) {
  const Archive archive(path, file_size);
  const std::string folder = archive.folder_of("data.pkl");
  if (archive.has(folder + "constants.pkl"))
    throw Error(path, "is a TorchScript program", "save its state_dict() with torch.save");
  if (archive.has(folder + "byteorder") && archive.read(folder + "byteorder", 100) != "little")
    throw Error(path, "holds big-endian data, which is not supported");
  const std::string bytes = archive.read(folder + "data.pkl", kPickleLimit);
  const Pickle pickle = read_pickle(bytes, path, may_call);
  const auto entry_of = [&](const Storage& storage) { return folder + "data/" + storage.key; };
  uint64_t packed = 0, unpacked = 0;
  for (const auto& [key, storage] : storages_of(path, pickle)) {
    const Archive::Size size = archive.size_of(entry_of(storage));
    if (size.unpacked != storage.bytes())
      throw Error(path, cat("storage ", key, " has ", size.unpacked, " bytes, expected ", storage.bytes()));
    packed += size.packed, unpacked += size.unpacked;
  }
  // Entries may overlap: a thousand that are the whole file each.
  if (packed > file_size) throw Error(path, "has entries that take more than the file has");
  return tensors_of(path, pickle, unpacked,
                    [&](const Storage& storage) { return archive.read(entry_of(storage), storage.bytes()); });
}

// ---- the legacy format: pickles of the magic number, the version, the writer's machine, the object and the
// keys of its storages, then each storage's number of elements and data.

TensorFile read_legacy(const std::string& path, const InputFile& file) {
  std::string head(std::min(file.size(), kPickleLimit), '\0');
  file.read(0, std::as_writable_bytes(std::span(head)));
  size_t at = kLegacyMagic.size();
  const auto next = [&] {
    Pickle pickle = read_pickle(std::string_view(head).substr(at), path, may_call);
    at += pickle.size;
    return pickle;
  };
  const Pickle version = next(), machine = next(), object = next(), keys = next();
  if (version.root->kind != Kind::integer || version.root->integer != 1001)
    throw Error(path, "is of an unknown version of PyTorch's legacy format");
  for (size_t i = 0; i + 1 < machine.root->items.size(); i += 2)
    if (machine.root->items[i]->text == "little_endian" && machine.root->items[i + 1]->integer != 1)
      throw Error(path, "holds big-endian data, which is not supported");
  const std::map<std::string, Storage> storages = storages_of(path, object);
  std::map<std::string, uint64_t> begins;
  uint64_t position = at;
  for (const PickleValue* key : keys.root->items) {
    const auto found = storages.find(key->text);
    if (key->kind != Kind::text || found == storages.end())
      throw Error(path, "lists a storage that no tensor has");
    uint64_t numel = 0;
    file.read(position, std::as_writable_bytes(std::span(&numel, 1)));
    if (numel != found->second.numel)
      throw Error(path,
                  cat("storage ", key->text, " has ", numel, " elements, expected ", found->second.numel));
    position += 8;
    if (found->second.bytes() > file.size() - position)
      throw Error(path, cat("storage ", key->text, " ends beyond the file"), "is the download complete?");
    if (!begins.emplace(key->text, position).second)
      throw Error(path, cat("has the storage ", key->text, " twice"));
    position += found->second.bytes();
  }
  return tensors_of(path, object, file.size(), [&](const Storage& storage) {
    const auto begin = begins.find(storage.key);
    if (begin == begins.end()) throw Error(path, cat("has no data of storage ", storage.key));
    std::string raw(storage.bytes(), '\0');
    file.read(begin->second, std::as_writable_bytes(std::span(raw)));
    return raw;
  });
}

std::string beginning(const InputFile& file, size_t count) {
  std::string bytes(std::min<uint64_t>(file.size(), count), '\0');
  file.read(0, std::as_writable_bytes(std::span(bytes)));
  return bytes;
}

bool is_torch(std::string_view bytes) {
  return bytes.starts_with("PK\x03\x04") || bytes.starts_with(kLegacyMagic) ||
         bytes.substr(std::min<size_t>(bytes.size(), 257)).starts_with("ustar");
}

}  // namespace

TensorFile read_torch(const std::string& path) {
  const InputFile file(path);
  const std::string bytes = beginning(file, 512);
  if (!is_torch(bytes)) throw Error(path, "does not begin as a file of torch.save does");
  if (bytes.starts_with("PK")) return read_archive(path, file.size());
  if (bytes.starts_with(kLegacyMagic)) return read_legacy(path, file);
  throw Error(path, "is in the tar format that PyTorch wrote before 0.1.10",
              "load it in Python and save it again");
}

TensorFile read_tensor_file(const std::string& path) {
  return is_torch(beginning(InputFile(path), 512)) ? read_torch(path) : read_safetensors(path);
}

}  // namespace stithy

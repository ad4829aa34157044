#include "nn/stored_type.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "engine/core/error.h"

namespace stithy {
namespace {

using Kind = StoredType::Kind;
constexpr StoredType kStoredTypes[] = {
    {"F32", 4, DType::f32, Kind::same},
    {"F16", 2, DType::f16, Kind::same},
    {"BF16", 2, DType::bf16, Kind::same},
    {"I32", 4, DType::i32, Kind::same},
    {"U8", 1, DType::u8, Kind::same},
    {"BOOL", 1, DType::boolean, Kind::same},
    {"F64", 8, DType::f32, Kind::floating},
    {"I8", 1, DType::i32, Kind::signed_integer},
    {"I16", 2, DType::i32, Kind::signed_integer},
    {"I64", 8, DType::i32, Kind::signed_integer},
    {"U16", 2, DType::i32, Kind::unsigned_integer},
    {"U32", 4, DType::i32, Kind::unsigned_integer},
    {"U64", 8, DType::i32, Kind::unsigned_integer},
};

}  // namespace

const StoredType* find_stored_type(std::string_view name) {
  const auto found = std::find_if(std::begin(kStoredTypes), std::end(kStoredTypes),
                                  [&](const StoredType& type) { return type.name == name; });
  return found == std::end(kStoredTypes) ? nullptr : found;
}

const StoredType& stored_type_of(DType dtype) {
  return *std::find_if(std::begin(kStoredTypes), std::end(kStoredTypes),
                       [&](const StoredType& type) { return type.dtype == dtype; });
}

Array array_of(const std::string& where, const std::string& tensor, const StoredType& type,
               const Shape& shape, std::span<const std::byte> raw) {
  Array result(shape, type.dtype);
  if (type.kind == Kind::same) {
    if (!raw.empty()) std::memcpy(result.bytes().data(), raw.data(), raw.size());
    if (type.dtype == DType::boolean)
      for (std::byte value : result.bytes())
        if (value > std::byte{1})
          throw Error(where, cat("tensor '", tensor, "' holds a boolean that is neither 0 nor 1"));
    return result;
  }
  for (size_t i = 0; i < raw.size() / type.size; ++i) {
    const std::byte* source = raw.data() + i * type.size;
    if (type.kind == Kind::floating) {
      double value;
      std::memcpy(&value, source, sizeof value);
      result.values<float>()[i] = static_cast<float>(value);
      continue;
    }
    uint64_t bits = 0;
    std::memcpy(&bits, source, type.size);
    const int unused = static_cast<int>(64 - 8 * type.size);
    const int64_t value = type.kind == Kind::signed_integer ? static_cast<int64_t>(bits << unused) >> unused
                                                            : static_cast<int64_t>(bits);
    if (value < std::numeric_limits<int32_t>::min() || value > std::numeric_limits<int32_t>::max() ||
        (type.kind == Kind::unsigned_integer && value < 0))
      throw Error(where,
                  cat("element ", i, " of tensor '", tensor, "' (", type.name, ") does not fit in 32 bits"));
    result.values<int32_t>()[i] = static_cast<int32_t>(value);
  }
  return result;
}

}  // namespace stithy

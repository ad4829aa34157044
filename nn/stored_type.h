// How files store the elements of tensors, and what they become here.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "engine/core/array.h"

namespace stithy {

struct StoredType {
  std::string_view name;  // of safetensors
  uint64_t size;          // bytes of an element
  DType dtype;            // what it becomes
  enum class Kind { same, floating, signed_integer, unsigned_integer } kind;
};

// Null for a type that is not known.
const StoredType* find_stored_type(std::string_view name);
// The type that stores `dtype` as it is.
const StoredType& stored_type_of(DType dtype);

// An array of the elements in `raw`, little-endian, as many as `shape` has. F32, F16, BF16, I32, U8 and BOOL
// keep their type; F64 is rounded to f32; the other integers become i32. Throws Error, naming the file
// `where` and the tensor, for a value that does not fit in i32 and a boolean that is neither 0 nor 1.
Array array_of(const std::string& where, const std::string& tensor, const StoredType& type,
               const Shape& shape, std::span<const std::byte> raw);

}  // namespace stithy

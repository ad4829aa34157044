// safetensors, the format of Hugging Face for named tensors: https://huggingface.co/docs/safetensors
// 8 bytes little-endian header size, a JSON header, then the data of all tensors without holes.
#pragma once

#include <map>
#include <string>

#include "engine/core/array.h"

namespace stithy {

struct TensorFile {
  std::map<std::string, Array> tensors;
  std::map<std::string, std::string> metadata;
};

// Reads every tensor. F32, F16, BF16, I32, U8 and BOOL keep their type; F64 is rounded to f32; I8, I16,
// U16, U32, I64 and U64 become i32. Throws Error, naming the file and the tensor, for a value that does
// not fit in i32, another type, more than 6 dimensions, a duplicate key, a header above 100 MB, and
// offsets that overlap, leave a hole or do not cover the data exactly.
TensorFile read_safetensors(const std::string& path);

// Writes atomically; equal content gives equal bytes. Tensors are ordered by falling element size, then
// name, so that each starts at a multiple of its element size.
void write_safetensors(const std::string& path, const TensorFile& file);

}  // namespace stithy

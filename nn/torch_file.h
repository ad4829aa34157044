// Files of PyTorch's torch.save, read without Python and without running anything that is in them.
#pragma once

#include <string>

#include "nn/safetensors.h"

namespace stithy {

// Reads the tensors of a .pt or .pth file: a zip archive (PyTorch 1.6 and later) or the legacy format (0.1.10
// and later). Nested dicts, lists and tuples become names with dots, "state_dict.conv1.weight" or
// "optimizer.state.0.exp_avg"; texts and numbers become metadata under such names. Views are written out.
// Types are converted as read_safetensors does; other objects (classes, devices, None) are left out.
//
// The pickle in the file is read as data. A call of anything but what rebuilds tensors and a few harmless
// types is refused by name, as is a TorchScript program. Throws Error, naming the file and the tensor, for
// damage, a checksum that is wrong, big-endian data, a type that is not supported (complex, quantized,
// float8), more than 6 dimensions, views beyond their storage, views that together take more than eight times
// the file's data, a pickle above 64 MiB, dicts nested deeper than 64 and a file without a tensor.
TensorFile read_torch(const std::string& path);

// Reads a safetensors file or one of PyTorch, told apart by their bytes.
TensorFile read_tensor_file(const std::string& path);

}  // namespace stithy

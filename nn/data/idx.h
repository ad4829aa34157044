// IDX, the format of MNIST: http://yann.lecun.com/exdb/mnist (two zero bytes, a type, the rank, the
// dimensions and the values, all big-endian).
#pragma once

#include <string>

#include "nn/data/dataset.h"

namespace stithy {

// Reads a plain or gzip-compressed file. u8 (type 0x08), i32 (0x0c) and f32 (0x0d). Throws Error for other
// types, more than 6 dimensions, and a size that does not match the dimensions.
Array read_idx(const std::string& path);

struct TrainTest {
  ImageClasses train, test;
};

// MNIST and its look-alikes (Fashion-MNIST, KMNIST): the four files of a folder, by their usual names
// (train-images-idx3-ubyte or train-images.idx3-ubyte, with or without .gz). Throws Error when one is
// missing, numbers of images and labels differ, or a label is not below `classes`.
TrainTest load_mnist(const std::string& folder, int classes = 10);

}  // namespace stithy

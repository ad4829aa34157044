// CIFAR-10 and CIFAR-100 in their binary version: https://www.cs.toronto.edu/~kriz/cifar.html
#pragma once

#include <string>

#include "nn/data/dataset.h"
#include "nn/data/idx.h"

namespace stithy {

// Reads a plain or gzip-compressed file: for each image a byte for the label (CIFAR-100: one for the coarse
// label, passed over, and one for the fine one) and 3072 for the red, the green and the blue plane. Images
// are u8 [n, 3, 32, 32], labels i32 [n]. Throws Error when the size is no multiple of a record, the file has
// no image, or a label is not below 10 or 100.
ImageClasses read_cifar10(const std::string& path);
ImageClasses read_cifar100(const std::string& path);

// The files of a folder that end in .bin: those that begin with "data_batch" or "train" are for training, in
// the order of their names, and those that begin with "test" or "val" are the test. Throws Error when there
// are none for either.
TrainTest load_cifar10(const std::string& folder);
TrainTest load_cifar100(const std::string& folder);

}  // namespace stithy

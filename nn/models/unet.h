// U-Net (Ronneberger et al. 2015) with padded convolutions and batch norm, so that the output has the input's
// size.
#pragma once

#include "nn/conv.h"
#include "nn/layers.h"

namespace stithy::nn {

// How a decoder's level becomes twice as large; both halve the channels.
enum class UpConvolution : uint8_t {
  transposed,  // a transposed convolution 2x2 of stride 2, as in the paper
  bilinear,    // bilinear interpolation, then a convolution 3x3: no checkerboard (Odena et al. 2016)
};
struct UNetOptions {
  int64_t channels = 1, classes = 2;
  int64_t width = 64;  // channels of the first level; each level below has twice as many
  int64_t depth = 4;   // levels below the first
  UpConvolution up = UpConvolution::transposed;
};

// x [n, channels, height, width], height and width multiples of 2^depth -> logits [n, classes, height,
// width]; CrossEntropy takes permute(logits, {0, 2, 3, 1}) and classes [n, height, width]. 31,036,546
// parameters. Convolutions start as He et al. 2015 with the inputs' fan, as the paper wants. Names:
// "encoder.0" (the first level) to "bottleneck", then "upconv.0" and "decoder.0" (the lowest) on, and "head".
class UNet : public Module {
 public:
  explicit UNet(const UNetOptions& options = {});
  Tensor forward(const Tensor& x) override { return head(features(x)); }
  std::string describe() const override { return "UNet"; }
  // What `head` classifies, pixel by pixel: [n, width, height, width of x].
  Tensor features(const Tensor& x);

  Child<Sequential> encoder, bottleneck, upconv, decoder;
  Child<Conv2d> head;
};

}  // namespace stithy::nn

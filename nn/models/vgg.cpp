#include "nn/models/vgg.h"

#include <algorithm>
#include <array>

#include "engine/core/error.h"
#include "nn/models/blocks.h"
#include "nn/pool.h"

namespace stithy::nn {

namespace {
// Convolutions before each of the five poolings: table 1, columns A, B, D and E.
std::array<int64_t, 5> convs_of(int depth) {
  switch (depth) {
    case 11: return {1, 1, 2, 2, 2};
    case 13: return {2, 2, 2, 2, 2};
    case 16: return {2, 2, 3, 3, 3};
    case 19: return {2, 2, 4, 4, 4};
    default: throw Error("VGG", cat("there is none of depth ", depth), "one of 11, 13, 16 and 19");
  }
}
}  // namespace

Vgg::Vgg(int depth, const VggOptions& options) : depth_(depth), pooled_(options.pooled) {
  const std::array<int64_t, 5> convs = convs_of(depth);
  check_sizes("VGG", {options.channels, options.classes, options.width, options.pooled, options.hidden});
  int64_t in = options.channels;
  Sequential stages;
  for (size_t stage = 0; stage < convs.size(); ++stage) {
    const int64_t out = options.width << std::min<size_t>(stage, 3);
    for (int64_t i = 0; i < convs[stage]; ++i) {
      stages.add(Conv2d(in, out, {3}, {.padding = {1}}));
      if (options.batch_norm) stages.add(BatchNorm2d(out));
      stages.add(Relu());
      in = out;
    }
    stages.add(MaxPool2d(2));
  }
  layers = child("features", std::move(stages));
  const int64_t hidden = options.hidden;
  classifier = child("classifier", Sequential{Linear(in * pooled_ * pooled_, hidden), Relu(),
                                              Dropout(options.dropout), Linear(hidden, hidden), Relu(),
                                              Dropout(options.dropout), Linear(hidden, options.classes)});
  init_convs_kaiming(*this, init::Fan::out);
  init_linears_normal(*this, 0.01);
}

Tensor Vgg::features(const Tensor& x) { return flatten(adaptive_avgpool(layers(x), {pooled_}), 1); }

std::string Vgg::describe() const { return cat("VGG(", depth_, ")"); }

}  // namespace stithy::nn

// Models that are planned and never run.
#pragma once

namespace stithy::nn::init {

// While one lives, the initial values of this thread's modules are zeros and are not drawn.
class Blank {
 public:
  Blank();
  ~Blank();
  Blank(const Blank&) = delete;
};

}  // namespace stithy::nn::init

// A profile that no device measured: every figure in it is known.
#pragma once

#include "engine/profile.h"

namespace stithy::testing {

struct MadeUp {
  bool timestamps = true;
  bool peaks = true;
  bool counters = false;  // two: "waves", which adds, and "busy [%]", which does not
  std::string name;       // stands for, or in, every name that a driver or a program gives; empty: plain ones
};

// A training step of six calls of four kernels in two layers, run 3 times whole and then in two rounds of an
// undisturbed step, two parts and one of kernels alone. In the first three runs calls 1 and 2 overlap. A
// kernel is of a shader that there is, without FLOPs; another was made while the program was planned.
Profile made_up_profile(const MadeUp& made_up = {});

}  // namespace stithy::testing

// A profile as a Perfetto trace, for ui.perfetto.dev and trace_processor.
#pragma once

#include <string>

#include "tools/stithy/profile_analysis.h"

namespace stithy::profiling {

// A serialized perfetto.protos.Trace: how the host made the programs, and of the analysed one every measured
// run, on the host and on the device with its kernels, the bytes alive at each kernel, and the loss. What was
// not measured is not there.
std::string to_perfetto(const Analysis& analysis);

}  // namespace stithy::profiling

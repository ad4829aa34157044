// The kernels behind engine/peaks.h: chains of multiply-adds, and a copy.
#include "engine/peaks.h"

#include <algorithm>

#include "engine/graph/op.h"
#include "engine/ops.h"
#include "engine/ops/elements.h"
#include "shaders/peak.h"

namespace stithy {
namespace {

template <class Kernel>
void launch_invocations(Launch& launch, Kernel kernel, uint64_t invocations) {
  kernel.spec.local_size_x = std::min(256u, launch.device().max_workgroup_invocations);
  launch(kernel, launch.grid((invocations + kernel.spec.local_size_x - 1) / kernel.spec.local_size_x));
}

uint32_t offset_of(const Node& n) { return static_cast<uint32_t>(n.in(0).offset()); }

void launch_flops(const Node& n, Launch& launch) {
  const FlopChains& chains = n.attrs<FlopChains>();
  const auto count = static_cast<uint32_t>(n.out().shape.numel());
  launch_invocations(launch,
                     shaders::peak_flops{.x = launch.in(0),
                                         .y = launch.out(),
                                         .push = {.count = count,
                                                  .rounds = chains.rounds,
                                                  .x_offset = offset_of(n),
                                                  .a = chains.a,
                                                  .b = chains.b},
                                         .spec = {.CHAINS = chains.chains}},
                     count);
}

double chain_flops(const Node& n) {
  const FlopChains& chains = n.attrs<FlopChains>();
  return 16.0 * chains.chains * chains.rounds * static_cast<double>(n.out().shape.numel());
}

void launch_copy(const Node& n, Launch& launch) {
  const bool vectors = n.attrs<bool>() && offset_of(n) % 4 == 0;
  const auto count = static_cast<uint32_t>(n.out().shape.numel());
  launch_invocations(launch,
                     shaders::peak_copy{.x = launch.in(0),
                                        .y = launch.out(),
                                        .push = {.count = count, .x_offset = offset_of(n)},
                                        .spec = {.VECTORS = vectors}},
                     vectors ? count / 4 : count);
}

const OpDef& kPeakFlops = define_op({.name = "peak_flops", .launch = launch_flops, .flops = chain_flops});
const OpDef& kPeakCopy = define_op({.name = "peak_copy", .launch = launch_copy});

}  // namespace

Tensor peak_flops(const Tensor& x, const FlopChains& chains) {
  require_dtype("peak_flops", x, {DType::f32});
  if (chains.chains < 1 || chains.chains > 64)
    throw Error("peak_flops", cat(chains.chains, " chains do not fit into registers"), "use 1 to 64");
  return make_node(kPeakFlops, chains, {contiguous(x)}, {{x.shape()}});
}

Tensor peak_copy(const Tensor& x, bool vectors) {
  require_dtype("peak_copy", x, {DType::f32});
  if (vectors && x.numel() % 4 != 0)
    throw Error("peak_copy", cat("cannot copy ", x.shape(), " in vectors of four"));
  return make_node(kPeakCopy, vectors, {contiguous(x)}, {{x.shape()}});
}

}  // namespace stithy

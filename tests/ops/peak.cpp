// Rows of the kernels that measure a device's peaks: they must do the work that they are credited with.
#include "engine/peaks.h"
#include "tests/harness.h"

namespace stithy::testing {
namespace {

Case chain_case(const std::string& name, const Shape& shape, const FlopChains& chains) {
  return {.name = name,
          .arguments = {{.shape = shape}},
          .build = [=](auto xs) { return std::vector{peak_flops(xs[0], chains)}; },
          .reference =
              [=](auto xs) {
                Reference y(shape);
                for (int64_t i = 0; i < y.numel(); ++i)
                  for (uint32_t c = 0; c < chains.chains; ++c) {
                    double v = xs[0][i] + c;
                    for (uint32_t step = 0; step < 8 * chains.rounds; ++step) v = v * chains.a + chains.b;
                    y[i] += v;
                  }
                return std::vector{y};
              },
          .gradient = false};
}

const bool kFlopsRow =
    add_row({.op = "peak_flops",
             .cases = {chain_case("eight chains", {301}, {}),
                       chain_case("longer", {5, 7}, {.chains = 12, .rounds = 3, .a = 0.9f}),
                       chain_case("no round", {300}, {.rounds = 0})}});

Case copy_case(const std::string& name, const Shape& shape, bool vectors) {
  return {.name = name,
          .arguments = {{.shape = shape}},
          .build = [=](auto xs) { return std::vector{peak_copy(xs[0], vectors)}; },
          .reference = [](auto xs) { return std::vector{xs[0]}; },
          .tolerance = 0,
          .gradient = false};
}

const bool kCopyRow =
    add_row({.op = "peak_copy",
             .cases = {copy_case("elements", {7, 113}, false), copy_case("vectors", {7, 116}, true)}});

}  // namespace
}  // namespace stithy::testing

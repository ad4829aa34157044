// The words of the drivers' compilers become one set of words; the numbers themselves are tests/spills.sh's.
#include <doctest/doctest.h>

#include "engine/core/error.h"
#include "engine/graph/device.h"
#include "engine/vk/device.h"

using namespace stithy;
using vk::KernelStatistics;

TEST_SUITE_BEGIN("statistics");

TEST_CASE("the words of AMD's, Intel's and NVIDIA's compilers") {
  const KernelStatistics amd = vk::normalised({{"SGPRs", 24},
                                               {"VGPRs", 40},
                                               {"Spilled SGPRs", 1},
                                               {"Spilled VGPRs", 2},
                                               {"Code size", 1024},
                                               {"LDS size", 512},
                                               {"Scratch size", 64}});
  CHECK(amd.registers == 40);
  CHECK(amd.spills == 3);
  CHECK(amd.shared_bytes == 512);
  CHECK(amd.scratch_bytes == 64);
  CHECK(amd.code_bytes == 1024);
  CHECK(amd.own.size() == 7);

  const KernelStatistics intel = vk::normalised({{"Instruction Count", 100},
                                                 {"Spill Count", 5},
                                                 {"Fill Count", 6},
                                                 {"Scratch Memory Size", 2048},
                                                 {"Max live registers", 77},
                                                 {"Workgroup Memory Size", 128}});
  CHECK(intel.spills == 5);
  CHECK(intel.registers == 77);
  CHECK(intel.scratch_bytes == 2048);
  CHECK(intel.shared_bytes == 128);
  CHECK_FALSE(intel.code_bytes.has_value());

  const KernelStatistics nvidia = vk::normalised({{"Code Size", 640},
                                                  {"Number of GPRs", 32},
                                                  {"SLM Size", 16},
                                                  {"Spills to memory", 4},
                                                  {"Spills to reg", 1}});
  CHECK(nvidia.registers == 32);
  CHECK(nvidia.spills == 5);
  CHECK(nvidia.scratch_bytes == 16);
}

TEST_CASE("what a driver does not tell is absent, not zero") {
  const KernelStatistics none = vk::normalised({});
  CHECK_FALSE(none.spills.has_value());
  CHECK_FALSE(none.registers.has_value());
  CHECK(vk::normalised({{"Spilled VGPRs", 0}}).spills == 0);
  CHECK_FALSE(vk::normalised({{"VGPRs", -1}}).registers.has_value());
}

TEST_SUITE_END();

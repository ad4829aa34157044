// Driver workarounds, each with vendor, version and source. Everything else asks for features and limits.
#pragma once

#include <charconv>
#include <string_view>

#include "engine/vk/loader.h"

namespace stithy::vk {

// VkPhysicalDeviceSubgroupProperties of some drivers name a size that a compute kernel need not run with:
// Intel's compiler picks 8, 16 or 32 per shader unless a size is required (Vulkan spec,
// VK_EXT_subgroup_size_control, issue 1). Without the extension a device of this vendor has no fixed size.
inline bool subgroup_size_may_vary(uint32_t vendor_id) { return vendor_id == 0x8086; }

// Intel's registers are shared out among the lanes of a subgroup: 32 floats a lane at 32 lanes, the size that
// its driver names, 64 at 16. Spills with Mesa 25.0.7 on tgl and dg2: a product in blocks of 4 x 4, up to 139
// at 32 lanes and none at 16; in blocks of 8 x 8, compiled for 8 lanes, up to 82, also on bmg. A convolution
// in tiles of 8 x 4 an invocation spills 92 from skl to mtl and 64 on lnl, one in registers of 4 x 4 up to 38
// from skl to mtl.
inline bool few_registers(uint32_t vendor_id) { return vendor_id == 0x8086; }
inline constexpr uint32_t kSubgroupOfFewRegisters = 16;

// "Mesa 22.3.6 (LLVM 15.0.6)": 2203; 0 where the text says none. lavapipe's driverVersion is always 0.0.1.
inline uint32_t mesa_release(std::string_view driver_info) {
  constexpr std::string_view kMesa = "Mesa ";
  if (!driver_info.starts_with(kMesa)) return 0;
  const char* end = driver_info.data() + driver_info.size();
  uint32_t major = 0, minor = 0;
  const auto dot = std::from_chars(driver_info.data() + kMesa.size(), end, major).ptr;
  if (dot != end && *dot == '.') std::from_chars(dot + 1, end, minor);
  return major * 100 + minor % 100;
}

// lavapipe (Mesa's CPU driver) before these releases loads a vec4 of a storage buffer lane by lane with a
// branch each, and broadcasts in a loop over the lanes; texel fetches have neither. Matrix product 512 in
// processor time: 22.3: 25 GFLOP/s texels, 12 storage and broadcast; 25.0: 29 texels and broadcast, 12
// storage and broadcast; 26.1: 29 storage and broadcast, 11 texels. Releases between were not measured.
inline constexpr uint32_t kLavapipeFastStorageLoads = 2600, kLavapipeFastBroadcast = 2500;

// These CPU drivers carry out one command after the other, and a dispatch returns when its last workgroup has
// ended (lavapipe: llvmpipe_launch_grid waits for its tasks; SwiftShader: ComputeProgram::run likewise). A
// timestamp that waits for earlier commands, which have ended anyway, costs lavapipe an empty frame, handed
// to its threads and back: as much as a small kernel.
inline bool runs_in_order(VkDriverId driver) {
  return driver == VK_DRIVER_ID_MESA_LLVMPIPE || driver == VK_DRIVER_ID_GOOGLE_SWIFTSHADER;
}

// The loops of an invocation turn at most this often, all of them together, in lavapipe before these
// releases: then they are left without a word, and the results are wrong (LP_MAX_TGSI_LOOP_ITERATIONS in
// gallivm's lp_bld_limits.h; seen with 22.3.6, not with 25.0.7).
inline constexpr uint32_t kLavapipeEndlessLoops = 2500, kLavapipeTurns = 65535;

}  // namespace stithy::vk

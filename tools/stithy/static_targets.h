// Compilers of GPUs that need not be in this machine, and the ways to have them compile.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace stithy::figures {

struct Target {
  const char *name, *vendor, *architecture;
  const char* choice;  // the driver's own word for the GPU
};
// AMD's, Intel's and NVIDIA's, the oldest first.
std::span<const Target> targets();
// "AMD GCN 4". Throws Error, with those that are known, for a target that is not.
std::string architecture_of(const std::string& target);

// "navi31,dg2": {"navi31", "dg2"}.
std::vector<std::string> split_targets(const std::string& list);

struct Runner {
  // Words before the command, {} in them for the target: "ssh {}-box" or "container run {} --". Empty: the
  // ways that Mesa ships, on this machine.
  std::string command;
  std::string stithy;  // what to start there; empty: this program
};

struct Ended {
  int status = 0;
  std::string command, said;  // the end of what it wrote to standard error
};
// Runs `stithy ARGUMENTS...` where the compiler of `target` answers and gives each line of its output to
// `take`.
//   AMD     RADV compiles for any family that RADV_FORCE_FAMILY names, without a GPU.
//   Intel   ANV on Mesa's no-op i915 kernel interface, libintel_noop_drm_shim.so (built with
//           -Dtools=drm-shim,intel), for the platform in INTEL_STUB_GPU_PLATFORM.
//   NVIDIA  NVK on Mesa's no-op nouveau interface, libnouveau_noop_drm_shim.so (Debian: mesa-drm-shim), for
//           the chip in NOUVEAU_CHIPSET.
// Throws Error, with the way out, for a target that is not known and for one that cannot be asked.
Ended ask(const std::string& target, const Runner& runner, const std::vector<std::string>& arguments,
          const std::function<void(const std::string&)>& take);
// The same with another command, and with more variables in its environment. Runner::stithy does not count.
Ended run_there(const std::string& target, const Runner& runner, const std::vector<std::string>& command,
                const std::vector<std::pair<std::string, std::string>>& variables,
                const std::function<void(const std::string&)>& take);
// Throws the Error of a command that ended otherwise than it should.
[[noreturn]] void refuse(const std::string& target, const Ended& ended);

}  // namespace stithy::figures

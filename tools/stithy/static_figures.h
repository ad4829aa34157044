// What compilers make of the kernels: collected from the device at hand, written as JSON lines, read back,
// shown and compared.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/vk/device.h"

namespace stithy::figures {

// Who runs a pipeline: the device without tuning; the device where tuning finds it faster; or other devices
// alone.
enum class Use : uint8_t { standard, tuned, elsewhere };

// A kernel with one set of specialization constants.
struct PipelineFigures {
  std::string spec;  // "ROWS=8 COLS=4"
  Use use = Use::standard;
  std::string error;  // why the driver does not compile it; then nothing else is known
  vk::KernelStatistics statistics;
};

// A kernel by one compiler, with all of its pipelines. Kernels that fusion wrote may share a name: then they
// are one here.
struct KernelFigures {
  std::string target;  // of stithy profile --target; "here" for the device at hand
  std::string device, driver, driver_info;
  std::string kernel, shader;
  bool fused = false;  // put together while a program was planned
  std::vector<PipelineFigures> pipelines;

  // The largest of the pipelines that run without tuning, else of those that may, else of all; the mix is
  // that of the pipeline with most instructions.
  vk::KernelStatistics largest() const;
  size_t failures() const;
  size_t count(Use use) const;
  // Pipelines of this use that spill.
  size_t spilling(Use use) const;
};

// As tables show them: "-" for what the driver does not tell, "12/16" of subgroups.
std::string text_of(const std::optional<uint64_t>& figure);
std::string text_of(const std::optional<vk::Occupancy>& occupancy);

struct Collect {
  std::string pattern = "*";  // of the kernels' names, as in nn::name_matches
  bool texts = false;         // also the compiler's texts
  bool variants = false;      // also every candidate of tuning, and kernels that other devices run
};
// Compiles every kernel with every set of specialization constants that the default device would run it with:
// in the ops' test rows, forward and backward, in the benchmark's larger shapes and in its training steps.
// Calls `take` for each kernel, sorted by name. Throws Error where the driver tells nothing.
void collect(const Collect& options, const std::string& target,
             const std::function<void(KernelFigures)>& take);

// One line, without its end. `texts` puts the compiler's texts in.
std::string to_json(const KernelFigures& kernel, bool texts);
// Throws Error, named `where`, where the line is not one of to_json's.
KernelFigures parse_kernel(const std::string& line, const std::string& where);
// All kernels of a file of such lines.
std::vector<KernelFigures> read_figures(const std::string& path);

// A figure that changed: "spills", "3", "15".
struct Change {
  std::string figure;
  uint64_t before = 0, now = 0;
  bool worse = false;
  std::string spec;
};
// The changes between two compilations of a kernel, by pipelines of equal constants: any more spills,
// scratch, instructions or cycles are worse, and more registers where fewer subgroups fit for them or where
// the driver does not tell those.
std::vector<Change> changes_between(const KernelFigures& before, const KernelFigures& now);

// The table that is kept in the repository: a head with totals over all kernels, and a line for each kernel
// of the library. `kernels` are all of one target.
std::string kept_table(const std::string& architecture, const std::vector<KernelFigures>& kernels);

// Written below `folder`: TARGET/KERNEL.PIPELINE.NAME.txt, a file a text.
void write_texts(const std::string& folder, const KernelFigures& kernel);

}  // namespace stithy::figures

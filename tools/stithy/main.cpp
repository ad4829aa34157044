// The `stithy` command.
#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include "tools/stithy/commands.h"

namespace {

struct Command {
  const char *name, *arguments, *doc;
  int (*run)(std::span<const std::string>);
};

constexpr Command kCommands[] = {
    {"doctor", "[--device D] [--brief]", "list the Vulkan devices and test every kernel on the chosen one",
     stithy::doctor},
    {"bench", "[NAME ...] [--help] ...", "time ops and training steps, beside the device's peaks and a BLAS",
     stithy::bench},
    {"conformance", "[--device D] [--out DIR] ...",
     "check every op, gradient and kernel and short training runs on a device, and write a certificate",
     stithy::conformance},
    {"ops", "[--markdown]", "list the ops: dtypes, gradient, kernels, tests", stithy::ops},
    {"profile", "[OPTIONS] -- PROGRAM ...",
     "tell where the steps of a program spend their time, or with --static what compilers make of kernels",
     stithy::profile},
    {"tune", "[WORKLOAD ...] [--show]",
     "measure the ways in which ops can run on this device, and keep the fastest", stithy::tune},
};

void print_usage(std::FILE* out) {
  std::fprintf(out, "usage: stithy COMMAND [OPTIONS]\n\n");
  for (const Command& command : kCommands)
    std::fprintf(out, "  %-11s %-28s %s\n", command.name, command.arguments, command.doc);
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  if (arguments.empty() || arguments[0] == "--help" || arguments[0] == "-h" || arguments[0] == "help") {
    print_usage(arguments.empty() ? stderr : stdout);
    return arguments.empty() ? 2 : 0;
  }
  try {
    for (const Command& command : kCommands)
      if (arguments[0] == command.name) return command.run(std::span(arguments).subspan(1));
    std::fprintf(stderr, "stithy: there is no command \"%s\"\n", arguments[0].c_str());
    print_usage(stderr);
    return 2;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}

#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <cstdio>
#include <cstdlib>

#include "engine/vk/device.h"

int main(int argc, char** argv) {
  // Runs do not depend on what earlier ones left; tests of caches have folders of their own.
  setenv("STITHY_CACHE", "off", 1);
  doctest::Context context(argc, argv);
  const int result = context.run();
  if (const auto count = stithy::vk::validation_messages(); count > 0) {
    std::fprintf(stderr, "tests: %llu validation messages (each printed above)\n",
                 static_cast<unsigned long long>(count));
    return 1;
  }
  return result;
}

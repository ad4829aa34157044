#!/bin/bash
# Builds with the address and undefined-behaviour sanitizers in build-asan and runs the tests there.
# usage: tests/sanitize.sh [arguments for the tests]
set -eu
cd "${STITHY_SOURCE:-$(dirname "$0")/..}"
build=${STITHY_ASAN_BUILD:-build-asan}
if ! echo 'int main() {}' | c++ -fsanitize=address,undefined -x c++ - -o /dev/null 2>/dev/null; then
  echo "SKIP: the compiler has no sanitizer libraries (libasan, libubsan)"
  exit 77
fi
generator=$(command -v ninja >/dev/null && echo -G Ninja || true)
[ -f "$build/CMakeCache.txt" ] || cmake -B "$build" $generator -DCMAKE_BUILD_TYPE=RelWithDebInfo \
  -DCMAKE_CXX_FLAGS_RELWITHDEBINFO="-O1 -g1 -DNDEBUG" -DSTITHY_SANITIZE=ON
cmake --build "$build" --target stithy_tests -j "${STITHY_JOBS:-2}"
# Drivers are not ours: what they leak is named in lsan.supp. Everything else counts, and ends the run.
export ASAN_OPTIONS=detect_leaks=1:${ASAN_OPTIONS:-}
export LSAN_OPTIONS=suppressions=$PWD/tests/lsan.supp:print_suppressions=0:${LSAN_OPTIONS:-}
export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1:${UBSAN_OPTIONS:-}
# Once over each row's kernels is enough for the host's code, which is what the sanitizers see.
export STITHY_QUICK_ROWS=1
# The models are layers, whose suites run here, and kernels, which compile for minutes.
exec "$build/bin/stithy_tests" --test-suite-exclude=models,text_models "$@"

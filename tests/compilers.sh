#!/usr/bin/env bash
# Every kernel compiles for AMD GPUs by the compiler of the driver that is installed, and none spills; no GPU is needed.
# With the release of Mesa that the tables in tests/compilers/debian12 are of, the figures are exactly those.
set -u
cd "${STITHY_SOURCE:?}" || exit 1
failures=0
fail() { echo "FAILED: $*"; failures=$((failures + 1)); }
diff <(tools/compilers --markdown) <(grep -A 99 '^| target | architecture' README.md | sed '/^|/!Q') ||
  fail "the README's table of compilers is not that of the tables kept: paste the output of tools/compilers --markdown"
(($(tools/compilers --markdown | wc -l) > 26)) || fail "fewer than 25 tables are kept"
grep -LE '; 0 kernels spill$' tests/compilers/*.txt | sed 's/^/spills: /' | grep . && fail "kernels spill by the tables kept"

compgen -G '/usr/share/vulkan/icd.d/radeon_icd*.json' >/dev/null ||
  { echo "SKIP: RADV is missing (package mesa-vulkan-drivers)"; ((failures)) && exit 1; exit 77; }
scratch=$(mktemp -d "${TMPDIR:-/tmp}/stithy-compilers-XXXXXX")
trap 'rm -rf "$scratch"' EXIT
tools/compilers --keep "$scratch" navi21 polaris10 || fail "tools/compilers: exit code $?"
for target in navi21 polaris10; do
  kept=tests/compilers/debian12/$target.txt
  [[ -s $scratch/$target.txt ]] || { fail "no table of $target"; continue; }
  if [[ $(head -n 1 "$kept") != "$(head -n 1 "$scratch/$target.txt")" ]]; then
    echo "SKIP: $(head -n 1 "$scratch/$target.txt"): the table kept is of another release"
  elif ! diff "$kept" "$scratch/$target.txt"; then
    fail "$target: the compiler makes something else of the kernels; where that is right, renew the table:" \
      "tools/compilers --keep tests/compilers/debian12 navi21 polaris10 (and tools/compilers for the other targets)"
  fi
done
exit $((failures > 0))

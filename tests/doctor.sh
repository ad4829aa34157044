#!/usr/bin/env bash
# stithy doctor on machines that lack something: it must fail with the reason and the way out, and pass where all is well.
set -u
stithy=$STITHY_BUILD/bin/stithy
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
failures=0
fail() { echo "FAILED: $*"; failures=$((failures + 1)); }

# expect_failure NAME REASON WAY_OUT COMMAND...
expect_failure() {
  local name=$1 reason=$2 way_out=$3; shift 3
  local output code
  output=$("$@" 2>&1); code=$?
  [[ $code != 0 ]] || fail "$name: exit code 0"
  [[ $output == *"$reason"* ]] || fail "$name: no \"$reason\" in: $output"
  [[ $output == *"$way_out"* ]] || fail "$name: no \"$way_out\" in: $output"
}

: > "$scratch/libvulkan.so.1"; : > "$scratch/libvulkan.so"
expect_failure "no loader" "no Vulkan loader" "HINT: install it" env LD_LIBRARY_PATH="$scratch" "$stithy" doctor
expect_failure "no driver" "no Vulkan d" "HINT: install one" env VK_ICD_FILENAMES=/dev/null VK_DRIVER_FILES=/dev/null "$stithy" doctor
expect_failure "no such device" 'no usable device matches "voodoo"' "choose one of 0 = " "$stithy" doctor --device voodoo
expect_failure "no such index" "there is no device 99" "choose one of 0 = " "$stithy" doctor --device 99
expect_failure "wrong flag" "does not know --foo" "HINT: options" "$stithy" doctor --foo

output=$("$stithy" doctor 2>&1) || fail "doctor: exit code $?: $output"
[[ $output == *"ready to train"* ]] || fail "doctor: $output"
[[ $output == *" 0 failed, 0 not launched"* ]] || fail "doctor: a kernel failed or was left out: $output"
[[ $("$stithy" doctor --brief) == "device: "* ]] || fail "doctor --brief"
exit $((failures > 0))

#!/usr/bin/env bash
# stithy profile --static: figures of a compiler whose GPU is not there, kept, read back and compared; mistakes are named.
set -u
stithy=${STITHY_BUILD:?}/bin/stithy
scratch=$(mktemp -d "${TMPDIR:-/tmp}/stithy-static-XXXXXX")
trap 'rm -rf "$scratch"' EXIT
failures=0
fail() { echo "FAILED: $*"; failures=$((failures + 1)); }
expect_error() {  # WORDS ARGUMENT...
  local words=$1 output; shift
  output=$("$stithy" profile --static "$@" 2>&1)
  local status=$?
  ((status == 1)) || fail "$*: exit code $status"
  [[ $output == *"$words"* ]] || fail "$* does not say \"$words\": $output"
}

expect_error 'does not know --nonsense' --nonsense
"$stithy" profile --static --help | grep -q -- '--baseline FILE' || fail "--help does not explain --baseline"
expect_error '--kernels needs a value' --kernels
expect_error '--runner and --stithy need a --target' --runner 'env {}'
expect_error 'exclude each other' --target navi21 --device 0
expect_error '--keep takes all kernels' --keep "$scratch" --target navi21 --kernels relu
expect_error 'does not know "voodoo2"' --target voodoo2
expect_error 'known are polaris10 vega10' --target voodoo2
expect_error 'cannot run no-such-runner' --target navi21 --runner 'no-such-runner {} --'
expect_error 'ended with 1' --target navi21 --runner false
expect_error 'is no JSON object' --target navi21 --runner 'echo hello'
expect_error 'has no text "kernel"' --target navi21 --runner 'printf {"target":"a","device":"b","driver":"c","driver_info":"d"}\n#'
echo '{"target":' >"$scratch/broken"
expect_error 'line 1: is no JSON object' --baseline "$scratch/broken"
: >"$scratch/empty"
expect_error 'holds no figures' --baseline "$scratch/empty"
[[ $("$stithy" profile --static --targets | wc -l) -ge 25 ]] || fail "fewer than 25 targets"

icd=$(ls /usr/share/vulkan/icd.d/radeon_icd*.json 2>/dev/null | head -n 1)
if [[ -z $icd ]]; then
  echo "SKIP: RADV is missing (package mesa-vulkan-drivers): no compiler to ask"
  exit $((failures > 0))
fi
ask() { "$stithy" profile --static --target navi21 --kernels 'softmax*' "$@"; }
output=$(ask --mix --json "$scratch/now.jsonl" --isa "$scratch/isa") || fail "navi21: exit code $?: $output"
# Registers, spills and code are what any release of RADV tells; the names are those of the table's head.
[[ $output =~ softmax_backward" "+navi21" "+[0-9]+" "+0" "+[0-9]+" "+[0-9]+/[0-9]+ ]] || fail "no figures of softmax_backward: $output"
[[ $output =~ softmax" ".*"float "[0-9]+ ]] || fail "no mix of softmax: $output"
[[ $output == *"0 kernels spill, 0 pipelines do not compile"* ]] || fail "no summary: $output"
grep -q 's_endpgm' "$scratch"/isa/navi21/softmax.0.assembly.txt || fail "no assembly of softmax: $(ls -R "$scratch/isa" | head -n 20)"
for word in '"kernel":"softmax"' '"VGPRs":' '"mix":{"float":' '"spec":"local_size_x='; do
  grep -q -- "$word" "$scratch/now.jsonl" || fail "the JSON lines do not say $word"
done
grep -q '"texts"' "$scratch/now.jsonl" && fail "texts are in the JSON lines without --texts"

# A baseline with fewer registers and more occupancy than now in one kernel, with spills in another, and with a kernel
# that is no more.
sed -E '/"kernel":"softmax"/{ s/"registers":[0-9]+,/"registers":1,/g; s/"code_bytes":[0-9]+,/"code_bytes":1,/g; s/"occupancy":[0-9]+,/"occupancy":99,/g }
  /"kernel":"softmax_backward"/s/"spills":0,/"spills":1,/g; s/"kernel":"softmax_backward[+]/"kernel":"softmax_old+/' \
  "$scratch/now.jsonl" >"$scratch/before.jsonl"
output=$(ask --baseline "$scratch/before.jsonl")
status=$?
((status == 3)) || fail "a regression: exit code $status"
[[ $output =~ "worse: navi21 softmax registers 1 -> "[0-9]+": local_size_x=" ]] || fail "a regression is not named: $output"
[[ $output =~ "worse: navi21 softmax occupancy 99 -> " ]] || fail "lower occupancy is not named: $output"
[[ $output == *"worse: "*code_bytes* ]] && fail "more code alone is no regression: $output"
[[ $output == *"better: navi21 softmax_backward spills 1 -> 0: local_size_x="* ]] || fail "an improvement is not said: $output"
[[ $output =~ softmax_backward[+][a-z+]*" ".*" new" && $output == *"gone: navi21 softmax_old+"* ]] || fail "new and gone kernels: $output"
[[ $output =~ softmax[+]sub.*" +0" ]] || fail "what is the same is not said: $output"

# Elsewhere, by a command of the user's, and where there is no compiler.
output=$("$stithy" profile --static --target navi21 --kernels softmax --runner "env RADV_FORCE_FAMILY={} VK_ICD_FILENAMES=$icd VK_DRIVER_FILES=$icd" --stithy "$stithy") ||
  fail "--runner: exit code $?: $output"
[[ $output =~ softmax" "+navi21" "+[0-9]+ ]] || fail "--runner: $output"
expect_error 'its compiler cannot be asked' --target navi21 --runner "env VK_ICD_FILENAMES=$scratch/none VK_DRIVER_FILES=$scratch/none"
exit $((failures > 0))

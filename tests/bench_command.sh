#!/usr/bin/env bash
# stithy bench: what it prints is complete and readable by itself, and mistakes are named. No time is judged.
set -u
stithy=${STITHY_BUILD:?}/bin/stithy
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
failures=0
fail() { echo "FAILED: $*"; failures=$((failures + 1)); }

# expect_failure REASON ARGUMENT...
expect_failure() {
  local reason=$1 output; shift
  output=$("$stithy" bench "$@" 2>&1) && fail "$*: exit code 0"
  [[ $output == *"$reason"* ]] || fail "$*: no \"$reason\" in: $output"
}

cases=(matmul_nt/64x64x64 sum_rows relu embedding/65x128 mlp)
"$stithy" bench --quick --json "${cases[@]}" >"$scratch/now.jsonl" 2>"$scratch/error" ||
  fail "bench: exit code $?: $(<"$scratch/error")"
(($(wc -l <"$scratch/now.jsonl") == 1 + ${#cases[@]})) || fail "not a line a case: $(<"$scratch/now.jsonl")"
for key in device driver peak_gflops peak_gbs blas blas_threads; do
  head -n 1 "$scratch/now.jsonl" | grep -q "\"$key\":" || fail "the first line has no $key"
done
# Every number of a result is one: nothing is infinite, null or missing.
while read -r line; do
  for key in ms best_ms spread samples gflops gbs peak_share; do
    grep -Eq "\"$key\":[0-9.e+-]+[,}]" <<<"$line" || fail "no $key in $line"
  done
  for key in op shape dtype timer bound; do grep -Eq "\"$key\":\"[^\"]+\"" <<<"$line" || fail "no $key in $line"; done
done < <(tail -n +2 "$scratch/now.jsonl")
for key in submissions dispatches barriers submit_us peak_bytes items_per_second back_to_back_ms; do
  tail -n 1 "$scratch/now.jsonl" | grep -Eq "\"$key\":[0-9.e+-]+[,}]" || fail "mlp has no $key"
done
grep -q '"op":"mlp".*"submissions":1.0,' "$scratch/now.jsonl" || fail "a step of mlp is not one submission"

output=$("$stithy" bench --quick --compare "$scratch/now.jsonl" relu softmax/256x10 2>&1) || fail "--compare: $output"
[[ $output =~ relu.*x[0-9.]+ ]] || fail "no speed-up of relu: $output"
[[ $output =~ softmax.*"not in the file" ]] || fail "softmax was not measured before: $output"
[[ $output =~ [0-9]+" faster, "[0-9]+" slower" ]] || fail "no summary: $output"
plan=$("$stithy" bench resnet50 --plan | tail -n 1)
# Parameters and their two moments are 293 MiB; the rest is what backward needs of 8 images.
peak=$(sed -nE 's/^resnet50 +8x3x224x224 +[0-9]+ +[0-9]+ +([0-9]+)(\.[0-9]+)? MiB .*/\1/p' <<<"$plan")
((${peak:-0} > 293 && ${peak:-0} < 1500)) || fail "bench resnet50 --plan: $plan"
list=$("$stithy" bench --list)
[[ $list == *matmul_nn/1024x1024x1024* && $list == *mlp_wide/* ]] || fail "--list: $list"

expect_failure 'no op or workload "matnul"' matnul
expect_failure "does not know --fast" --fast
expect_failure "--compare needs a value" relu --compare
expect_failure "no/such/file" relu --compare no/such/file
echo "ms 3" >"$scratch/broken"
expect_failure "HINT: give --compare" relu --compare "$scratch/broken"
expect_failure "line 1 is no JSON object" relu --compare "$scratch/broken"
expect_failure "no/such/blas.so" relu --blas no/such/blas.so

# The script that sets PyTorch beside it, with a yardstick made up.
if command -v python3 >/dev/null; then
  cat >"$scratch/yardstick.py" <<'PYTHON'
import sys
print("torch 0.0")
print("matmul_64       0.500 ms      1.0 GFLOP/s")
print(f"{sys.argv[1]:<17} 10.000 ms    100 img/s")
PYTHON
  output=$("$STITHY_SOURCE/tools/bench_torch" --yardstick "$scratch/yardstick.py" --stithy "$stithy" --stithy-args=--quick \
    --rounds 2 mlp 2>/dev/null) || fail "bench_torch: $output"
  [[ $output =~ mlp" "+[0-9.]+" "+10\.000" "+[0-9.]+ ]] || fail "bench_torch has no line of mlp: $output"
  [[ $output =~ matmul_64" "+[0-9.]+" "+0\.500 ]] || fail "bench_torch has no line of matmul_64: $output"
  output=$("$STITHY_SOURCE/tools/bench_torch" --yardstick no/such.py --stithy "$stithy" --stithy-args=--quick mlp 2>&1) &&
    fail "bench_torch without a yardstick: $output"
  output=$("$STITHY_SOURCE/tools/bench_torch" --yardstick x.py --stithy "$stithy" nonsense 2>&1) && fail "nonsense: $output"
  [[ $output == *"no workload nonsense"* ]] || fail "bench_torch: $output"
fi
exit $((failures > 0))

#!/bin/bash
# Hardware counters in profiles: on a driver that gets VK_KHR_performance_query from tests/counters_layer.cpp, whose
# values are known and which ends a program that breaks the extension's rules; and on a driver that has none.
set -u
stithy=$STITHY_BUILD/bin/stithy sample=$STITHY_BUILD/bin/digits_mlp
[ -x "$sample" ] || { echo "digits_mlp is not built"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
fail() {
  echo "counters: $1"
  cat "$folder"/*.log
  exit 1
}
profile() {
  local name=$1
  shift
  "$stithy" profile --rounds 3 --seconds 5 --warmup 1 --by call --top 0 --jsonl "$folder/$name.jsonl" \
    --save "$folder/$name.profile" "$@" -- "$sample" --steps 100 --out none > "$folder/$name.log" 2>&1
}
with_layer() {
  VK_LAYER_PATH=$STITHY_BUILD/layers VK_INSTANCE_LAYERS=VK_LAYER_STITHY_counters "$@"
}

with_layer profile counted --counters '*' || fail "profiling with counters failed"
grep -q '^counters 4 of the driver.s 7, of each call by itself, in 2 runs' "$folder/counted.log" || fail "not 4 of 7 counters in 2 runs"
grep -q 'left out: 1 that would slow the kernels down, 1 of render passes, 1 beyond 8 runs' "$folder/counted.log" ||
  fail "it is not said what is left out"
grep -q '%roof  Workgroups  Busy \[%\]  Moved \[bytes\]  Clock \[Hz\]$' "$folder/counted.log" || fail "no columns"
# What the layer counted against the plan: of each call its workgroups, in all four ways that they are stored.
sed -n 's/.*"groups":\[\([0-9,]*\)\].*"counters":\[\([^]]*\)\].*/\1,\2/p' "$folder/counted.jsonl" > "$folder/values"
[ "$(wc -l < "$folder/values")" = "$(grep -c '"call":' "$folder/counted.jsonl")" ] || fail "not every call is counted"
awk -F, '{ groups = $1 * $2 * $3
           if (NF != 7 || $4 != groups || $5 != groups % 64 + 0.5 || $6 != 4 * groups || $7 != 1e9 + groups) exit 1 }
         END { exit NR < 10 }' "$folder/values" || { cat "$folder/values"; fail "wrong values"; }

show() { "$stithy" profile --show "$folder/counted.profile" "$@" > "$folder/show.log" 2>&1; }
show || fail "--show failed"
grep -q '%roof  Workgroups  Busy \[%\]  Moved \[bytes\]$' "$folder/show.log" || fail "not the first three without --counters"
show --counters 'Mo*' || fail "--show --counters failed"
grep -q '%roof  Moved \[bytes\]$' "$folder/show.log" || fail "a pattern does not choose"
show --counters nothing && fail "no error for a pattern that nothing matches"
grep -q 'there are Workgroups, Busy, Moved, Clock' "$folder/show.log" || fail "the error does not list the counters"

# Every run of a program is one step, also where it takes several to count: the results are the same.
train() { "$@" "$sample" --steps 120 --hidden 32 --batch 20 --seed 3 --out "$folder/$run" > "$folder/$run.log" 2>&1; }
run=plain train env || fail "training failed"
run=whole with_layer train "$stithy" profile --rounds 3 --warmup 1 --whole -- || fail "profiling to the end failed"
grep -q '^counters 4 of the driver.s 7, of each call by itself, in 2 runs' "$folder/whole.log" || fail "nothing was counted"
cmp "$folder/plain/checkpoint.safetensors" "$folder/whole/checkpoint.safetensors" || fail "counting changes the run"

STITHY_COUNTERS_LAYER=locked with_layer profile locked || fail "without the profiling lock the profile failed"
grep -q '^missing  hardware counters: the driver refused, another process profiles' "$folder/locked.log" ||
  fail "it is not said that the driver refused"
# A driver may have the extension.
if profile without --counters '*' && ! grep -q '^counters ' "$folder/without.log"; then
  grep -q '^missing  hardware counters: this driver has no VK_KHR_performance_query' "$folder/without.log" ||
    fail "it is not said that there are no counters"
fi
[ -s "$folder/without.jsonl" ] || fail "profiling without counters failed"
echo "counters: passed"

#!/bin/bash
# stithy tune from outside: results survive Ctrl-C and damage, programs use them, and runs repeat bit for bit.
set -u
stithy=$STITHY_BUILD/bin/stithy sample=$STITHY_BUILD/bin/digits_mlp
[ -x "$sample" ] || { echo "digits_mlp is not built"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export STITHY_CACHE=$folder/cache
fail() {
  echo "tune_command: $1"
  cat "$folder"/*.log
  exit 1
}
results() { find "$STITHY_CACHE" -name 'tune-*' ! -name '*.trying'; }

"$stithy" tune 24x20x28 > "$folder/first.log" 2>&1 || fail "tuning failed"
[ "$(grep -c '^tuned  matmul f32' "$folder/first.log")" = 3 ] || fail "a product and its gradient are not three keys"
"$stithy" tune 24x20x28 > "$folder/second.log" 2>&1 || fail "tuning twice failed"
grep -q '^tuned' "$folder/second.log" && fail "what was measured is measured again"
"$stithy" tune --show 24x20x28 > "$folder/show.log" 2>&1 || fail "--show failed"
for words in '\[default\]' '\[plain\]' ' timings)' 'of the bound' 'taken: ' '1 of 3 keys'; do
  grep -q "$words" "$folder/show.log" || fail "--show does not say $words"
done

# A damaged file reads as absent, and the next run replaces it.
truncate -s 100 "$(results)"
"$stithy" tune --show | grep -q '^0 of 0 keys' || fail "a truncated file is not ignored"
"$stithy" tune 24x20x28 > "$folder/third.log" 2>&1 || fail "tuning over a truncated file failed"
"$stithy" tune --show | grep -q '3 of 3 keys' || fail "a truncated file is not replaced"

# Ctrl-C in the middle: the candidates measured before it are kept, and the one being tried is not held guilty.
set -m
"$stithy" tune 512x512x512 > "$folder/stopped.log" 2>&1 &
child=$!
set +m
for _ in $(seq 600); do
  grep -q '^tuned' "$folder/stopped.log" && break
  sleep 0.1
done
kill -INT -- -$child || fail "tuning ended before Ctrl-C"
wait $child
status=$?
[ $status = 130 ] || fail "after Ctrl-C the status is $status"
grep -q 'what was measured is kept' "$folder/stopped.log" || fail "Ctrl-C is not explained"
"$stithy" tune --show 512 > "$folder/stopped_show.log" 2>&1 || fail "--show after Ctrl-C failed"
grep -q 'taken: ' "$folder/stopped_show.log" || fail "what was measured before Ctrl-C is lost"
grep -q 'FAILED\|WRONG' "$folder/stopped_show.log" && fail "Ctrl-C is held against a candidate"

# A program that is tuned: the next runs take what was found, and repeat bit for bit.
options=(--steps 20 --hidden 32 --batch 20 --seed 3)
"$stithy" tune -- "$sample" --fast-dev-run --hidden 32 --batch 20 --out none > "$folder/program.log" 2>&1 ||
  fail "tuning a program failed"
grep -q '^tuned' "$folder/program.log" || fail "a program's choices are not tuned"
for run in a b; do
  "$sample" "${options[@]}" --out "$folder/$run" > "$folder/$run.log" 2>&1 || fail "run $run failed"
done
cmp "$folder/a/checkpoint.safetensors" "$folder/b/checkpoint.safetensors" || fail "two runs differ"
STITHY_TUNE=background "$sample" "${options[@]}" --out "$folder/c" > "$folder/c.log" 2>&1 ||
  fail "tuning in the background failed"
cmp "$folder/a/checkpoint.safetensors" "$folder/c/checkpoint.safetensors" ||
  fail "tuning in the background changes the run"

expect_error() {
  local words=$1
  shift
  "$@" > "$folder/error.log" 2>&1 && fail "no error: $*"
  grep -q "$words" "$folder/error.log" || fail "$* does not say $words"
}
expect_error 'no cache folder' env STITHY_CACHE=off "$stithy" tune 8x8x8
expect_error 'does not know "8x8"' "$stithy" tune 8x8
expect_error 'does not know --foo' "$stithy" tune --foo
expect_error 'cannot run' "$stithy" tune -- "$folder/nothing"
expect_error 'STITHY_TUNE: does not know "often"' env STITHY_TUNE=often "$sample" --steps 1 --out none
echo "tune_command: passed"

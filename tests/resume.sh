#!/bin/bash
# A sample that SIGTERM or Ctrl-C stops in the midst of an epoch and that is resumed ends with the checkpoint
# of a run that was not stopped, byte for byte.
set -u
sample=$STITHY_BUILD/bin/digits_mlp
[ -x "$sample" ] || { echo "digits_mlp is not built"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
fail() {
  echo "resume: $1"
  cat "$folder"/*.log
  exit 1
}
options=(--epochs 2 --hidden 32 --batch 20 --seed 3)

"$sample" "${options[@]}" --out "$folder/whole" > "$folder/whole.log" 2>&1 || fail "the whole run failed"
grep -q '^result test_accuracy=' "$folder/whole.log" || fail "the whole run has no result line"

for signal in TERM INT; do
  run=$folder/$signal
  # Job control gives the child the default SIGINT, which shells without it ignore in the background.
  set -m
  "$sample" "${options[@]}" --out "$run" > "$run.log" 2>&1 &
  child=$!
  set +m
  # Until some steps of an epoch are done.
  for _ in $(seq 600); do
    [ "$(grep -c train_loss "$run/metrics.jsonl" 2> /dev/null)" -ge 60 ] 2> /dev/null && break
    sleep 0.1
  done
  kill -s $signal $child || fail "the run ended before SIG$signal"
  wait $child
  status=$?
  [ $status = $((128 + $(kill -l $signal))) ] || fail "after SIG$signal the status is $status"
  grep -q 'stopped by a signal' "$run.log" || fail "SIG$signal did not stop the run"
  cmp -s "$run/checkpoint.safetensors" "$folder/whole/checkpoint.safetensors" && fail "the run was over already"
  "$sample" --resume "$run" > "$run-resumed.log" 2>&1 || fail "resuming after SIG$signal failed"
  cmp "$run/checkpoint.safetensors" "$folder/whole/checkpoint.safetensors" ||
    fail "the run resumed after SIG$signal differs"
  [ -s "$run/report.html" ] || fail "no report.html after SIG$signal"
done
echo "resumed runs are the same, byte for byte"

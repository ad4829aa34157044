#!/usr/bin/env bash
# stithy profile around a program that knows nothing of it: its table, its files, its errors, and devices whose timestamps
# are poor or missing.
set -u
stithy=$STITHY_BUILD/bin/stithy
sample=$STITHY_BUILD/bin/digits_mlp
[[ -x $sample ]] || { echo "digits_mlp is not built"; exit 77; }
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
failures=0
fail() { echo "FAILED: $*"; failures=$((failures + 1)); }
has() {  # WHERE TEXT PART...
  local where=$1 text=$2 part; shift 2
  for part in "$@"; do [[ $text == *"$part"* ]] || fail "$where: no \"$part\" in: $text"; done
}
expect_failure() {  # CODE REASON COMMAND...
  local wanted=$1 reason=$2 output code; shift 2
  output=$("$@" 2>&1); code=$?
  [[ $code == "$wanted" ]] || fail "$*: exit code $code, not $wanted"
  [[ $output == *"$reason"* ]] || fail "$*: no \"$reason\" in: $output"
}
train=("$sample" --epochs 200 --hidden 32 --batch 20 --out none)

# The program is stopped when enough is known: 200 epochs would take minutes.
output=$("$stithy" profile --rounds 4 --save "$scratch/one.profile" --jsonl "$scratch/one.jsonl" -- "${train[@]}" 2>"$scratch/log") ||
  fail "profile: exit code $?: $(cat "$scratch/log")"
has table "$output" "device   " "peaks    fp32 " "(trains), " " 4 rounds of measuring" "step     p50 " "barriers (" " 0 needless)" \
  "memory   planned " "[backward]" "adam_update" "%roof" "coverage kernels " "profiling cost "
grep -q "digits_mlp" "$scratch/log" || fail "the program's own output is missing"
calls=$(sed -nE 's/.*, ([0-9]+) kernel calls,.*/\1/p' <<<"$output")
[[ $(wc -l <"$scratch/one.jsonl") == $((calls + 1)) ]] || fail "$(wc -l <"$scratch/one.jsonl") lines of JSON for $calls calls"
python3 - "$scratch/one.jsonl" <<'PY' || fail "the lines of JSON"
import json, sys
lines = [json.loads(line) for line in open(sys.argv[1])]
assert lines[0]["timestamps"] and lines[0]["step_ns"]["p50"] > 0 and lines[0]["needless_barriers"] == 0, lines[0]
for i, call in enumerate(lines[1:]):
    assert call["call"] == i + 1 and call["kernel"] and call["phase"] in ("forward", "backward", "optimizer"), call
    assert call["ns"]["p50"] > 0 and call["isolated_ns"]["p50"] > 0 and call["live_bytes"] > 0, call
assert sum(call["flops"] for call in lines[1:]) > 1e5
PY

# Views and filters of a profile that was kept.
for view in op layer kernel call; do
  output=$("$stithy" profile --show "$scratch/one.profile" --by $view --phase backward) || fail "--by $view"
  [[ $output != *"[forward]"* && $output != *"[optimizer]"* ]] || fail "--by $view --phase backward shows others: $output"
done
output=$("$stithy" profile --show "$scratch/one.profile" --top 1 --op 'matmul*')
has "--top 1" "$output" "(--top 0 shows all)"

# Against itself nothing is slower; against a profile with half the times, something is.
"$stithy" profile --show "$scratch/one.profile" --baseline "$scratch/one.profile" >/dev/null || fail "slower than itself"
python3 - "$scratch/one.profile" "$scratch/half.profile" <<'PY' || fail "cannot halve a profile"
import json, sys
profile = json.load(open(sys.argv[1]))
for program in profile["programs"]:
    for run in program["measured"]:
        for name in ("host", "device", "begin", "end"):
            run[name] = [None if t is None else t / 4 for t in run[name]]
json.dump(profile, open(sys.argv[2], "w"))
PY
expect_failure 3 "slower than" "$stithy" profile --show "$scratch/one.profile" --baseline "$scratch/half.profile"

# Timestamps of few bits, and none at all.
output=$(STITHY_PRETEND=timestamp-bits:32 "$stithy" profile --rounds 3 -- "${train[@]}" 2>/dev/null) || fail "32 bits: exit code $?"
has "32 bits" "$output" "coverage kernels "
[[ $output != *-nan* && $output != *" nan"* ]] || fail "32 bits: $output"
for pretend in timestamp-period:inf timestamp-bits:0; do
  output=$(STITHY_PRETEND=$pretend "$stithy" profile --rounds 3 -- "${train[@]}" 2>/dev/null) || fail "$pretend: exit code $?"
  has "$pretend" "$output" "by the host's clock" "writes no timestamps" "adam_update"
  [[ $output != *nan* ]] || fail "$pretend: $output"
done

# A program that ends early, one without the library, and none.
output=$("$stithy" profile -- "$sample" --fast-dev-run --out none 2>&1)
has "three steps" "$output" "ran often enough"
expect_failure 1 "left no profile" "$stithy" profile -- true
expect_failure 1 "ended with exit code 127" "$stithy" profile -- "$scratch/missing"
expect_failure 1 "what shall be profiled?" "$stithy" profile
expect_failure 1 "no program after --" "$stithy" profile --
expect_failure 1 "does not know --foo" "$stithy" profile --foo -- true
expect_failure 1 "takes op, layer, kernel or call" "$stithy" profile --by color -- true
expect_failure 1 "from 1 on" "$stithy" profile --rounds 0 -- true
expect_failure 1 "is no profile" "$stithy" profile --show "$0"
expect_failure 1 "$scratch/missing" "$stithy" profile --baseline "$scratch/missing" -- "${train[@]}"
expect_failure 1 "no call is of" "$stithy" profile --show "$scratch/one.profile" --op nothing
expect_failure 1 "there are 1 (" "$stithy" profile --show "$scratch/one.profile" --program other
expect_failure 2 "does not know \"foo\"" env STITHY_PROFILE="$scratch/x" STITHY_PROFILE_OPTIONS=foo "$sample" --help

# Ctrl-C ends both, and what was measured is shown.
set -m
"$stithy" profile --rounds 1000000 --whole -- "${train[@]}" >"$scratch/stopped" 2>"$scratch/log" &
child=$!
set +m
for _ in $(seq 300); do grep -q "epoch 2" "$scratch/log" && break; sleep 0.1; done
kill -INT -- -$child
wait $child || fail "after Ctrl-C: exit code $?: $(cat "$scratch/log")"
has "after Ctrl-C" "$(cat "$scratch/stopped")" "coverage kernels "
exit $((failures > 0))

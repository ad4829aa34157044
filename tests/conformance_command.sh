#!/usr/bin/env bash
# stithy conformance from outside: a certificate whole or none, verdicts as exit codes, crashes and Ctrl-C survived.
set -u
stithy=${STITHY_BUILD:?}/bin/stithy
scratch=$(mktemp -d "${TMPDIR:-/tmp}/stithy-conformance-XXXXXX")
trap 'rm -rf "$scratch"' EXIT
cd "$scratch" || exit 1
failures=0
fail() { echo "FAILED: $*"; failures=$((failures + 1)); }

# expect_error WORDS ARGUMENT...
expect_error() {
  local words=$1 output code; shift
  output=$("$stithy" conformance "$@" 2>&1); code=$?
  [[ $code == 1 ]] || fail "$*: exit code $code"
  [[ $output == *"$words"* ]] || fail "$*: no \"$words\" in: $output"
}
# fact FILE NAME: a member of its JSON.
fact() { sed -nE "s/^\"$2\": (.*[^,]),?$/\1/p" "$1"; }

# A part of the checks, in a folder named after the device; again over the old one.
output=$("$stithy" conformance --only 'softm*' 2>&1) || fail "softm*: exit code $?: $output"
folder=$(echo conformance-*)
[[ -d $folder ]] || fail "no folder of the device's name: $(ls)"
[[ -s $folder/conformance.html && -s $folder/conformance.json && $(ls "$folder" | wc -l) == 2 ]] ||
  fail "not the two files: $(ls -l "$folder")"
[[ $(fact "$folder/conformance.json" totals) == '{"passed":true,"rows":1,'* ]] || fail "totals: $(fact "$folder/conformance.json" totals)"
[[ $output == *"passed: $folder/conformance.html"* ]] || fail "the end does not name the page: $output"
[[ $output != *$'\r'* ]] || fail "a piped run draws bars"
whole=$(stat -c %s "$folder/conformance.json")
"$stithy" conformance --only 'softm*' --quick --compact --out "$folder" >/dev/null 2>&1 || fail "a second run: exit code $?"
[[ $(stat -c %s "$folder/conformance.json") -lt $whole ]] || fail "--compact is not smaller"
[[ $(fact "$folder/conformance.json" quick) == true ]] || fail "--quick is not said"
expect_error "is of a part of the checks: softm*" --markdown "$folder/conformance.json"

# What fails is named, and the exit code is 1: a device of which no tensor fits a binding.
output=$(STITHY_PRETEND=range:256 "$stithy" conformance --only softmax --out failed 2>&1); code=$?
[[ $code == 1 ]] || fail "failing rows: exit code $code"
[[ $output == *"FAILED: softmax ("*"FAILED: failed/conformance.html"* ]] || fail "failing rows are not named: $output"
[[ $(fact failed/conformance.json totals) == '{"passed":false,'* ]] || fail "failing rows pass"
[[ $(fact failed/conformance.json environment) == '["STITHY_PRETEND=range:256"]' ]] || fail "pretending is not said"
grep -q 'maxStorageBufferRange' failed/conformance.html || fail "the page does not say what failed"

# begin NAME ARGUMENT...: starts the command in the background and waits for its first check.
begin() {
  local name=$1; shift
  set -m
  "$stithy" conformance "$@" >"$name.log" 2>&1 &
  process=$!
  set +m
  for _ in $(seq 600); do
    grep -qs '^device: ' "$name.log" && return
    sleep 0.1
  done
  fail "$name: does not begin: $(cat "$name.log")"
}
# A process that crashes costs the check that it was at.
begin crash --only '*attention*' --out crashed
kill -SEGV "$(pgrep -P "$process")" || fail "crash: there is no process to kill"
wait "$process"; code=$?
[[ $code == 1 ]] || fail "crash: exit code $code: $(cat crash.log)"
grep -q 'was ended by signal 11' crashed/conformance.json || fail "crash: not recorded: $(cat crash.log)"
cases=$(fact crashed/conformance.json totals | sed -E 's/.*"cases":([0-9]+),"cases_passed":([0-9]+).*/\1 \2/')
[[ ${cases% *} -gt 1 && ${cases#* } == $((${cases% *} - 1)) ]] || fail "crash: cases and passed are $cases"

# Ctrl-C: an explanation, and nothing written.
begin stop --out stopped
kill -INT -- "-$process" || fail "stop: it had ended before Ctrl-C"
wait "$process"; code=$?
[[ $code == 130 ]] || fail "stop: exit code $code"
grep -q '^stopped after [0-9]* checks, 0 of which failed; no certificate is written$' stop.log || fail "stop: $(tail -3 stop.log)"
[[ ! -e stopped ]] || fail "stop: $(ls -la stopped)"

: >file
expect_error "file/certificate: cannot be made" --only mlp --out file/certificate
expect_error "file: cannot be made" --only mlp --out file
expect_error 'nothing matches "softmux"' --only softmux
expect_error 'nothing matches "softmax except soft*"' --only softmax --except 'soft*'
expect_error "does not know --foo" --foo
expect_error "does not know --out" --out
expect_error "takes a number above 0" --timeout 0
expect_error "takes a number above 0" --timeout 1x
expect_error 'no usable device matches "voodoo"' --device voodoo --only mlp --out nothing
[[ ! -e nothing ]] || fail "a folder is left though there is no device"
expect_error "--markdown needs files" --markdown
expect_error "nowhere.json" --markdown nowhere.json
expect_error "is no certificate" --markdown file
exit $((failures > 0))

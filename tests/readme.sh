#!/usr/bin/env bash
# The README is true: its commands run, and its table of ops is the one that `stithy ops` prints.
set -u
cd "${STITHY_SOURCE:?}" || exit 1
failures=0
fail() { echo "FAILED: $*"; failures=$((failures + 1)); }
scratch=$(mktemp -d "${TMPDIR:-/tmp}/stithy-readme-XXXXXX")
trap 'rm -rf "$scratch"' EXIT
ln -s "${STITHY_BUILD:?}/bin" "$scratch/bin"

diff <("$STITHY_BUILD/bin/stithy" ops --markdown) <(grep '^|' README.md | sed -n '/^| op |/,$p') ||
  fail "the table of ops is not the README's: paste the output of build/bin/stithy ops --markdown"

diff <("$STITHY_BUILD/bin/stithy" conformance --markdown tests/conformance/*.json) \
  <(sed -n '/^| certificate |/,/^$/p' README.md | grep '^|') ||
  fail "the table of certificates is not the README's: paste the output of stithy conformance --markdown tests/conformance/*.json"

commands=$(sed -n '/^```sh$/,/^```$/p' README.md | sed '/^```/d; s/ *#.*//; /^$/d')
[[ $(wc -l <<<"$commands") -ge 4 ]] || fail "only these commands found: $commands"
while read -r command; do
  echo "\$ $command"
  # Run folders and programs go to a folder of this test.
  output=$(cd "$scratch" && eval "${command//build\//$scratch/}" 2>&1 </dev/null) || fail "$command: exit code $?: $output"
  if [[ $command == *digits_mlp* && $output != *"result test_accuracy="* ]]; then fail "$command: no result: $output"; fi
done <<<"$commands"

for file in $(grep -oE '(tools|tests|engine|shaders)/[a-z_]+(\.(h|sh))?' README.md | sort -u); do
  [[ -e $file ]] || fail "$file is named but does not exist"
done
exit $((failures > 0))

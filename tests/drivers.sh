#!/usr/bin/env bash
# The same build on newer drivers: lavapipe of Debian 13 and of sid, unpacked beside the machine's own with all libraries
# that it needs, down to libc. Nothing is installed, and nothing built again: a program runs on a newer libc than its own.
# usage: STITHY_BUILD=build tests/drivers.sh [DEBIAN SUITE]...
set -u
bin=${STITHY_BUILD:?}/bin
scratch=$(mktemp -d "${TMPDIR:-/tmp}/stithy-drivers-XXXXXX")
trap 'rm -rf "$scratch"' EXIT
export STITHY_CACHE=off
skip() { echo "SKIP: $*"; exit 77; }

for program in apt-get apt-config dpkg-deb; do
  command -v "$program" >/dev/null || skip "there is no $program to fetch Debian's packages with"
done
keys=/usr/share/keyrings/debian-archive-keyring.gpg
[[ -e $keys ]] || skip "the keys of Debian's archive are missing (apt install debian-archive-keyring)"
# The mirror that this machine's apt takes Debian from; by its path where apt has no lists that say whose it is.
mirror=$({ apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(REPO_URI)' 'Created-By: Packages' | sed -n 's/^Debian|Debian|//p'
  apt-get update --print-uris | sed -nE "s|^'([^']*/debian)/+dists/.*|\1|p"; } 2>/dev/null | head -1)
[[ $mirror ]] || skip "apt knows no mirror of Debian"

# fetch SUITE: the drivers and what they need, in $scratch/SUITE/root, through an apt of its own.
fetch() {
  local folder=$scratch/$1 package
  mkdir -p "$folder"/{state/lists/partial,cache/archives/partial,parts,root}
  : >"$folder/state/status"
  {
    echo "Dir::State \"$folder/state\"; Dir::State::status \"$folder/state/status\"; Dir::Cache \"$folder/cache\";"
    echo "Dir::Etc::SourceList \"$folder/sources.list\"; Dir::Etc::SourceParts \"$folder/parts\";"
    echo "Dir::Etc::Parts \"$folder/parts\"; Dir::Etc::Main \"$folder/none\";"
    echo "Dir::Etc::Preferences \"$folder/none\"; Dir::Etc::PreferencesParts \"$folder/parts\";"
    echo 'APT::Install-Recommends "false"; APT::Sandbox::User ""; Acquire::Retries "3";'
    apt-config dump | grep '^Acquire::' | grep -v '^Acquire::Languages'  # proxies, for one
    echo 'Acquire::Languages "none";'
  } >"$folder/apt.conf"
  echo "deb [signed-by=$keys] $mirror $1 main" >"$folder/sources.list"
  APT_CONFIG=$folder/apt.conf apt-get -q update --error-on=any &&
    APT_CONFIG=$folder/apt.conf apt-get -q install -y --download-only mesa-vulkan-drivers libvulkan1 || return
  for package in "$folder"/cache/archives/*.deb; do
    dpkg-deb -x "$package" "$folder/root" || return
    rm "$package"
  done
}

failures=0
[[ $# -gt 0 ]] || set -- trixie sid
for suite in "$@"; do
  if ! fetch "$suite" >"$scratch/log" 2>&1; then
    tail -20 "$scratch/log"
    ((failures)) || skip "Debian's $suite cannot be fetched from the mirror that apt uses"
    break
  fi
  root=$scratch/$suite/root
  loader=$(compgen -G "$root/usr/lib/*/ld-linux*.so.*" | head -1)
  driver=$(compgen -G "$root/usr/share/vulkan/icd.d/lvp_icd*.json" | head -1)
  if [[ -z $loader || -z $driver ]]; then echo "FAILED: $suite has no loader or no lavapipe"; failures=$((failures + 1)); continue; fi
  # What that Debian calls by another name comes from this one.
  on_driver() { env VK_DRIVER_FILES="$driver" VK_ICD_FILENAMES="$driver" "$loader" --library-path "${loader%/*}" "$@"; }
  # run NAME COMMAND...
  run() {
    local name=$1 started=$SECONDS; shift
    on_driver "$@" >"$scratch/log" 2>&1
    local code=$?
    echo "$suite, $name: $( ((code == 0)) && echo passed || echo FAILED), $((SECONDS - started)) s"
    ((code == 0)) || { grep -E 'ERROR|FAILED' "$scratch/log" | head -20; tail -20 "$scratch/log"; failures=$((failures + 1)); }
  }
  on_driver "$bin/stithy" doctor --brief || failures=$((failures + 1))
  # --quick leaves out what makes more kernels of the same sources: strided inputs, and candidates that launch no kernel of
  # their own; the certificates in tests/conformance have those, too.
  run "rows, gradients, kernels and training runs" \
    "$bin/stithy" conformance --quick --out "$scratch/$suite/certificate"
  # Of the other suites every one that a driver can have a say in; one case starts its own executable again, which is the
  # loader here.
  run "the suites" "$bin/stithy_tests" --test-suite-exclude=ops,shadergen --test-case-exclude="a candidate that hangs*"
  rm -rf "${scratch:?}/$suite"
done
exit $((failures > 0))

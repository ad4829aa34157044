#!/bin/bash
# Runs the tests under the Vulkan validation layers and fails on any message. Three runs, since no mode sees
# everything: core and synchronization validation; the same with every kernel call submitted alone, because
# layers before 2026 overlook hazards between two writes within a submission; and GPU-assisted validation,
# which sees accesses outside a buffer (those outside a value but inside the buffer are the guard bands' part).
# usage: STITHY_BUILD=build tests/validation.sh [arguments for the tests]
set -u
cd "${STITHY_SOURCE:-$(dirname "$0")/..}" || exit 1
tests=${STITHY_BUILD:-build}/bin/stithy_tests
[ -x "$tests" ] || { echo "validation: $tests is missing; build it first"; exit 1; }
log=$(mktemp) || exit 1
trap 'rm -f "$log"' EXIT

if STITHY_VALIDATION=1 "$tests" --test-case="eval, item and constants" >"$log" 2>&1; then :
elif grep -q "is not installed" "$log"; then
  echo "SKIP: VK_LAYER_KHRONOS_validation is not installed (apt install vulkan-validationlayers)"
  exit 77
fi

failed=0
# run LABEL COMMAND...: the command must pass without a message
run() {
  local label=$1
  shift
  if "$@" >"$log" 2>&1 && ! grep -q "^validation: " "$log"; then
    echo "validation, $label: $(grep -o '[0-9]* passed' "$log" | awk 'NR % 2 {n += $1} END {print n}') passed, no messages"
  else
    echo "validation, $label: FAILED"
    grep -o "^validation: [^:]*" "$log" | sort | uniq -c
    grep -m 3 "^validation: " "$log"
    grep -m 20 -E "ERROR|FAILED|^terminate|status" "$log"
    tail -30 "$log"
    failed=1
  fi
}
# The layers keep something of every submission and look through all of it at the next: a process may not make
# many. So only the suites run in which kernels follow one another, and of the rows each letter by itself; neither
# the long training tests nor the models, which are the layers of other suites.
submission_a_kernel() (
  export STITHY_VALIDATION=1 STITHY_DEBUG=submit-each STITHY_QUICK_ROWS=1
  export VK_LAYER_ENABLES=VALIDATION_CHECK_ENABLE_SYNCHRONIZATION_VALIDATION_QUEUE_SUBMIT
  good=0
  part() {
    "$tests" "$@" || { good=$?; echo "validation: status $good of $*"; }
  }
  part --test-suite=graph,autograd,fuse,recompute,optim,optimizer,pieces,plan,submissions,nn,nn_vision,loss,sequence "$@"
  for letter in {a..z}; do part --test-suite=ops --test-case=rows --subcase="$letter*" "$@"; done
  exit "$good"
)
run "core and synchronization" env STITHY_VALIDATION=1 "$tests" --test-suite-exclude=models,text_models "$@"
run "one submission a kernel" submission_a_kernel "$@"
# Instrumented, the larger kernels compile for minutes each on CPU drivers: every choice is the plain one then
# (DeviceInfo::instrumented), the tuner has nothing to do, and the harness leaves out the other candidates, which its own
# tests would count as failures.
run "GPU-assisted" env STITHY_VALIDATION=gpu "$tests" --test-suite-exclude=train,tune,harness,models,text_models,generate,long \
  --subcase-exclude=matmul --test-case-exclude="GPT-2*" "$@"
exit $failed

#!/usr/bin/env bash
# Every op's row again on the kernels' paths for GPUs: several subgroups a workgroup, shared memory, barriers; and those
# of the large tiles as they are where a compiler has few registers.
set -u
tests=${STITHY_BUILD:?}/bin/stithy_tests
STITHY_PRETEND=gpu "$tests" --test-suite=ops || exit 1
STITHY_PRETEND=gpu,few-registers exec "$tests" --test-suite=ops --test-case=rows --subcase='conv*,matmul*'

#!/usr/bin/env bash
# Every op's row again on the kernels' paths for GPUs: several subgroups a workgroup, shared memory, barriers.
set -u
STITHY_PRETEND=gpu exec "${STITHY_BUILD:?}/bin/stithy_tests" --test-suite=ops

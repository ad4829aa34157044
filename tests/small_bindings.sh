#!/bin/bash
# The op rows with bindings so small that tensors are cut into pieces: right results, or a refusal by name.
set -e
for range in 512 4K; do
  STITHY_QUICK_ROWS=1 STITHY_PRETEND=range:$range "${STITHY_BUILD:?}/bin/stithy_tests" --test-suite=ops --test-case=rows
done

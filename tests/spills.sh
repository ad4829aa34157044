#!/usr/bin/env bash
# No kernel spills registers on AMD GPUs, by the compiler of the Mesa driver that is installed; no GPU is needed.
set -u
icd=$(ls /usr/share/vulkan/icd.d/radeon_icd*.json 2>/dev/null | head -n 1)
[[ -n $icd ]] || { echo "SKIP: RADV is missing (package mesa-vulkan-drivers)"; exit 77; }
export VK_ICD_FILENAMES=$icd VK_DRIVER_FILES=$icd
RADV_FORCE_FAMILY=navi21 "${STITHY_BUILD:?}/bin/stithy" doctor --brief 2>/dev/null | grep -qi "navi21" ||
  { echo "SKIP: this RADV compiles for no GPU that is not there"; exit 77; }
output=$("${STITHY_SOURCE:?}/tools/spills" --stithy "$STITHY_BUILD/bin/stithy" --runner "env RADV_FORCE_FAMILY={}" polaris10 navi21)
status=$?
echo "$output"
[[ $output =~ navi21.*[0-9]{3}.*"| 0 |" ]] || { echo "FAILED: the table has no line of navi21 without spills"; exit 1; }
exit $status

#!/usr/bin/env bash
# Every SPIR-V module of the build is valid for Vulkan 1.2.
set -u
command -v spirv-val >/dev/null || { echo "SKIP: spirv-val is missing (package spirv-tools)"; exit 77; }
# What the stamps list: modules of kernels that are gone may lie about too.
folder=${STITHY_BUILD:?}/generated/shaders
modules=()
for shader in "${STITHY_SOURCE:?}"/shaders/*.comp; do
  name=$(basename "$shader" .comp)
  [[ -s $folder/$name.stamp ]] || { echo "$shader was not built"; exit 1; }
  while read -r module; do modules+=("$folder/$module.spv"); done <"$folder/$name.stamp"
done
failed=0
for module in "${modules[@]}"; do
  message=$(spirv-val --target-env vulkan1.2 "$module" 2>&1) || { echo "${module##*/}: $message"; failed=$((failed + 1)); }
done
echo "${#modules[@]} modules, $failed invalid"
((failed == 0))

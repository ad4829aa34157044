#!/usr/bin/env bash
# An installed Stithy can be found, compiled against, linked and run by a project outside of this tree.
set -eu
folder=$(mktemp -d "${TMPDIR:-/tmp}/stithy-install-XXXXXX")
trap 'rm -rf "$folder"' EXIT
prefix=$folder/prefix
cmake --install "${STITHY_BUILD:?}" --prefix "$prefix" >"$folder/log" 2>&1 || { cat "$folder/log"; exit 1; }
if grep -rE '#include [<"](vulkan|shaders|engine/ops)/' "$prefix/include"; then
  echo "an installed header shows what users do not have"
  exit 1
fi

# The build tool that is there: a machine may have Ninja and no make.
generator=$(sed -n 's/^CMAKE_GENERATOR:INTERNAL=//p' "$STITHY_BUILD/CMakeCache.txt")
mkdir "$folder/user"
cat >"$folder/user/CMakeLists.txt" <<'CMAKE'
cmake_minimum_required(VERSION 3.22)
project(user LANGUAGES CXX)
find_package(Stithy 0.1 REQUIRED)
add_executable(user main.cpp)
target_link_libraries(user PRIVATE Stithy::nn)
CMAKE
# The program is the README's.
sed -n '/^```cpp$/,/^```$/p' "${STITHY_SOURCE:?}/README.md" | sed '/^```/d' >"$folder/user/main.cpp"
cmake -S "$folder/user" -B "$folder/build" -G "$generator" -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_BUILD_TYPE=Release
cmake --build "$folder/build"
# The libraries must find each other by themselves.
output=$(env -u LD_LIBRARY_PATH "$folder/build/user")
echo "$output"
[[ $output == *"0 xor 0 = 0"*"0 xor 1 = 1"*"1 xor 0 = 1"*"1 xor 1 = 0"* ]] || { echo "the README's program did not learn XOR"; exit 1; }

# A newer minor version may break: 0.2 is not 0.1.
sed -i 's/Stithy 0.1/Stithy 0.2/' "$folder/user/CMakeLists.txt"
if cmake -S "$folder/user" -B "$folder/wrong" -G "$generator" -DCMAKE_PREFIX_PATH="$prefix" >"$folder/log" 2>&1; then
  echo "find_package(Stithy 0.2) accepted version 0.1"
  exit 1
fi
grep -q 'requested version "0.2"' "$folder/log" || { cat "$folder/log"; exit 1; }

#!/usr/bin/env bash
# nvcc.sh CMAKE SOURCE: compilers that cannot build the CUDA backend do not stop the build of the rest, and are named. SB_CUDA=ON insists.
set -u
cmake=$1 source=$2 failures=0
dir=$(mktemp -d) && trap 'rm -rf "$dir"' EXIT
unset CUDACXX CUDA_HOME CUDA_PATH

mkdir "$dir/project"
cat >"$dir/project/CMakeLists.txt" <<CMAKE
cmake_minimum_required(VERSION 3.20)
project(nvcc C)
include($source/cmake/Cuda.cmake)
CMAKE
configure() { # WHAT SB_CUDA TEXT: with $dir/bin/nvcc
  rm -rf "$dir/build"
  "$cmake" -S "$dir/project" -B "$dir/build" -DSB_NVCC="$dir/bin/nvcc" -DSB_CUDA="$2" >"$dir/said" 2>&1
  code=$?
  [ "$2" = ON ] && expected=1 || expected=0
  [ $code = $expected ] || { echo "FAILED: $1, SB_CUDA=$2: exit code $code" && failures=1; }
  tr -s ' \n' ' ' <"$dir/said" | grep -q "$3" || { echo "FAILED: $1, SB_CUDA=$2: no '$3' in:" && cat "$dir/said" && failures=1; }
}

mkdir "$dir/bin"
cat >"$dir/bin/nvcc" <<'NVCC'
#!/bin/sh
echo "Cuda compilation tools, release $RELEASE, V$RELEASE.1"
[ "$1" = --version ] && exit
echo "host_config.h(143): error: -- unsupported GNU version! gcc versions later than 12 are not supported!"
exit 1
NVCC
chmod +x "$dir/bin/nvcc"
export RELEASE=11.8
configure "too old" AUTO "CUDA backend: not built (.*nvcc is of CUDA 11.8; 12.0 or newer is needed)"
configure "too old" ON "SB_CUDA=ON, but .*nvcc is of CUDA 11.8"
export RELEASE=12.4
configure "at odds with gcc" AUTO "not built (.*nvcc of CUDA 12.4 does not compile here: .*unsupported GNU version"
exit $failures

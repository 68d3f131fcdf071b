# shellcheck shell=bash disable=SC2034
# Sourced by demo.sh and test.sh: packages, build, and mpirun on this machine. Not a program of its own.

say() { printf '%s\n' "$*"; }
die() {
  printf '%s: %s\n' "$(basename "$0")" "$*" >&2
  exit 1
}

build_packages="build-essential cmake ninja-build pkg-config openmpi-bin libopenmpi-dev libscalapack-openmpi-dev
  libopenblas-openmp-dev libdnnl-dev libzstd-dev libjansson-dev libxxhash-dev"
test_packages="libcmocka-dev coinor-libcbc-dev zstd zsh lua5.4 python3 python3-venv python3-numpy python3-jinja2 python3-xxhash python3-zstandard procps"
lint_packages="clang-format clang-tidy shellcheck"
coverage_packages="gcovr"
fuzz_packages="clang libclang-rt-dev libomp-dev"

# install_missing PACKAGE ...: installs those that are not there, with apt, as root or through sudo.
install_missing() {
  local package missing=() root=()
  if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
    say "This is no Debian: packages are not installed from here. Needed are (Debian's names): $*"
    return 0
  fi
  for package in "$@"; do
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || die "these packages are missing, and installing them needs root or sudo: ${missing[*]}"
    root=(sudo)
  fi
  say "Installing with apt: ${missing[*]}"
  "${root[@]}" apt-get -qq -o DPkg::Lock::Timeout=300 update || die "apt-get update failed: is the network reachable?"
  "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 \
    install -y --no-install-recommends "${missing[@]}" >/dev/null || die "apt-get could not install: ${missing[*]}"
}

# What CMake found of CUDA, and whether a GPU is here to run it.
say_cuda() { # LOG
  local found
  found=$(sed -n 's/^-- CUDA backend: //p' "$1")
  case $found in
    nvcc*) [ -n "$(nvidia-smi -L 2>/dev/null)" ] || found+="; no GPU is here, so this machine computes on processors" ;;
  esac
  say "CUDA backend: $found."
}

# build PRESET: into build/PRESET. CMake's chatter goes into a file that is shown when something fails.
build() {
  local log=build/$1.log
  mkdir -p build
  say "Building (preset $1) ..."
  if ! { cmake --preset "$1" && { [ "$1" = asan ] || say_cuda "$log" >&3; } && cmake --build --preset "$1"; } 3>&1 >"$log" 2>&1; then
    tail -n 40 "$log" >&2
    die "the build failed; the whole log is in $log"
  fi
}

# on_ranks N PROGRAM [ARG ...]: on N ranks of this machine, whatever it has of cores, as root too.
on_ranks() {
  local ranks=$1
  shift
  OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 \
    mpirun --oversubscribe --bind-to none --mca btl self,vader --mca btl_vader_single_copy_mechanism none \
    --mca mpi_yield_when_idle 1 -n "$ranks" "$@"
}

# json_number FILE KEY: the number of that key at the top level of a report of ours (one key a line, two spaces deep).
json_number() {
  sed -n "s/^  \"$2\": *\\([-+0-9.eE]*\\).*/\\1/p" "$1" | head -n 1
}

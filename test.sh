#!/usr/bin/env bash
# Installs what is missing, builds, and runs all tests: ctest labels unit, mpi, real, gpu; then unit under sanitizers.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")"
. tools/setup.sh

# shellcheck disable=SC2086
install_missing $build_packages $test_packages
say_cuda
build test

export SHARDBITS_SMOLLM2=$PWD/build/models/smollm2
if [ ! -e "$SHARDBITS_SMOLLM2/config.json" ]; then
  say "Fetching SmolLM2-135M-Instruct for the tests labelled real ..."
  tools/get_smollm2.sh "$SHARDBITS_SMOLLM2" || say "SmolLM2 could not be fetched: the tests labelled real will fail"
fi

export OMP_WAIT_POLICY=passive # tests share cores: threads that spin take them from each other
jobs=$(($(nproc) > 6 ? $(nproc) / 2 : 3)) # many of them wait more than they compute
failed=0
ctest --test-dir build/test --output-on-failure -j "$jobs" "$@" 2>&1 | tee build/test.log || failed=1
build asan
ctest --test-dir build/asan --output-on-failure -j "$jobs" -L unit 2>&1 | tee build/asan.log || failed=1

printf '\nAll tests:\n'
sed -n '/tests passed/,$p' build/test.log
printf '\nunit under AddressSanitizer and UndefinedBehaviorSanitizer:\n'
sed -n '/tests passed/,$p' build/asan.log
exit $failed

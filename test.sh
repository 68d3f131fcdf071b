#!/usr/bin/env bash
# test.sh [--lint] [--all] [CTEST ARGUMENT ...]: installs what is missing, builds, and runs the tests (ctest labels unit, mpi, real, gpu),
# then those labelled unit under sanitizers. --lint first runs formatter, linter and shellcheck (tools/lint.sh). --all does that with
# clang's analyzer, and runs the tests labelled long too, and each fuzz target for a minute.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")"
. tools/setup.sh

lint='' without=(-LE long) packages=$test_packages
while :; do
  case ${1:-} in
    --lint) lint=plain packages+=" $lint_packages" ;;
    --all) lint=--analyze without=() packages+=" $lint_packages $fuzz_packages" ;;
    *) break ;;
  esac
  shift
done

# shellcheck disable=SC2086
install_missing $build_packages $packages
build test

failed=0
case $lint in
  plain) tools/lint.sh || failed=1 ;;
  --analyze) tools/lint.sh --analyze || failed=1 ;;
esac

export SHARDBITS_SMOLLM2=$PWD/build/models/smollm2
if [ ! -e "$SHARDBITS_SMOLLM2/config.json" ]; then
  say "Fetching SmolLM2-135M-Instruct for the tests labelled real ..."
  tools/get_smollm2.sh "$SHARDBITS_SMOLLM2" || say "SmolLM2 could not be fetched: the tests labelled real will fail"
fi

export OMP_WAIT_POLICY=passive # tests share cores: threads that spin take them from each other
jobs=$(($(nproc) > 6 ? $(nproc) / 2 : 3)) # many of them wait more than they compute
run_tests() { # PRESET ARGUMENT ...
  local preset=$1
  shift
  ctest --test-dir "build/$preset" --no-tests=error --output-on-failure -j "$jobs" "$@" 2>&1 | tee "build/$preset-tests.log" || failed=1
}
run_tests test "${without[@]}" "$@"
build asan
run_tests asan -L unit
if [ ${#without[@]} = 0 ]; then
  build fuzz
  run_tests fuzz -L long -R '^fuzz_'
fi

printf '\nAll tests:\n'
sed -n '/tests passed/,$p' build/test-tests.log
printf '\nunit under AddressSanitizer and UndefinedBehaviorSanitizer:\n'
sed -n '/tests passed/,$p' build/asan-tests.log
if [ ${#without[@]} = 0 ]; then
  printf '\nFuzz targets, a minute each:\n'
  sed -n '/tests passed/,$p' build/fuzz-tests.log
fi
[ $failed = 0 ] || printf '\nSomething failed: look above.\n'
exit $failed

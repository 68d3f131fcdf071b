#!/usr/bin/env bash
# fuzz.sh BUILD TARGET [OPTION ...]: runs a fuzz target of a build by the preset `fuzz`, with libFuzzer's options
# (-max_total_time=SECONDS, -runs=N). Begins from its seeds, inputs that once failed, and what BUILD/corpus/TARGET holds
# from earlier runs; keeps what it finds there. An input that fails is left in BUILD/corpus as TARGET-crash-*.
set -euo pipefail
source=$(dirname "$(dirname "$(readlink -f "$0")")")
build=$(readlink -f "$1") name=$2
shift 2
corpus=$build/corpus/$name
mkdir -p "$corpus"
"$build/tests/fuzz/fuzz_replay" seeds "$name" "$corpus"
folders=("$corpus")
[ ! -d "$source/tests/fuzz/regressions/$name" ] || folders+=("$source/tests/fuzz/regressions/$name")
# What MPI keeps until the end is no leak of ours. A file of a few KB has no business with 64 MiB.
export LSAN_OPTIONS=suppressions=$source/tests/lsan.supp:print_suppressions=0
export ASAN_OPTIONS=allocator_may_return_null=1 OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
exec "$build/tests/fuzz/fuzz_$name" -artifact_prefix="$build/corpus/$name-" -print_final_stats=1 -timeout=20 \
  -rss_limit_mb=2048 -malloc_limit_mb=64 -max_len=16384 "$@" "${folders[@]}"

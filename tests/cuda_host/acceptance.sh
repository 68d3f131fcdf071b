#!/usr/bin/env bash
# acceptance.sh SHARDBITS MPIRUN SOURCE TEST ...: bench/acceptance.sh run on the stand-in: without a device one clear line and code 77; with
# one, each step's result while time is left, a step that fails, and what was left out. TEST is a test of the device, for all of them.
. "$(dirname "$0")/../support/shell.sh"
package=$dir/package/acceptance
mkdir -p "$package"/{bin,lib,mpi}
cp -r "$source/bench/acceptance.sh" "$source/bench/acceptance" "$dir"
mkdir -p "$package/bench/acceptance" "$package/data" && cp "$source"/bench/acceptance/* "$package/bench/acceptance"
cp -r "$source/data/demo-llama" "$source/data/calib.bin" "$source/data/heldout.bin" "$package/data"
echo 0123456789abcdef >"$package/commit"
ln -s "$shardbits" "$package/bin/shardbits"
for name in dense blocks round moments packed attention factor trellis trellis_packed; do ln -s "$4" "$package/bin/test_gpu_cuda_$name"; done
printf '#!/bin/sh\necho "GPU 0: GEMM is wrong at 3, 4"\nexit 1\n' >"$package/bin/bench_cuda" && chmod +x "$package/bin/bench_cuda"
ln -s bench_cuda "$package/bin/bench_cuda_trellis"
rm -r "$package/mpi" # this machine's serves
run="$source/bench/acceptance.sh run $dir/package $dir/results"

code=0
SB_CUDA_HOST_DEVICES=0 $run >"$dir/said" 2>&1 || code=$?
[ $code = 77 ] || fail "without a device: exit code $code"
[ "$(tail -n 1 "$dir/said")" = "no device: nothing was checked or measured" ] || fail "without a device: $(cat "$dir/said")"
/usr/bin/python3 -m json.tool "$dir/results/report.json" >/dev/null || fail "without a device: the report is no JSON"

code=0
PYTHON=/bin/false ACCEPTANCE_SECONDS=${SECONDS_LEFT:-50} $run >"$dir/said" 2>&1 || code=$?
[ $code = 1 ] || fail "with a device: exit code $code"
for text in '^doctor  *passed' '^test_dense  *passed' '^kernels  *\(failed\|left out\)'; do grep -q "$text" "$dir/said" || fail "no '$text' in $(cat "$dir/said")"; done
/usr/bin/python3 -c '
import json, sys
report = json.load(open(sys.argv[1]))
steps = {s["name"]: s["result"] for s in report["steps"]}
assert steps["doctor"] == steps["test_dense"] == "passed" and report["doctor"]["backend"] == "cuda", report
assert len(steps) >= 15 and report["commit"] == "0123456789abcdef", steps
' "$dir/results/report.json" || fail "with a device: the report: $(cat "$dir/results/report.json")"
grep -q '^| test_dense | passed | ' "$dir/results/table.md" || fail "the table: $(cat "$dir/results/table.md")"
finish

#!/usr/bin/env bash
# doctor.sh SHARDBITS MPIRUN SOURCE: what doctor says of processors, for people and machines; --device cuda fails where it cannot be had.
. "$(dirname "$0")/../support/shell.sh"

run 1 doctor --device cpu --json "$dir/report.json"
for line in processor memory MPI CUDA; do
  timeout 60 "$shardbits" doctor --device cpu 2>&1 | grep -q "^  $line  *[^ ]" || fail "no line $line"
done
"$mpirun" 2 "$shardbits" doctor --device cpu >"$dir/said" 2>/dev/null || fail "two ranks: exit code $?"
grep -q '^  MPI .*2 ranks on 1 node' "$dir/said" || fail "two ranks: $(cat "$dir/said")"
[ "$(grep -c '^  first product .*right on all ranks' "$dir/said")" = 1 ] || fail "two ranks: $(cat "$dir/said")"
[ "$(value "$dir/report.json" backend)" = cpu ] || fail "the report names no backend: $(cat "$dir/report.json")"
/usr/bin/python3 -c '
import json, sys
report = json.load(open(sys.argv[1]))
assert report["memory_bytes"] > 1e8 and report["threads"] >= 1 and report["mpi"] and report["gpus"] is not None, report
' "$dir/report.json" || fail "the report: $(cat "$dir/report.json")"

if [ -z "$(nvidia-smi -L 2>/dev/null)" ]; then
  refuses 2 '--device cpu' doctor --device cuda
fi
finish

#!/usr/bin/env bash
# coverage.sh [CTEST ARGUMENT ...]: builds with counters (preset coverage), runs the tests of one process and those of several ranks on two,
# or those that the arguments choose, and prints a table of lines and branches per room; build/coverage/report/index.html shows each line.
# The kernels of CUDA, which run elsewhere, are not counted.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
. tools/setup.sh
command -v gcovr >/dev/null || die "gcovr is missing (Debian: apt-get install gcovr; or pip install gcovr)"

build coverage >&2
find build/coverage -name '*.gcda' -delete
[ $# -gt 0 ] || set -- -L 'unit|mpi' -LE long -E '_[013-9]$|cuda_host'
OMP_WAIT_POLICY=passive ctest --test-dir build/coverage --no-tests=error -j "$(($(nproc) + 1))" "$@" >build/coverage/tests.log 2>&1 ||
  { tail -n 20 build/coverage/tests.log >&2; die "tests failed; the figures would be those of another program"; }

rooms=(base io mpi kernels model folders pass quant sensitivity alloc plan measure cli)
mkdir -p build/coverage/report
filters=()
for room in "${rooms[@]}"; do filters+=(--filter "$room/"); done
gcovr --root . build/coverage "${filters[@]}" --exclude-throw-branches --csv build/coverage/report/files.csv \
  --html-details build/coverage/report/index.html >/dev/null

# filename,line_total,line_covered,line_percent,branch_total,branch_covered,...
printf '| room | lines | run | branches | taken |\n| --- | ---: | ---: | ---: | ---: |\n'
awk -F, -v order="${rooms[*]}" '
  NR > 1 { split($1, part, "/"); r = part[1]; lines[r] += $2; run[r] += $3; branches[r] += $5; taken[r] += $6 }
  function row(name, l, u, b, t) { printf "| %s | %d | %.1f%% | %d | %.1f%% |\n", name, l, 100 * u / (l ? l : 1), b, 100 * t / (b ? b : 1) }
  END {
    n = split(order, room, " ")
    for (i = 1; i <= n; i++) {
      r = room[i]
      row("`" r "/`", lines[r], run[r], branches[r], taken[r])
      L += lines[r]; U += run[r]; B += branches[r]; T += taken[r]
    }
    row("all", L, U, B, T)
  }' build/coverage/report/files.csv

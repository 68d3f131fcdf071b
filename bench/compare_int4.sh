#!/usr/bin/env bash
# bench/compare_int4.sh [cpu|cuda] [ROUNDS]: products with packed weights against PyTorch's with uniform 4-bit weights, run in turns on
# the same cores or the same GPU; the best of all rounds. PYTHON has torch. BENCH is the built bench_packed (cpu) or bench_cuda (cuda).
set -euo pipefail
device=${1:-cpu} rounds=${2:-3} python=${PYTHON:-python3}
cd "$(dirname "$(readlink -f "$0")")/.."
if [ "$device" = cuda ]; then bench=${BENCH:-build/test/bench/bench_cuda}; else bench=${BENCH:-build/test/bench/bench_packed}; fi
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT

# Lines of both: rows, columns, tokens, name, seconds.
of_processors() {
  awk '/^[0-9]+ x [0-9]+, [0-9]+ token/ { at = $1 " " $3 + 0 " " $4 }
       /^\| (3 bits|4 bits|mean 3)/ { split($0, cell, " *[|] *"); gsub(/[ ,:]+/, "_", cell[2]); print at, cell[2], cell[3] * 1e-3 }'
}
of_gpu() {
  awk '/^packed products/ { at = $3 " " $5 + 0 }
       at && NF >= 8 && $1 + 0 > 0 { print at, $1, "3_bits", $2 * 1e-6; print at, $1, "mean_3", $3 * 1e-6; print at, $1, "4_bits", $4 * 1e-6 }'
}
for _ in $(seq "$rounds"); do
  if [ "$device" = cuda ]; then
    "$bench" | of_gpu >>"$work/ours"
  else
    "$bench" 0.2 2 | of_processors >>"$work/ours"
  fi
  "$python" tools/bench_int4.py --device "$device" --shape 8192x8192 --tokens 1,2,4,8,16,64 >>"$work/torch"
  "$python" tools/bench_int4.py --device "$device" --shape 28672x8192 --tokens 1,2,4 >>"$work/torch"
done
awk '{ print $1, $2, $3, "torch", $4; print $1, $2, $3, "dense", $5 }' "$work/torch" | cat - "$work/ours" | awk '
  { key = $1 " x " $2 "," $3; if (!((key, $4) in best) || $5 < best[key, $4]) best[key, $4] = $5
    if ($4 == "torch" && !(key in seen)) { seen[key] = 1; order[++n] = key }
    if ($4 ~ /^mean_3/ && !($4 in mixed)) { mixed[$4] = 1; mixes[++m] = $4 } }
  END {
    printf "| matrix | tokens | PyTorch, 4 bits | dense / it | ours, 4 bits | PyTorch / it | ours, 3 bits | PyTorch / it |"
    for (i = 1; i <= m; i++) { name = mixes[i]; gsub(/_/, " ", name); printf " %s, PyTorch / it |", name }
    printf "\n| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    for (i = 1; i <= m; i++) printf " ---: |"
    print ""
    for (k = 1; k <= n; k++) {
      key = order[k]; split(key, part, ","); t = best[key, "torch"]
      if (!((key, "4_bits") in best)) continue
      printf "| %s | %d | %.3f ms | %.2f | %.3f ms | **%.2f** | %.3f ms | %.2f |", part[1], part[2], 1e3 * t, best[key, "dense"] / t,
             1e3 * best[key, "4_bits"], t / best[key, "4_bits"], 1e3 * best[key, "3_bits"], t / best[key, "3_bits"]
      for (i = 1; i <= m; i++) printf " %.2f |", t / best[key, mixes[i]]
      print ""
    }
  }'

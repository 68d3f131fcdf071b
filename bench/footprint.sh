#!/usr/bin/env bash
# bench/footprint.sh MODEL TOKENS: peak resident memory of the largest rank of a real run of quantize against what plan said,
# on 1, 2 and 4 ranks of one machine, rounded to nearest and by gptq. Prints a table; SHARDBITS names the program.
set -euo pipefail
model=$(readlink -f "$1") tokens=$(readlink -f "$2")
cd "$(dirname "$(readlink -f "$0")")/.."
. tools/setup.sh
shardbits=${SHARDBITS:-build/release/shardbits}
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT

echo "| ranks | sequences | quantizer | plan | measured | measured / plan |"
echo "| ---: | ---: | --- | ---: | ---: | ---: |"
for ranks in 1 2 4; do
  for seqs in 8 64; do
    for quantizer in rtn gptq; do
      options=(--bits 3.25 --seqs "$seqs" --strides 1 --trades 0 --quantizer "$quantizer" --round-seqs "$seqs")
      "$shardbits" plan "$model" --ranks $ranks --gflops 1 "${options[@]}" --json "$work/plan.json" --quiet >/dev/null
      on_ranks $ranks "$shardbits" quantize "$model" --calib "$tokens" "${options[@]}" -o "$work/out" --overwrite \
        --json "$work/run.json" --quiet >/dev/null
      plan=$(sed -n 's/^    "rank": \([0-9.]*\).*/\1/p' "$work/plan.json")
      measured=$(json_number "$work/run.json" peak_resident_bytes)
      awk -v r=$ranks -v s=$seqs -v q=$quantizer -v p="$plan" -v m="$measured" \
        'BEGIN { printf "| %d | %d | %s | %.0f MiB | %.0f MiB | %.2f |\n", r, s, q, p / 1048576, m / 1048576, m / p }'
    done
  done
done

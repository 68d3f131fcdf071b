#!/usr/bin/env bash
# what the program is for, on a real model: at 3.25 effective bits the bits it
# finds, from few short sequences and without a trade, give a better perplexity than the largest uniform width that fits.
. "$(dirname "$0")/common.sh"

measure() { # NAME ARGUMENT ...
  local name=$1
  shift
  on_two quantize "$model" --bits 3.25 --head-bits 16 --embed-bits 16 -o "$dir/$name" --json "$dir/$name.json" "$@"
  on_two eval "$dir/$name" --tokens "$model/heldout.bin" --seqs 8 --seqlen 256 --json "$dir/$name.eval.json"
  bits=$(value "$dir/$name.json" effective_bits)
  perplexity=$(value "$dir/$name.eval.json" perplexity)
  echo "$name: $bits effective bits, perplexity $perplexity"
  awk -v b="$bits" -v p="$perplexity" 'BEGIN { exit !(b > 3 && b <= 3.25 && p > 1) }' ||
    fail "not within the budget, or no perplexity"
}

measure uniform --method rtn
uniform=$perplexity
measure ours --calib "$model/calib.bin" --seqs 8 --seqlen 128 --trades 0 --quantizer rtn
# Measured: 49.2 against 132.9. Asked for is less, as another processor's last bits move a few blocks.
awk -v a="$perplexity" -v b="$uniform" 'BEGIN { exit !(a < 0.8 * b) }' ||
  fail "$perplexity is not clearly better than $uniform"
finish

#!/usr/bin/env bash
# What the program is for: at the same budget, its bits give a better perplexity than uniform ones; and more bits a better
# one than fewer.
. "$(dirname "$0")/../support/shell.sh"

# Compensated rounding beats rounding to nearest, of uniform bits and of ours.
for bits in 2.5 3.25; do
  names="rtn-$bits ours-$bits"
  run 2 quantize "$model" --bits $bits --method rtn -o "$dir/rtn-$bits" --json "$dir/rtn-$bits.json"
  run 2 quantize "$model" --calib "$calib" --seqs 8 --seqlen 128 --bits $bits --trades 2 --quantizer rtn -o "$dir/ours-$bits" \
    --json "$dir/ours-$bits.json" --allocation "$dir/bits-$bits"
  if [ $bits = 2.5 ]; then
    names="$names gptq-$bits uniform-gptq-$bits"
    run 2 quantize "$model" --calib "$calib" --round-seqs 64 --bits $bits --quantizer gptq --allocation "$dir/bits-$bits" \
      -o "$dir/gptq-$bits" --json "$dir/gptq-$bits.json"
    run 2 quantize "$model" --calib "$calib" --round-seqs 64 --bits $bits --quantizer gptq --method rtn --tune-seqs 0 \
      -o "$dir/uniform-gptq-$bits" --json "$dir/uniform-gptq-$bits.json"
  fi
  for name in $names; do
    run 2 eval "$dir/$name" --tokens "$heldout" --seqs 32 --seqlen 128 --json "$dir/$name.eval.json"
    awk -v b="$(value "$dir/$name.json" effective_bits)" -v most=$bits 'BEGIN { exit !(b > 0 && b <= most) }' ||
      fail "$name: $(value "$dir/$name.json" effective_bits) effective bits are not within the budget"
  done
done

less() { # A B: perplexity of A below that of B
  local a b
  a=$(value "$dir/$1.eval.json" perplexity) b=$(value "$dir/$2.eval.json" perplexity)
  echo "$1 $a, $2 $b"
  awk -v a="$a" -v b="$b" 'BEGIN { exit !(a > 1 && a < b) }' || fail "$1 ($a) is not better than $2 ($b)"
}
less ours-2.5 rtn-2.5
less ours-3.25 rtn-3.25
less ours-3.25 ours-2.5
less gptq-2.5 ours-2.5
less gptq-2.5 uniform-gptq-2.5
less uniform-gptq-2.5 rtn-2.5
finish

#!/usr/bin/env bash
# eval --compute packed: perplexity and logits of the dequantized weights to rounding, on any number of ranks, in less memory;
# refused where there are no packed weights.
. "$(dirname "$0")/../support/shell.sh"

evaluate() { # FOLDER RANKS COMPUTE: into eval.json, against the same folder dequantized
  run "$2" eval "$1" --tokens "$heldout" --seqs 6 --seqlen 128 --compute "$3" --ref "$1" --json "$dir/eval.json"
}

# The folder $dir/$1: packed products give what its dequantized weights give.
holds() {
  mode=$1
  packed=
  for ranks in 1 3; do
    evaluate "$dir/$mode" $ranks packed
    now=$(value "$dir/eval.json" loss)
    [ "$now" = "${packed:-$now}" ] || fail "$mode: another loss on $ranks ranks"
    packed=$now
  done
  # In f32 the sums are those of another order: perplexity was 1e-7 of itself away, logits by 1e-8 nats of KL divergence.
  /usr/bin/python3 - "$dir/eval.json" <<'PYTHON' || fail "$mode: packed weights give another result"
import json, sys
got = json.load(open(sys.argv[1]))
apart = abs(got["perplexity"] / got["ref_perplexity"] - 1)
assert 0 < apart < 1e-4, apart
assert abs(got["mean_kl"]) < 1e-6 and got["top1_agreement"] > 0.995, got
PYTHON
}

for mode in none fused indexed; do
  run 2 quantize "$model" --calib "$calib" --seqs 4 --seqlen 48 --bits 2.6 --trades 0 --quantizer rtn --block 64x64 \
    --reorder $mode -o "$dir/$mode"
  holds $mode
done
for mode in none indexed; do
  run 2 quantize "$model" --method rtn --bits 2.2 --codes trellis --calib "$calib" --seqs 2 --seqlen 48 --quantizer rtn \
    --tune-seqs 0 --reorder $mode -o "$dir/trellis-$mode"
  holds trellis-$mode
done

# Bigger blocks of weights than activations: short sequences. A layer's weights in f32 are 0.8 MB here.
peak() { # COMPUTE
  run 1 eval "$dir/none" --tokens "$heldout" --seqs 1 --seqlen 16 --compute "$1" --threads 1 --json "$dir/eval.json"
  value "$dir/eval.json" peak_resident_bytes
}
dense=$(peak f32) packed=$(peak packed)
[ "$packed" -lt "$dense" ] || fail "packed weights take $packed bytes, dequantized ones $dense"

for ranks in 1 2; do
  wrong=2 refuses $ranks "--compute packed: .* has no manifest.json" eval "$model" --tokens "$heldout" --compute packed
done
if "$mpirun" 1 "$shardbits" quantize "$model" --calib "$calib" --bits 3 -o "$dir/not" --compute packed 2>"$dir/err"; then
  fail "quantize takes --compute packed"
fi
finish

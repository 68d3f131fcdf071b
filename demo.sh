#!/usr/bin/env bash
# Installs what is missing, builds, and runs the main job on the embedded model over 2 ranks.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")"
. tools/setup.sh

model=data/demo-llama calib=data/calib.bin heldout=data/heldout.bin out=build/demo ranks=2
budgets="2.5 3.25"
seqlen=256 # what the model was trained on

# shellcheck disable=SC2086
install_missing $build_packages
build release
shardbits=build/release/shardbits
rm -rf "$out"
mkdir -p "$out"
began=$SECONDS

step() { printf '\n== %s\n' "$*"; }
evaluate() { # NAME PATH
  on_ranks $ranks $shardbits eval "$2" --tokens $heldout --seqlen $seqlen --quiet --json "$out/$1.eval.json" >/dev/null
}

show() { printf 'perplexity %.3f\n' "$(json_number "$out/$1.eval.json" perplexity)"; }

step "The model"
$shardbits inspect $model
step "Full precision: perplexity on held-out text"
evaluate full $model
show full
for bits in $budgets; do
  step "Budget $bits bits a weight: uniform rounding"
  on_ranks $ranks $shardbits quantize $model --bits "$bits" --method rtn -o "$out/rtn-$bits" \
    --json "$out/rtn-$bits.json" --quiet >/dev/null
  evaluate "rtn-$bits" "$out/rtn-$bits"
  show "rtn-$bits"
  step "Budget $bits bits a weight: uniform GPTQ"
  on_ranks $ranks $shardbits quantize $model --calib $calib --bits "$bits" --method rtn --quantizer gptq --refine 0 --tune-seqs 0 \
    -o "$out/gptq-$bits" --json "$out/gptq-$bits.json" --quiet >/dev/null
  evaluate "gptq-$bits" "$out/gptq-$bits"
  show "gptq-$bits"
  step "Budget $bits bits a weight: bits where they matter, codes refined, scales trained ($ranks ranks)"
  on_ranks $ranks $shardbits quantize $model --calib $calib --bits "$bits" -o "$out/ours-$bits" \
    --json "$out/ours-$bits.json"
  evaluate "ours-$bits" "$out/ours-$bits"
  show "ours-$bits"
  step "Every frame of its shards"
  on_ranks $ranks $shardbits verify "$out/ours-$bits"
done

# A file as large as that of uniform rounding: embedding and LM head make room for the layers.
size=$(awk -v b="$(json_number "$out/rtn-${budgets%% *}.json" file_bytes)" 'BEGIN { printf "%.6fMB", b / 1e6 }')
step "A file of $size, as that of uniform rounding to ${budgets%% *} bits"
on_ranks $ranks $shardbits quantize $model --calib $calib --size "$size" -o "$out/size" --json "$out/size.json"
evaluate size "$out/size"
show size

row() { # LABEL BITS STORED PERPLEXITY
  awk -v label="$1" -v bits="$2" -v stored="$3" -v ppl="$4" -v full="$(json_number $out/full.eval.json perplexity)" \
    'BEGIN { printf "  %-34s %10.2f %12s %12.3f %+10.1f%%\n", label, bits, stored, ppl, 100 * (ppl / full - 1) }'
}
stored_of() { awk -v b="$(json_number "$1" stored_bytes)" 'BEGIN { printf "%.2f MB", b / 1e6 }'; }
source_stored() { # all files of weights
  awk -v b="$(cat $model/*.safetensors | wc -c)" 'BEGIN { printf "%.2f MB", b / 1e6 }'
}

printf '\n%s\n\n' "How well the model predicts text it has not seen (perplexity: lower is better)"
printf '  %-34s %10s %12s %12s %11s\n' "" "bits a" "all files" "perplexity" "against"
printf '  %-34s %10s %12s %12s %11s\n' "linear layers" "weight" "" "" "original"
row "original (bf16)" 16 "$(source_stored)" "$(json_number $out/full.eval.json perplexity)"
for bits in $budgets; do
  row "uniform rounding, budget $bits" "$(json_number "$out/rtn-$bits.json" effective_bits)" \
    "$(stored_of "$out/rtn-$bits.json")" "$(json_number "$out/rtn-$bits.eval.json" perplexity)"
  row "uniform GPTQ, budget $bits" "$(json_number "$out/gptq-$bits.json" effective_bits)" \
    "$(stored_of "$out/gptq-$bits.json")" "$(json_number "$out/gptq-$bits.eval.json" perplexity)"
  row "shardbits, budget $bits" "$(json_number "$out/ours-$bits.json" effective_bits)" \
    "$(stored_of "$out/ours-$bits.json")" "$(json_number "$out/ours-$bits.eval.json" perplexity)"
done
row "shardbits, --size $size" "$(json_number "$out/size.json" effective_bits)" \
  "$(stored_of "$out/size.json")" "$(json_number "$out/size.eval.json" perplexity)"
runs=("$out"/full.eval.json)
for name in $(for b in $budgets; do echo "rtn-$b" "gptq-$b" "ours-$b"; done) size; do runs+=("$out/$name.json" "$out/$name.eval.json"); done
$shardbits report "${runs[@]}" -o "$out/report.html" --quiet >/dev/null
cat <<END

Bits a weight count everything a reader needs: codes, scales, zero points, bit maps. Uniform rounding and GPTQ take the
largest whole number of bits that fits the budget, and leave embedding and LM head as they are; shardbits gives these the
width at which a byte buys as much as in the layers. All of it is in "all files".
The results are in $out ($((SECONDS - began)) s); $PWD/$out/report.html shows them in a browser. Your own model, a Hugging Face folder of the Llama family:

  mpirun -n 2 $shardbits quantize MODEL --calib TEXT.txt --bits 3.25 -o OUT
END

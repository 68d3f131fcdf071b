#!/usr/bin/env bash
# bench/results.sh WORK [SMOLLM2]: the tables of docs/results.md, as Markdown on stdout: what every part of the method is worth,
# and the baselines, at six budgets, on the demo model and, where its folder is given (tools/get_smollm2.sh), on SmolLM2-135M.
# Everything a case leaves is in WORK; cases that are there are not run again. SHARDBITS names the program, RANKS the ranks,
# BUDGETS other budgets, CASES other rows, COMPUTE the arithmetic of calibration on SmolLM2 (bf16).
set -euo pipefail
work=$(mkdir -p "$1" && readlink -f "$1")
smollm2=${2:+$(readlink -f "$2")}
cd "$(dirname "$(readlink -f "$0")")/.."
. tools/setup.sh
shardbits=${SHARDBITS:-build/release/shardbits}
ranks=${RANKS:-2}
budgets=${BUDGETS:-2.1 2.3 2.5 3.1 3.5 4.1}
cases=${CASES:-uniform uniform-gptq uniform-refined uniform-tuned layer table table-tuned blocks reordered traded gptq refined tuned path second
  indexed divergence-rtn divergence divergence-indexed}

. bench/rows.sh

label() {
  case $1 in
  uniform) echo "uniform, RTN" ;;
  uniform-gptq) echo "uniform, GPTQ" ;;
  uniform-refined) echo "uniform, GPTQ, fitted grids, refined" ;;
  uniform-tuned) echo "uniform, GPTQ, fitted grids, refined, trained scales" ;;
  layer) echo "one width a matrix, GPTQ, refined" ;;
  table) echo "no search: diagonal Fisher, fused order, GPTQ, refined" ;;
  table-tuned) echo "the same, trained scales" ;;
  blocks) echo "blocks, one-shot, RTN" ;;
  reordered) echo "+ fused order" ;;
  traded) echo "+ progressive" ;;
  gptq) echo "+ GPTQ" ;;
  refined) echo "+ refined" ;;
  tuned) echo "**+ trained scales**" ;;
  path) echo "as refined, without trades" ;;
  second) echo "as refined, gains by first and second order" ;;
  indexed) echo "as refined, in indexed order" ;;
  divergence-rtn) echo "by divergence, fused order, RTN" ;;
  divergence) echo "by divergence, fused order, GPTQ, refined" ;;
  divergence-indexed) echo "by divergence, indexed order, GPTQ, refined" ;;
  esac
}

options() { # CASE PREFIX BUDGET FINEST: quantize's options
  local bits=$work/$2-$3 fisher="--sensitivity fisher" divergence="--sensitivity divergence" rtn="--quantizer rtn" untuned="--tune-seqs 0"
  case $1 in
  uniform) echo "--method rtn --block 128x$4" ;;
  uniform-gptq) echo "--method rtn --block 128x$4 --quantizer gptq $untuned --refine 0" ;;
  uniform-refined) echo "--method rtn --block 128x$4 --quantizer gptq $untuned --grid fitted" ;;
  uniform-tuned) echo "--method rtn --block 128x$4 --quantizer gptq --grid fitted" ;;
  layer) echo "--method layer $untuned" ;;
  table) echo "--method table --reorder fused --allocation $bits-table.bits $untuned" ;;
  table-tuned) echo "--method table --reorder fused --allocation $bits-table.bits" ;;
  blocks) echo "$rtn $fisher --trades 0 --reorder none" ;;
  reordered) echo "$rtn $fisher --trades 0 --reorder fused --allocation $bits-path.bits" ;;
  traded) echo "$rtn $fisher --reorder fused --allocation $bits-fused.bits" ;;
  gptq) echo "$fisher --reorder fused --allocation $bits-fused.bits $untuned --refine 0" ;;
  refined) echo "$fisher --reorder fused --allocation $bits-fused.bits $untuned" ;;
  tuned) echo "$fisher --reorder fused --allocation $bits-fused.bits" ;;
  path) echo "$fisher --trades 0 --reorder fused --allocation $bits-path.bits $untuned" ;;
  second) echo "--sensitivity second --reorder fused $untuned" ;;
  indexed) echo "$fisher --reorder indexed $untuned" ;;
  divergence-rtn) echo "$rtn $divergence --reorder fused --allocation $bits-divergence.bits" ;;
  divergence) echo "$divergence --reorder fused --allocation $bits-divergence.bits $untuned" ;;
  divergence-indexed) echo "$divergence --reorder indexed $untuned" ;;
  esac
}

row() { # CASE PREFIX MODEL CALIB HELDOUT SEQS SEQLEN COMPUTE BUDGET FINEST
  local case=$1 prefix=$2 model=$3 calib=$4 heldout=$5 seqs=$6 seqlen=$7 compute=$8 budget=$9 finest=${10}
  local name=$prefix-$budget-$case
  case $case in uniform*) [ -n "$finest" ] || return 0 ;; esac
  # shellcheck disable=SC2046
  once "$work/$name.json" run quantize "$model" --calib "$calib" --bits "$budget" --head-bits 16 --embed-bits 16 --compute "$compute" -o "$work/$name" \
    --overwrite --quiet --json "$work/$name.json" $(options "$case" "$prefix" "$budget" "$finest")
  once "$work/$name.eval.json" run eval "$work/$name" --ref "$model" --tokens "$heldout" --seqs "$seqs" --seqlen "$seqlen" \
    --quiet --json "$work/$name.eval.json"
  rm -rf "${work:?}/$name"
  awk -v b="$budget" -v l="$(label "$case")" -v e="$(number "$name" effective_bits)" -v p="$(number "$name.eval" perplexity)" \
    -v k="$(number "$name.eval" mean_kl)" -v t="$(number "$name.eval" top1_agreement)" -v s="$(number "$name" seconds)" \
    'BEGIN { printf "| %s | %s | %.3f | %.2f | %.3f | %.1f%% | %.0f |\n", b, l, e, p, k, 100 * t, s }'
}

table() { # PREFIX MODEL CALIB HELDOUT SEQS SEQLEN COMPUTE
  local prefix=$1 model=$2 budget case fit
  shift
  once "$work/$prefix-full.eval.json" run eval "$model" --tokens "$3" --seqs "$4" --seqlen "$5" --quiet \
    --json "$work/$prefix-full.eval.json"
  printf 'Full precision: perplexity %.3f on %d tokens.\n\n' "$(number "$prefix-full.eval" perplexity)" \
    "$(number "$prefix-full.eval" tokens)"
  echo "| budget | allocation, rounding | effective bits | perplexity | KL divergence | top-1 agreement | seconds |"
  echo "| ---: | --- | ---: | ---: | ---: | ---: | ---: |"
  for budget in $budgets; do
    fit=$(finest "$model" "$budget")
    for case in $cases; do row "$case" "$prefix" "$@" "$budget" "$fit"; done
  done
}

if [ -z "${SKIP_DEMO:-}" ]; then
  echo "### The demo model (4.2 M parameters, data/demo-llama)"
  echo
  table demo data/demo-llama data/calib.bin data/heldout.bin 256 256 f32
fi
[ -n "$smollm2" ] || exit 0
echo
echo "### SmolLM2-135M-Instruct"
echo
table smollm2 "$smollm2" "$smollm2/calib.bin" "$smollm2/heldout.bin" 32 512 "${COMPUTE:-bf16}"

#!/usr/bin/env bash
# bench/constraints.sh WORK [MODEL CALIB HELDOUT]: what it costs that a server takes one width for a matrix, or one for all that it fuses, or
# few widths: a table as Markdown on stdout, at six budgets, on the demo model unless another is named. Orders, groups of 64, fp16 scales,
# rounding and training are the same in all rows but those of uniform widths, whose groups fill the budget. Everything a case leaves is in
# WORK; cases that are there are not run again. SHARDBITS names the program, RANKS the ranks, BUDGETS other budgets, CASES other rows,
# SEQS the windows of 256 tokens that are evaluated.
set -euo pipefail
work=$(mkdir -p "$1" && readlink -f "$1")
model=${2:+$(readlink -f "$2")} calib=${3:+$(readlink -f "$3")} heldout=${4:+$(readlink -f "$4")}
cd "$(dirname "$(readlink -f "$0")")/.."
. tools/setup.sh
shardbits=${SHARDBITS:-build/release/shardbits}
ranks=${RANKS:-2}
. bench/rows.sh
: "${model:=data/demo-llama}" "${calib:=data/calib.bin}" "${heldout:=data/heldout.bin}"
budgets=${BUDGETS:-2.3 2.6 2.9 3.3 3.8 4.3}
cases=${CASES:-block matrix tied four layer eight uniform}

label() {
  case $1 in
  block) echo "a width a block" ;;
  matrix) echo "a width a matrix" ;;
  tied) echo "a width for what is fused (\`--widths-for vllm\`)" ;;
  four) echo "a width a matrix, of 2, 3, 4 and 8 bits (\`--widths-for gptq\`)" ;;
  layer) echo "as for vllm, without a search (\`--method layer\`)" ;;
  eight) echo "as for vllm, of 4 and 8 bits, signed (\`--widths-for sglang\`)" ;;
  uniform) echo "uniform, GPTQ" ;;
  esac
}

options() { # CASE BUDGET: quantize's; nothing where there is no such row
  local same="--block 128x64 --scale-type fp16 --reorder fused" cols
  case $1 in
  block) echo "$same" ;;
  matrix) echo "$same --widths-for mlx" ;;
  tied) echo "$same --widths-for vllm" ;;
  four) echo "$same --widths-for gptq" ;;
  layer) echo "$same --widths-for vllm --method layer" ;;
  eight) # where its kernel takes the shapes, and 4 bits fit
    awk -v b="$2" 'BEGIN { exit b < 4.2 }' && run inspect "$model" | grep -q "for sglang  *yes" && echo "$same --widths-for sglang" ;;
  uniform)
    cols=$(finest "$model" "$2")
    [ -z "$cols" ] || echo "--method rtn --block 128x$cols --quantizer gptq --refine 0 --tune-seqs 0"
    ;;
  esac || true
}

row() { # CASE BUDGET
  local name=$2-$1 chosen
  if [ ! -s "$work/$name.eval.json" ]; then
    chosen=$(options "$1" "$2")
    [ -n "$chosen" ] || return 0
    # shellcheck disable=SC2086
    once "$work/$name.json" run quantize "$model" --calib "$calib" --bits "$2" --head-bits 16 --embed-bits 16 -o "$work/$name" --overwrite \
      --quiet --json "$work/$name.json" $chosen
    once "$work/$name.eval.json" run eval "$work/$name" --ref "$model" --tokens "$heldout" --seqs "${SEQS:-64}" --seqlen 256 --quiet \
      --json "$work/$name.eval.json"
    rm -rf "${work:?}/$name"
  fi
  awk -v b="$2" -v l="$(label "$1")" -v e="$(number "$name" effective_bits)" -v p="$(number "$name.eval" perplexity)" \
    -v k="$(number "$name.eval" mean_kl)" -v f="$(number "$2-block.eval" mean_kl)" -v t="$(number "$name.eval" top1_agreement)" \
    'BEGIN { printf "| %s | %s | %.3f | %.2f | %.4f | %+.0f%% | %.1f%% |\n", b, l, e, p, k, 100 * (k / f - 1), 100 * t }'
}

echo "| budget | widths | effective bits | perplexity | KL divergence | against a block | top-1 agreement |"
echo "| ---: | --- | ---: | ---: | ---: | ---: | ---: |"
for budget in $budgets; do
  for case in $cases; do row "$case" "$budget"; done
done

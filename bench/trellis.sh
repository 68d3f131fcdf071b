#!/usr/bin/env bash
# bench/trellis.sh WORK [SMOLLM2]: trellis codes against integer grids at equal budgets, everything else as it is by default, as
# Markdown on stdout: on the demo model and, where its folder is given (tools/get_smollm2.sh), on SmolLM2-135M, 16 windows of 1024
# tokens that calibration never saw. Everything a case leaves is in WORK; cases that are there are not run again. SHARDBITS names the
# program, RANKS the ranks, BUDGETS other budgets, CASES other rows, COMPUTE the arithmetic of calibration on SmolLM2 (bf16),
# SKIP_DEMO=1 leaves the demo model out. WRITE=1 puts the tables into docs/results.md, between its marks "bench/trellis.sh".
set -euo pipefail
work=$(mkdir -p "$1" && readlink -f "$1")
smollm2=${2:+$(readlink -f "$2")}
cd "$(dirname "$(readlink -f "$0")")/.."
. tools/setup.sh
shardbits=${SHARDBITS:-build/release/shardbits}
ranks=${RANKS:-1}
budgets=${BUDGETS:-2.1 2.5 3.3}
cases=${CASES:-grid grid-matrix trellis trellis-matrix trellis-plain trellis-16}

. bench/rows.sh

label() {
  case $1 in
  grid) echo "integer grid" ;;
  grid-matrix) echo "integer grid, one width a matrix" ;;
  trellis) echo "**trellis**" ;;
  trellis-matrix) echo "trellis, one width a matrix" ;;
  trellis-plain) echo "trellis, nothing trained" ;;
  trellis-16) echo "trellis, 2^16 states" ;;
  exl3) echo "EXL3 (--widths-for exl3)" ;;
  *) echo "$1" ;;
  esac
}

options() { # CASE: quantize's options
  case $1 in
  grid) ;;
  grid-matrix) echo "--method layer" ;;
  trellis) echo "--codes trellis" ;;
  trellis-matrix) echo "--codes trellis --method layer" ;;
  trellis-plain) echo "--codes trellis --tune-seqs 0" ;;
  trellis-16) echo "--codes trellis --trellis-states 16" ;;
  exl3) echo "--widths-for exl3" ;;
  *) echo "no such case: $1" >&2 && exit 2 ;;
  esac
}

row() { # CASE PREFIX MODEL CALIB HELDOUT SEQS SEQLEN COMPUTE BUDGET
  local case=$1 prefix=$2 model=$3 calib=$4 heldout=$5 seqs=$6 seqlen=$7 compute=$8 budget=$9
  local name=$prefix-$budget-$case grid=$prefix-$budget-grid
  # shellcheck disable=SC2046
  once "$work/$name.json" run quantize "$model" --calib "$calib" --bits "$budget" --head-bits 16 --embed-bits 16 --compute "$compute" -o "$work/$name" \
    --overwrite --quiet --json "$work/$name.json" --checkpoint "$work/$name.checkpoint" $(options "$case")
  once "$work/$name.eval.json" run eval "$work/$name" --ref "$model" --tokens "$heldout" --seqs "$seqs" --seqlen "$seqlen" \
    --quiet --json "$work/$name.eval.json"
  rm -rf "${work:?}/$name" "${work:?}/$name.checkpoint"*
  awk -v b="$budget" -v l="$(label "$case")" -v e="$(number "$name" effective_bits)" -v p="$(number "$name.eval" perplexity)" \
    -v f="$(number "$prefix-full.eval" perplexity)" -v k="$(number "$name.eval" mean_kl)" \
    -v g="$(number "$grid.eval" mean_kl)" -v t="$(number "$name.eval" top1_agreement)" -v s="$(number "$name" seconds)" \
    -v o="$(number "$grid" seconds)" \
    'BEGIN { printf "| %s | %s | %.3f | %.3f | %+.1f%% | %.4f | %.2f | %.1f%% | %.0f | %.2f |\n",
             b, l, e, p, 100 * (p / f - 1), k, k / g, 100 * t, s, s / o }'
}

table() { # PREFIX MODEL CALIB HELDOUT SEQS SEQLEN COMPUTE
  local prefix=$1 model=$2 budget case
  shift
  once "$work/$prefix-full.eval.json" run eval "$model" --tokens "$3" --seqs "$4" --seqlen "$5" --quiet \
    --json "$work/$prefix-full.eval.json"
  printf 'Full precision: perplexity %.3f on %d tokens.\n\n' "$(number "$prefix-full.eval" perplexity)" \
    "$(number "$prefix-full.eval" tokens)"
  echo "| budget | codes | effective bits | perplexity | over full precision | KL divergence | of the grid's | top-1 agreement | seconds | of the grid's |"
  echo "| ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
  for budget in $budgets; do
    for case in $cases; do row "$case" "$prefix" "$@" "$budget"; done
  done
}

all() {
  case " $cases " in *" grid "*) ;; *) echo "CASES without grid: there is nothing to compare with" >&2 && exit 2 ;; esac
  printf 'By `bench/trellis.sh`, %s rank(s) with %s core(s) in all, %s (%s).\n' "$ranks" "$(nproc)" \
    "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)" "$(date +%F)"
  if [ -z "${SKIP_DEMO:-}" ]; then
    printf '\n### Trellis codes: the demo model\n\n'
    table demo data/demo-llama data/calib.bin data/heldout.bin 256 256 f32
  fi
  [ -n "$smollm2" ] || return 0
  printf '\n### Trellis codes: SmolLM2-135M-Instruct\n\n'
  table smollm2 "$smollm2" "$smollm2/calib.bin" "$smollm2/heldout.bin" 16 1024 "${COMPUTE:-bf16}"
}

# Replaces what stands between the marks.
write() { # FILE OF TABLES
  local begin='<!-- begin bench/trellis.sh -->' end='<!-- end bench/trellis.sh -->' results=docs/results.md
  grep -qxF -- "$begin" $results && grep -qxF -- "$end" $results || die "$results has no marks: $begin, $end"
  awk -v begin="$begin" -v end="$end" -v tables="$1" '
    $0 == end { inside = 0 }
    !inside
    $0 == begin { inside = 1; print ""; while ((getline line < tables) > 0) print line; print "" }' $results >"$work/results.md"
  cp "$work/results.md" $results
}

all >"$work/tables.md"
cat "$work/tables.md"
[ -z "${WRITE:-}" ] || write "$work/tables.md"

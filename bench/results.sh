#!/usr/bin/env bash
# bench/results.sh WORK [SMOLLM2]: the table of docs/results.md, as Markdown on stdout: perplexity at four budgets, ours
# against uniform rounding, on the demo model and, where its folder is given (tools/get_smollm2.sh), on SmolLM2-135M.
# Everything a case leaves is in WORK; cases that are there are not run again. SHARDBITS names the program, RANKS the ranks,
# BUDGETS other budgets, COMPUTE the arithmetic of calibration on SmolLM2 (bf16).
set -euo pipefail
work=$(mkdir -p "$1" && readlink -f "$1")
smollm2=${2:+$(readlink -f "$2")}
cd "$(dirname "$(readlink -f "$0")")/.."
. tools/setup.sh
shardbits=${SHARDBITS:-build/release/shardbits}
ranks=${RANKS:-2}
budgets=${BUDGETS:-2.25 2.5 3.25 4.25}

once() { # FILE COMMAND ...: unless FILE is there
  local file=$1
  shift
  [ -s "$file" ] || { "$@" >&2 && [ -s "$file" ]; }
}
run() { on_ranks "$ranks" "$shardbits" "$@"; }

# The finest groups whose uniform rounding fits: columns of a block, largest width first.
finest_block() { # MODEL BUDGET
  local cols eff best="" best_bits=0 bits
  for cols in 32 40 48 56 64 72 80 88 96 104 112 120 128; do
    "$shardbits" inspect "$1" --block "128x$cols" --quiet --json "$work/inspect.json" >/dev/null
    bits=$(tr -d ' \n' <"$work/inspect.json" | sed 's/.*"uniform_effective_bits":\[\([^]]*\)\].*/\1/' | tr , '\n' |
      awk -v budget="$2" '$1 <= budget { n = NR } END { print n + 0 }')
    [ "$bits" -gt "$best_bits" ] && best=$cols best_bits=$bits
  done
  echo "128x$best"
}

measure() { # NAME MODEL HELDOUT EVAL_SEQS SEQLEN -- quantize's options
  local name=$1 model=$2 heldout=$3 seqs=$4 seqlen=$5
  shift 6
  once "$work/$name.json" run quantize "$model" -o "$work/$name" --overwrite --json "$work/$name.json" "$@"
  once "$work/$name.eval.json" run eval "$work/$name" --tokens "$heldout" --seqs "$seqs" --seqlen "$seqlen" \
    --json "$work/$name.eval.json"
  rm -rf "${work:?}/$name"
}

number() { json_number "$work/$1.json" "$2"; }

table() { # PREFIX MODEL CALIB HELDOUT EVAL_SEQS SEQLEN COMPUTE
  local prefix=$1 model=$2 calib=$3 heldout=$4 eval_seqs=$5 seqlen=$6 compute=$7 bits
  once "$work/$prefix-full.eval.json" run eval "$model" --tokens "$heldout" --seqs "$eval_seqs" --seqlen "$seqlen" \
    --json "$work/$prefix-full.eval.json"
  printf 'Full precision: perplexity %.3f on %d tokens.\n\n' "$(number "$prefix-full.eval" perplexity)" \
    "$(number "$prefix-full.eval" tokens)"
  echo "| budget | allocation, rounding | effective bits | perplexity | against the best uniform RTN | seconds |"
  echo "| ---: | --- | ---: | ---: | ---: | ---: |"
  for bits in $budgets; do
    local finest saved=$work/$prefix-$bits.bits common
    finest=$(finest_block "$model" "$bits")
    common="$model $heldout $eval_seqs $seqlen -- --bits $bits --calib $calib --compute $compute"
    # shellcheck disable=SC2086
    {
      measure "$prefix-rtn-$bits" $common --method rtn
      measure "$prefix-fine-$bits" $common --method rtn --block "$finest"
      measure "$prefix-gptq-$bits" $common --method rtn --quantizer gptq
      measure "$prefix-fine-gptq-$bits" $common --method rtn --quantizer gptq --block "$finest"
      measure "$prefix-ours-$bits" $common --allocation "$saved"
      measure "$prefix-ours-gptq-$bits" $common --allocation "$saved" --quantizer gptq
    }
    best=$(printf '%s\n' "$(number "$prefix-rtn-$bits.eval" perplexity)" "$(number "$prefix-fine-$bits.eval" perplexity)" | sort -g | head -n 1)
    row() { # NAME LABEL
      awk -v budget="$bits" -v label="$2" -v bits="$(number "$1" effective_bits)" -v best="$best" \
        -v ppl="$(number "$1.eval" perplexity)" -v s="$(number "$1" seconds)" \
        'BEGIN { printf "| %s | %s | %.3f | %.2f | %+.1f%% | %.0f |\n", budget, label, bits, ppl, 100 * (ppl / best - 1), s }'
    }
    row "$prefix-rtn-$bits" "uniform, RTN"
    row "$prefix-fine-$bits" "uniform in $finest, RTN"
    row "$prefix-gptq-$bits" "uniform, GPTQ"
    row "$prefix-fine-gptq-$bits" "uniform in $finest, GPTQ"
    row "$prefix-ours-$bits" "**shardbits**, RTN"
    row "$prefix-ours-gptq-$bits" "**shardbits**, GPTQ"
  done
}

echo "### The demo model (4.2 M parameters, data/demo-llama)"
echo
table demo data/demo-llama data/calib.bin data/heldout.bin 256 256 f32
[ -n "$smollm2" ] || exit 0
echo
echo "### SmolLM2-135M-Instruct"
echo
table smollm2 "$smollm2" "$smollm2/calib.bin" "$smollm2/heldout.bin" 32 512 "${COMPUTE:-bf16}"

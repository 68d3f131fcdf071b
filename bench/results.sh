#!/usr/bin/env bash
# bench/results.sh WORK [SMOLLM2]: the table of docs/results.md, as Markdown on stdout: perplexity at four budgets, ours
# against uniform rounding, on the demo model and, where its folder is given (tools/get_smollm2.sh), on SmolLM2-135M.
# Everything a case leaves is in WORK; cases that are there are not run again. SHARDBITS names the program, RANKS the ranks.
set -euo pipefail
work=$(mkdir -p "$1" && readlink -f "$1")
smollm2=${2:+$(readlink -f "$2")}
cd "$(dirname "$(readlink -f "$0")")/.."
. tools/setup.sh
shardbits=${SHARDBITS:-build/release/shardbits}
ranks=${RANKS:-2}
budgets="2.25 2.5 3.25 4.25"

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
  echo "| budget | uniform 128x128: bits | perplexity | uniform, finest groups: bits | perplexity | shardbits: bits | perplexity | against the better uniform | search |"
  echo "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
  for bits in $budgets; do
    measure "$prefix-rtn-$bits" "$model" "$heldout" "$eval_seqs" "$seqlen" -- --bits "$bits" --method rtn
    measure "$prefix-fine-$bits" "$model" "$heldout" "$eval_seqs" "$seqlen" -- --bits "$bits" --method rtn \
      --block "$(finest_block "$model" "$bits")"
    measure "$prefix-ours-$bits" "$model" "$heldout" "$eval_seqs" "$seqlen" -- --bits "$bits" --calib "$calib" --compute "$compute"
    awk -v budget="$bits" -v rb="$(number "$prefix-rtn-$bits" effective_bits)" \
      -v rp="$(number "$prefix-rtn-$bits.eval" perplexity)" -v fb="$(number "$prefix-fine-$bits" effective_bits)" \
      -v fp="$(number "$prefix-fine-$bits.eval" perplexity)" -v ob="$(number "$prefix-ours-$bits" effective_bits)" \
      -v op="$(number "$prefix-ours-$bits.eval" perplexity)" -v s="$(number "$prefix-ours-$bits" search_seconds)" \
      'BEGIN { best = rp < fp ? rp : fp
               printf "| %s | %.3f | %.2f | %.3f | %.2f | %.3f | **%.2f** | %+.1f%% | %.0f s |\n",
                      budget, rb, rp, fb, fp, ob, op, 100 * (op / best - 1), s }'
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

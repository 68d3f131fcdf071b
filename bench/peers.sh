#!/usr/bin/env bash
# bench/peers.sh WORK [SMOLLM2]: shardbits beside what people would take at the same file size, as Markdown on stdout: llama.cpp's types
# with importance and, where GPTQ or AUTOROUND are not empty, GPTQModel and AutoRound, on the demo model and, where its folder is given
# (tools/get_smollm2.sh), on SmolLM2-135M: the same tokens, the same windows, bytes on disk, seconds, perplexity and divergence from the
# source. For each file of a peer shardbits makes one that is no larger, of grid and of trellis codes (--size). Everything a case leaves
# is in WORK; cases that are there are not run again. SHARDBITS names the program, RANKS the ranks, THREADS those of llama.cpp, PEERS
# other types (TYPE or TYPE:EMBEDDING), SIZES more sizes in MiB for SmolLM2, MATCH= leaves those of the peers out there, CODES "grid
# trellis", GPTQ the bits of GPTQModel ("3 3:head"), AUTOROUND those of AutoRound ("2.5 3.3"), SKIP_DEMO=1 leaves the demo model out,
# SKIP_OURS=1 shardbits. Python with the packages of tools/requirements-gguf.txt (and -gptq.txt, -autoround.txt) is made in WORK, or named
# by PYTHON (GPTQ_PYTHON, AUTOROUND_PYTHON). COMPUTE is the arithmetic of our calibration on SmolLM2 (bf16). WRITE=1 puts the tables into
# docs/results.md, between marks.
set -euo pipefail
work=$(mkdir -p "$1" && readlink -f "$1")
smollm2=${2:+$(readlink -f "$2")}
cd "$(dirname "$(readlink -f "$0")")/.."
. tools/setup.sh
shardbits=${SHARDBITS:-build/release/shardbits}
ranks=${RANKS:-1}
codes=${CODES:-grid trellis}
threads=${THREADS:-$(nproc)}
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}

. bench/rows.sh
word() { sed -n "s/^  \"$2\": \"\\(.*\\)\",\\{0,1\\}\$/\\1/p" "$work/$1.json" | head -n 1; }
bytes() { find "$1" -type f ! -name config.json ! -name 'generation*' ! -name 'tokenizer*' -printf '%s\n' | awk '{ s += $1 } END { print s + 0 }'; }

# A Python of its own for the packages of a file of tools/; compiles llama.cpp once.
python_for() { # NAME REQUIREMENTS
  local venv=$work/$1
  if ! [ -e "$venv/complete" ]; then
    rm -rf "$venv"
    python3 -m venv "$venv" >&2 && "$venv/bin/pip" install -q --disable-pip-version-check -r "$2" >&2 ||
      die "pip could not install the packages of $2"
    touch "$venv/complete"
  fi
  echo "$venv/bin/python"
}

row() { # LABEL BYTES ON_DISK WEIGHTS PERPLEXITY FULL KL TOP1 ELSEWHERE SECONDS NOTE
  awk -v l="$1" -v b="$2" -v d="$3" -v w="$4" -v p="$5" -v f="$6" -v k="$7" -v t="$8" -v e="$9" -v s="${10}" -v n="${11}" 'BEGIN {
    printf "| %s | %.2f | %.2f | %.3f | %.3f | %+.1f%% | %.4f | %.1f%% | %s | %.0f | %s |\n",
           l, b / 1048576, d / 1048576, 8 * b / w, p, 100 * (p / f - 1), k, 100 * t, e, s, n }'
}

llama_row() { # PREFIX TYPE[:EMBEDDING]
  local name=$1-llama-$2 kind=${2%%:*} embedding="" label=$2
  [ "$kind" = "$2" ] || { embedding="--token-embedding-type ${2#*:}" label="$kind, embedding ${2#*:}"; }
  # shellcheck disable=SC2086
  once "$work/$name.json" "$python" tools/compare_gguf.py "$model" --calib "$calib" --tokens "$heldout" --type "$kind" $embedding \
    --out "$work/$name" --work "$work/$1-source" --seqs $((32768 / seqlen)) --seqlen "$seqlen" --eval-seqs "$seqs" \
    --eval-seqlen "$seqlen" --threads "$threads" --shardbits "$shardbits" --ranks "$ranks" --json "$work/$name.json"
  rm -rf "${work:?}/$name" "$work/$name.gguf"
  weights=$(number "$name" weights)
  row "llama.cpp $label" "$(number "$name" tensor_bytes)" "$(number "$name" file_bytes)" "$weights" \
    "$(number "$name" perplexity)" "$full" "$(number "$name" mean_kl)" "$(number "$name" top1_agreement)" \
    "$(number "$name" llama_perplexity | awk '{ printf "%.3f", $1 }')" "$(number "$name" seconds)" \
    "$(word "$name" types)"
}

gptq_row() { # PREFIX BITS[:head]
  local name=$1-gptq-$2 bits=${2%%:*} head="" note="embedding and head as they are"
  [ "$bits" = "$2" ] || { head=--head note="embedding as it is, head untied from it and quantized"; }
  # shellcheck disable=SC2086
  once "$work/$name.json" "${GPTQ_PYTHON:-$work/gptq/bin/python}" tools/compare_gptq.py "$model" --calib "$calib" \
    --tokens "$heldout" --bits "$bits" --group 64 --act-order $head --out "$work/$name" --overwrite --eval-seqs "$seqs" \
    --eval-seqlen "$seqlen" --shardbits "$shardbits" --ranks "$ranks" --json "$work/$name.json"
  rm -rf "${work:?}/$name"
  row "GPTQModel, $bits bits, groups of 64" "$(number "$name" file_bytes)" "$(number "$name" file_bytes)" "$weights" "$(number "$name" perplexity)" "$full" \
    "$(number "$name" mean_kl)" "$(number "$name" top1_agreement)" "" "$(number "$name" seconds)" "$note"
}

autoround_row() { # PREFIX BITS: effective ones of the layers
  local name=$1-autoround-$2
  once "$work/$name.json" "${AUTOROUND_PYTHON:-$work/autoround/bin/python}" tools/compare_autoround.py "$model" --calib "$calib" \
    --tokens "$heldout" --bits "$2" --group 64 --out "$work/$name" --overwrite --eval-seqs "$seqs" --eval-seqlen "$seqlen" \
    --shardbits "$shardbits" --ranks "$ranks" --json "$work/$name.json"
  rm -rf "${work:?}/$name"
  local weights_of_layers stored
  weights_of_layers=$(number "$name" weights)
  stored=$(awk -v w="$weights_of_layers" -v b="$(number "$name" effective_bits)" -v a="$weights" 'BEGIN { printf "%.0f", w * b / 8 + 2 * (a - w) }')
  row "AutoRound, AutoScheme for $2 bits, groups of 64" "$stored" "$stored" "$weights" "$(number "$name" perplexity)" "$full" \
    "$(number "$name" mean_kl)" "$(number "$name" top1_agreement)" "" "$(number "$name" seconds)" \
    "$(awk -v b="$(number "$name" effective_bits)" 'BEGIN { printf "layers %.2f bits, embedding and head as they are", b }')"
}

our_row() { # PREFIX MIB CODES
  local name=$1-$2-$3
  once "$work/$name.json" run quantize "$model" --calib "$calib" --size "$2MiB" --codes "$3" --compute "$compute" -o "$work/$name" --overwrite --quiet \
    --json "$work/$name.json" --checkpoint "$work/$name.checkpoint"
  [ ! -d "$work/$name" ] || bytes "$work/$name" >"$work/$name.bytes"
  once "$work/$name.eval.json" run eval "$work/$name" --ref "$model" --tokens "$heldout" --seqs "$seqs" --seqlen "$seqlen" \
    --quiet --json "$work/$name.eval.json"
  rm -rf "${work:?}/$name" "$work/$name.checkpoint"*
  row "**shardbits --size $2MiB, $3**" "$(number "$name" file_bytes)" "$(cat "$work/$name.bytes")" "$weights" "$(number "$name.eval" perplexity)" "$full" \
    "$(number "$name.eval" mean_kl)" "$(number "$name.eval" top1_agreement)" "" "$(number "$name" seconds)" \
    "$(awk -v l="$(number "$name" effective_bits)" -v t="$(sed -n 's/^      "bits": *\([0-9.]*\).*/\1/p' "$work/$name.json" | head -n 1)" \
      'BEGIN { printf "layers %.2f bits, embedding %.2f", l, t }')"
}

# What is just below a file of so many bytes, in MiB.
below() { awk -v b="$1" 'BEGIN { printf "%.2f", int(b / 1048576 * 100) / 100 }'; }

table() { # PREFIX MODEL CALIB HELDOUT SEQS SEQLEN PEERS SIZES MATCH COMPUTE
  local prefix=$1 model=$2 calib=$3 heldout=$4 seqs=$5 seqlen=$6 peers=$7 sizes=$8 match=$9 compute=${10} full peer code size weights
  once "$work/$prefix-full.eval.json" run eval "$model" --tokens "$heldout" --seqs "$seqs" --seqlen "$seqlen" --quiet \
    --json "$work/$prefix-full.eval.json"
  full=$(number "$prefix-full.eval" perplexity)
  printf 'Full precision: perplexity %.3f on %d windows of %d tokens.\n\n' "$full" "$seqs" "$seqlen"
  echo "| made by | MiB | MiB on disk | bits a weight | perplexity | over full precision | KL divergence | top-1 agreement | perplexity in llama.cpp | seconds | what it holds |"
  echo "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |"
  for peer in $peers; do
    llama_row "$prefix" "$peer"
    size=$(below "$(number "$prefix-llama-$peer" tensor_bytes)")
    [ -n "${SKIP_OURS:-}" ] || [ -z "$match" ] || for code in $codes; do our_row "$prefix" "$size" "$code"; done
  done
  for peer in ${GPTQ:-}; do gptq_row "$prefix" "$peer"; done
  for peer in ${AUTOROUND:-}; do autoround_row "$prefix" "$peer"; done
  [ -n "${SKIP_OURS:-}" ] || for size in $sizes; do
    for code in $codes; do our_row "$prefix" "$size" "$code"; done
  done
}

all() {
  printf 'By `bench/peers.sh`, %s rank(s) with %s core(s) in all, %s (%s).\n' "$ranks" "$(nproc)" \
    "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)" "$(date +%F)"
  if [ -z "${SKIP_DEMO:-}" ]; then
    printf '\n### Beside llama.cpp: the demo model\n\n'
    table demo data/demo-llama data/calib.bin data/heldout.bin 128 256 "${PEERS:-Q2_K Q3_K_M IQ3_M Q4_K_M}" "" 1 f32
  fi
  [ -n "$smollm2" ] || return 0
  printf '\n### Beside llama.cpp: SmolLM2-135M-Instruct\n\n'
  table smollm2 "$smollm2" "$smollm2/calib.bin" "$smollm2/heldout.bin" 32 512 \
    "${PEERS:-Q2_K Q3_K_M IQ3_M Q4_K_M IQ4_NL:IQ4_NL Q2_0:Q5_1}" "${SIZES:-71.7 50}" "${MATCH-1}" "${COMPUTE:-bf16}"
}

# Replaces what stands between the marks.
write() { # FILE OF TABLES
  local begin='<!-- begin bench/peers.sh -->' end='<!-- end bench/peers.sh -->' results=docs/results.md
  grep -qxF -- "$begin" $results && grep -qxF -- "$end" $results || die "$results has no marks: $begin, $end"
  awk -v begin="$begin" -v end="$end" -v tables="$1" '
    $0 == end { inside = 0 }
    !inside
    $0 == begin { inside = 1; print ""; while ((getline line < tables) > 0) print line; print "" }' $results >"$work/results.md"
  cp "$work/results.md" $results
}

python=${PYTHON:-$(python_for gguf tools/requirements-gguf.txt)}
[ -z "${AUTOROUND:-}" ] || [ -n "${AUTOROUND_PYTHON:-}" ] || python_for autoround tools/requirements-autoround.txt >/dev/null
[ -z "${GPTQ:-}" ] || [ -n "${GPTQ_PYTHON:-}" ] || python_for gptq tools/requirements-gptq.txt >/dev/null
tables=$(mktemp "$work/tables.XXXXXX")
all >"$tables"
mv "$tables" "$work/tables.md"
cat "$work/tables.md"
[ -z "${WRITE:-}" ] || write "$work/tables.md"

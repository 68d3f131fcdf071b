#!/usr/bin/env bash
# bench/snip.sh WORK [SMOLLM2]: the tables of docs/snip.md about training, profiles, policies and quality, as Markdown on stdout,
# with date and machine. WORK keeps all that a case leaves, and cases that are there are not run again: stop it at any time, and start
# it again. SMOLLM2 is a folder of tools/get_smollm2.sh. Environment:
#
#   TABLES     which, in this order: parity bits speed memory profile solver quality scratch adapt smollm2 (default: all; smollm2
#              where its folder is given). quality takes hours on two cores, the others minutes
#   CORPUS     a folder of tools/make_corpus.sh, made in WORK where it is not given
#   BUILD      build folder of the presets test or release (build/test); PYTHON with torch and transformers for `speed`
#   THREADS    2, of one rank: RANKS 1
#   FP4, FP8   nvfp4, fp8-128: the formats that policies choose from
#   BASE       4000 steps of the run that checkpoints are taken of, EVERY 500; POINTS "500 2000 4000" of them
#   BRANCH     300 steps that each case trains on from there; SEEDS "1 2 3" of the order of its data
#   CASES      other rows of `quality`
set -euo pipefail
work=$(mkdir -p "$1" && readlink -f "$1")
smollm2=${2:+$(readlink -f "$2")}
cd "$(dirname "$(readlink -f "$0")")/.."
. tools/setup.sh
build=${BUILD:-build/test} python=${PYTHON:-python3} threads=${THREADS:-2} ranks=${RANKS:-1}
shardbits=$build/shardbits fp4=${FP4:-nvfp4} fp8=${FP8:-fp8-128}
base=${BASE:-4000} every=${EVERY:-500} points=${POINTS:-500 2000 4000} branch=${BRANCH:-300} seeds=${SEEDS:-1 2 3}
cases=${CASES:-bf16 uniform-fp8 uniform-fp4 snip-75 snip-75-gemm snip-50 least-absolute least-relative by-type by-position random all-mlp
  last-high fp8-forward fp4-128 fp4-128-nearest}
tables=${TABLES:-parity bits speed memory profile solver quality scratch adapt${smollm2:+ smollm2}}
corpus=${CORPUS:-$work/corpus}
demo=data/demo-llama
export OMP_WAIT_POLICY=passive

once() { # FILE COMMAND ...: unless FILE is there; whatever it says goes to WORK/log
  local file=$1
  shift
  [ -s "$file" ] || { "$@" >>"$work/log" 2>&1 && [ -s "$file" ]; } || die "no $file: $(tail -n 1 "$work/log")"
}
kept() { # NAME COMMAND ...: its output is kept in WORK/NAME
  local name=$1
  shift
  [ -s "$work/$name" ] || { "$@" >"$work/$name.partial" 2>>"$work/log" || die "$name: $(tail -n 1 "$work/log" "$work/$name.partial")"; }
  [ -s "$work/$name" ] || mv "$work/$name.partial" "$work/$name"
}
run() { on_ranks "$ranks" "$shardbits" "$@" --threads "$threads" --quiet; }
number() { json_number "$work/$1.json" "$2"; }
same() { [ "$(sha256sum <"$1")" = "$(sha256sum <"$2")" ] && echo same || echo DIFFERENT; }

title() { printf '\n### %s\n\n' "$*"; }
head_of() { # COLUMN ...: a table's head; columns but the first are numbers
  local line="| $1 |" rule="| --- |"
  shift
  for column in "$@"; do line+=" $column |" rule+=" ---: |"; done
  printf '%s\n%s\n' "$line" "$rule"
}

# ---- the arithmetic of training ----

table_parity() {
  title "Against PyTorch: transformers with torch.optim.AdamW"
  kept parity on_ranks 1 "$build/tests/train/test_trainer_golden" demo
  grep -o 'demo: .*' "$work/parity" | sed 's/^/- /'
}

train_bits() { # NAME RANKS: 24 steps of the demo model from scratch, in $fp4
  on_ranks "$2" "$shardbits" train "$demo/config.json" --tokens data/calib.bin --steps 24 --batch 10 --seqlen 64 --lr 0.003 \
    --precision "$fp4" --save-every 0 --threads 1 --quiet -o "$work/$1"
}
table_bits() {
  local n
  title "Weights after 24 steps of the demo model in $fp4, and after kills"
  once "$work/bits-1/model.safetensors" train_bits bits-1 1
  for n in 2 3 5; do
    once "$work/bits-$n/model.safetensors" train_bits "bits-$n" "$n"
    echo "- $n ranks: $(same "$work/bits-1/model.safetensors" "$work/bits-$n/model.safetensors") as on one"
  done
  kept kills tests/program/train_kills.sh "$PWD/$shardbits" "$PWD/tests/mpirun.sh" "$PWD" 20
  echo "- $(grep kills "$work/kills"), restarts on 1 to 4 ranks: $(tail -n 1 "$work/kills")"
}

speed_rounds() { # threads may spin: the table is for a machine without other work
  local _
  unset OMP_WAIT_POLICY
  for _ in 1 2 3; do
    OMP_NUM_THREADS=$threads "$python" tools/bench_torch.py "$demo" data/calib.bin --seqs 8 --seqlen 256 --threads "$threads" --train 20
    OMP_NUM_THREADS=$threads on_ranks 1 "$build/bench/bench_train" "$demo" data/calib.bin 8 256 f32 20 fp8-tensor fp8-128 mxfp8 mxfp4 nvfp4 fp4-128
  done
}
table_speed() {
  title "A step of the demo model, 8 x 256 tokens, f32, one rank of $threads threads: the best of three rounds, in turn with PyTorch"
  kept speed speed_rounds
  head_of "" "step, s" "tokens/s" "against PyTorch" "against plain" "exact sums"
  awk '
    /"step"/ { match($0, /"step": [0-9.]*/); s = substr($0, RSTART + 8, RLENGTH - 8) + 0; if (!torch || s < torch) torch = s; next }
    { name = $1; sub(",", "", name); match($0, /step [0-9.]+ s/); s = substr($0, RSTART + 5, RLENGTH - 7) + 0
      match($0, /sums [0-9.]+% of/); x = substr($0, RSTART + 5, RLENGTH - 9)
      if (!(name in best)) order[++n] = name
      if (!(name in best) || s < best[name]) { best[name] = s; sums[name] = x } }
    END { printf "| PyTorch | %.3f | %.0f | 1 | | |\n", torch, 2048 / torch
          for (i = 1; i <= n; i++) { name = order[i]
            printf "| %s | %.3f | %.0f | %.2f | %.2f | %s%% |\n", name, best[name], 2048 / best[name], torch / best[name], best[name] / best["plain"], sums[name] } }' "$work/speed"
}

memory_of() { # RANKS
  on_ranks "$1" "$shardbits" train "$demo/config.json" --tokens data/calib.bin --steps 3 --batch 8 --seqlen 256 --save-every 0 \
    --threads 1 --quiet -o "$work/memory-$1" --json "$work/memory-$1.json"
}
table_memory() {
  local n
  title "Memory of a rank, demo model, 8 x 256 tokens"
  head_of ranks "largest resident set, MiB"
  for n in 1 2 4; do
    once "$work/memory-$n.json" memory_of "$n"
    awk -v n="$n" -v b="$(number "memory-$n" peak_resident_bytes)" 'BEGIN { printf "| %d | %.0f |\n", n, b / 1048576 }'
  done
}

# ---- checkpoints of a run, their profiles and policies ----

need_corpus() { [ -n "${CORPUS:-}" ] || once "$corpus/train.bin" tools/make_corpus.sh "$corpus"; }
base_run() {
  need_corpus
  run train "$demo/config.json" --tokens "$corpus/train.bin" --steps "$base" --batch 8 --seqlen 256 --lr 0.002 --warmup $((base / 40)) \
    --schedule constant --eval-tokens "$corpus/heldout.bin" --eval-seqs 128 --save-every "$every" --keep 0 \
    --events "$work/base.jsonl" -o "$work/base" --json "$work/base.json"
}
point() { printf '%s/base.checkpoints/step-%08d' "$work" "$1"; }
profile_at() { # POINT [ARGUMENT ...]: into WORK/profile-POINT.json
  local from
  from=$(point "$1")
  run profile "$from" --optimizer "$from/optimizer.safetensors" --tokens "$corpus/train.bin" --seqlen 256 --precision "$fp8,$fp4" \
    --json "$work/profile-$1.json" "${@:2}"
}
need_point() {
  once "$work/base.json" base_run
  once "$work/profile-$1.json" profile_at "$1"
}
policy() { # CASE PROFILE: policy file of a case, in WORK
  local out=$work/${2%.json}-$1.policy.json options
  case $1 in
    snip-*-gemm) options="--target 0.$(echo "$1" | cut -d- -f2) --by gemm" ;;
    snip-*) options="--target 0.${1#snip-}" ;;
    all-mlp | last-high | fp8-forward) options="--baseline $1" ;;
    *) options="--baseline $1 --target 0.75" ;;
  esac
  # shellcheck disable=SC2086
  once "$out" "$shardbits" policy "$work/$2" $options -o "$out" --quiet
  echo "$out"
}

truth_at() { # POINT
  local from
  from=$(point "$1")
  run profile "$from" --optimizer "$from/optimizer.safetensors" --tokens "$corpus/train.bin" --seqlen 256 --precision "$fp8,$fp4" \
    --truth --json "$work/truth-$1.json"
}
table_profile() {
  local p
  title "What a profile predicts: $fp8 and $fp4, checkpoints of the demo model"
  for p in $points; do
    need_point "$p"
    kept "truth-$p.txt" truth_at "$p"
    printf '\nStep %s:\n\n```text\n' "$p"
    sed -n '/^rank correlation/,$p' "$work/truth-$p.txt"
    printf '```\n'
  done
  [ -n "$smollm2" ] || return 0
  kept truth-smollm2.txt run profile "$smollm2" --tokens "$smollm2/calib.bin" --seqlen 256 --batch 8 --precision "$fp8,$fp4" --truth \
    --truth-linears 30 --truth-policies 0 --json "$work/truth-smollm2.json"
  printf '\nSmolLM2-135M, 30 linears, moments of 20 batches:\n\n```text\n'
  sed -n '/^rank correlation/,$p' "$work/truth-smollm2.txt"
  printf '```\n'
}

solve() { # NAME ARGUMENT ...
  local name=$1
  shift
  once "$work/solver-$name.json" "$shardbits" policy "$@" --quiet --json "$work/solver-$name.json"
  printf '| %s | %.4f |\n' "$name" "$(number "solver-$name" seconds)"
}
table_solver() {
  local large=$work/70b.json
  title "The solver on a random profile of Llama-3-70B: 560 linears, 8 stages"
  [ -s "$large" ] || python3 tests/program/random_profile.py 80 8192 1024 28672 fp8-128,mxfp8,nvfp4 >"$large"
  head_of "" seconds
  solve "linears-2-precisions" "$large" --target 0.75 --stages 8 --precision fp8-128,nvfp4
  solve "gemms-3-precisions" "$large" --target 0.75 --stages 8 --by gemm
}

# ---- quality ----

precision_of() { # CASE PROFILE: train's options
  case $1 in
    high) ;;
    bf16) echo "--compute bf16" ;;
    uniform-fp8) echo "--precision $fp8" ;;
    uniform-fp4) echo "--precision $fp4" ;;
    fp4-128) echo "--precision fp4-128" ;;
    fp4-128-nearest) echo "--precision fp4-128 --stochastic off" ;;
    *) echo "--policy $(policy "$1" "$2")" ;;
  esac
}
train_case() { # CASE NAME MODEL PROFILE ARGUMENT ...
  local case=$1 name=$2 model=$3 profile=$4 options
  shift 4
  options=$(precision_of "$case" "$profile")
  # shellcheck disable=SC2086
  run train "$model" $options --eval-tokens "${heldout:-$corpus/heldout.bin}" --eval-seqs 128 --save-every 0 -o "$work/$name" \
    --overwrite --json "$work/$name.json" "$@"
  rm -rf "${work:?}/$name"
}
branch_case() { # CASE POINT SEED
  local from
  from=$(point "$2")
  train_case "$1" "case-$2-$1-$3" "$from" "profile-$2.json" --optimizer "$from/optimizer.safetensors" --tokens "$corpus/train.bin" \
    --steps $(($2 + branch)) --batch 8 --seqlen 256 --lr 0.002 --warmup 0 --schedule constant --seed "$3"
}
# Gap to the high precision, paired by seed: rows of names on stdin, "CASE SHARE LOSS-OF-CASE LOSS-OF-HIGH" for every seed. Failed runs
# have a loss of "nan".
gaps() {
  awk '{ if (!($1 in n)) order[++m] = $1
         share[$1] = $2; n[$1]++; if ($3 == "nan") bad[$1]++; else { g = $3 - $4; sum[$1] += g; squares[$1] += g * g } }
       END { u = n["uniform-fp4"] ? sum["uniform-fp4"] / n["uniform-fp4"] : 0
             for (i = 1; i <= m; i++) { c = order[i]; k = n[c]
               if (bad[c]) { printf "| %s | %.1f%% | no number | | |\n", c, 100 * share[c]; continue }
               mean = sum[c] / k; var = k > 1 ? (squares[c] - k * mean * mean) / (k - 1) : 0
               printf "| %s | %.1f%% | %.4f | %s | %s |\n", c, 100 * share[c], mean,
                      (k > 1 ? sprintf("%.4f", sqrt((var > 0 ? var : 0) / k)) : ""), (u ? sprintf("%.2f", mean / u) : "") } }'
}
row_of() { # CASE NAME HIGH: a line for gaps
  local loss
  loss=$(number "$2" heldout_loss)
  echo "$1 $(number "$2" fp4_share) ${loss:-nan} $(number "$3" heldout_loss)"
}
gap_head() { head_of case "FP4 FLOPs" "gap, nats" "standard error" "of uniform FP4's"; }

table_quality() {
  local p s c
  for p in $points; do
    need_point "$p"
    for s in $seeds; do
      for c in high $cases; do once "$work/case-$p-$c-$s.json" branch_case "$c" "$p" "$s"; done
    done
    title "Held-out loss above high precision after $branch steps from step $p of the demo model; seeds $seeds; FP8 is $fp8, FP4 $fp4"
    gap_head
    for c in $cases; do
      for s in $seeds; do row_of "$c" "case-$p-$c-$s" "case-$p-high-$s"; done
    done | gaps
  done
}

scratch_case() { # CASE
  train_case "$1" "scratch-$1" "$demo/config.json" "profile-${points%% *}.json" --tokens "$corpus/train.bin" --steps "$base" --batch 8 \
    --seqlen 256 --lr 0.002 --warmup $((base / 40)) --schedule cosine --seed 1
}
table_scratch() {
  local c
  need_point "${points%% *}"
  for c in high $cases; do once "$work/scratch-$c.json" scratch_case "$c"; done
  title "The same from scratch: $base steps of 8 x 256 tokens, one seed, policies of a profile at step ${points%% *} of another run"
  gap_head
  for c in $cases; do row_of "$c" "scratch-$c" scratch-high; done | gaps
}

adapt_case() { # NAME ARGUMENT ...
  run train "$demo/config.json" --tokens "$corpus/train.bin" --steps "$base" --batch 8 --seqlen 256 --lr 0.002 --warmup $((base / 40)) --seed 1 \
    --schedule cosine --precision "$fp4" --eval-tokens "$corpus/heldout.bin" --eval-seqs 128 --save-every 0 \
    --events "$work/$1.jsonl" -o "$work/$1" --overwrite --json "$work/$1.json" "${@:2}"
}
table_adapt() {
  need_corpus
  title "train --adapt $every from scratch, $base steps"
  once "$work/adapt.json" adapt_case adapt --adapt "$every" --adapt-precision "$fp8,$fp4" --adapt-target 0.75
  awk -v p="$(number adapt adapt_seconds)" -v n="$(number adapt profiles)" -v all="$(number adapt training_seconds)" \
    'BEGIN { printf "- %d profiles, choices and noise included: %.1f s of %.0f s, %.2f%%\n", n, p, all, 100 * p / all }'
  printf -- '- held-out loss %.4f\n' "$(number adapt heldout_loss)"
  grep '"policy"' "$work/adapt.jsonl" | sed 's/.*"step": \([0-9]*\).*"why": "\([a-z]*\)".*"fp4_share": \([0-9.]*\).*"changed": \([0-9]*\).*/- step \1 (\2): FP4 \3, \4 GEMMs changed/'
}

smollm2_case() { # CASE
  heldout=$work/corpus-smollm2/heldout.bin train_case "$1" "smollm2-$1" "$smollm2" "profile-smollm2.json" \
    --tokens "$work/corpus-smollm2/train.bin" --steps 30 --batch 4 --seqlen 256 --lr 0.0002 --warmup 5 --schedule constant --seed 1
}
table_smollm2() {
  local c
  once "$work/corpus-smollm2/train.bin" tools/make_corpus.sh --tokenizer "$smollm2" "$work/corpus-smollm2"
  once "$work/profile-smollm2.json" run profile "$smollm2" --tokens "$work/corpus-smollm2/train.bin" --seqlen 256 --batch 4 \
    --precision "$fp8,$fp4" --json "$work/profile-smollm2.json"
  for c in high uniform-fp4 snip-75 all-mlp last-high least-relative; do once "$work/smollm2-$c.json" smollm2_case "$c"; done
  title "SmolLM2-135M, 30 steps of 4 x 256 tokens, one seed"
  gap_head
  for c in uniform-fp4 snip-75 all-mlp last-high least-relative; do row_of "$c" "smollm2-$c" smollm2-high; done | gaps
}

printf 'Made by `bench/snip.sh` on %s, %s, %s.\n' "$(date -I)" "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)" "$(nproc) cores"
for table in $tables; do "table_$table"; done

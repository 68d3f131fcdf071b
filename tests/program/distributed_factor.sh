#!/usr/bin/env bash
# Second moments spread over the ranks: the same frames on the same number of ranks however they got there, and a model as
# good as with moments on every rank. And the warning when there are too few tokens for them.
. "$(dirname "$0")/../support/shell.sh"

refine=0
compensate() { # RANKS ARGUMENT ...: prints the content hash
  local ranks=$1
  shift
  run "$ranks" quantize "$model" --method rtn --bits 2.25 --quantizer gptq --tune-seqs 0 --refine $refine --calib "$calib" --round-seqs 45 --seqlen 64 \
    -o "$dir/gptq" --overwrite --json "$dir/gptq.json" "$@"
  value "$dir/gptq.json" content_hash
}
perplexity() {
  run 1 eval "$dir/gptq" --tokens "$heldout" --seqs 16 --seqlen 256 --json "$dir/eval.json"
  value "$dir/eval.json" perplexity
}
near() { # WHAT A B PERCENT
  awk -v a="$2" -v b="$3" -v p="$4" 'BEGIN { d = (a - b) / b * 100; exit !(a > 0 && d < p && d > -p) }' ||
    fail "$1: perplexity $2, with replicated factors $3: more than $4% apart"
}

replicated=$(compensate 2)
[ "$(value "$dir/gptq.json" factor)" = replicated ] || fail "auto: $(value "$dir/gptq.json" factor) for a small model"
expected=$(perplexity)

# A factor differs from the replicated one by rounding. In double precision next to no code does, in single precision some:
# measured 0.0% and up to 0.6% of perplexity on 1 to 7 ranks.
for ranks in 2 4; do
  compensate $ranks --factor distributed >/dev/null
  [ "$(value "$dir/gptq.json" factor)" = distributed ] || fail "another factor than asked for"
  near "distributed, $ranks ranks" "$(perplexity)" "$expected" 0.1
  [ $ranks = 2 ] || continue
  single=$(compensate $ranks --factor distributed-single)
  [ "$(value "$dir/gptq.json" factor)" = distributed-single ] || fail "another factor than asked for"
  [ "$single" != "$replicated" ] || fail "single precision leaves no trace: is it used?"
  near "single precision, $ranks ranks" "$(perplexity)" "$expected" 2
  # the same with other threads, and with the inputs of two sequences kept at a time instead of all
  how="--threads 3 --activation-memory 0.001"
  # shellcheck disable=SC2086
  [ "$(compensate $ranks --factor distributed-single $how)" = "$single" ] ||
    fail "single precision: other frames with $how on $ranks ranks"
done

# Refined, one code that falls to the other side of a tie moves many after it: measured up to 0.9%. A mistake in the moments
# that refining gets from other ranks would undo what it wins, 3% here.
refine=2
unrefined=$expected
replicated=$(compensate 2)
expected=$(perplexity)
awk -v a="$expected" -v b="$unrefined" 'BEGIN { exit !(a < 0.99 * b) }' || fail "refined: perplexity $expected, before $unrefined"
hash=$(compensate 4 --factor distributed)
near "distributed and refined" "$(perplexity)" "$expected" 2
[ "$(compensate 4 --factor distributed --threads 3)" = "$hash" ] || fail "refined: other frames on 3 threads"

# 704 channels are the widest input: 45 x 64 tokens are enough, 12 x 64 few, 10 x 64 too few.
warnings() { # RANKS SEQUENCES: lines of the log
  "$mpirun" "$1" "$shardbits" quantize "$model" --method rtn --bits 2.25 --quantizer gptq --tune-seqs 0 --calib "$calib" \
    --round-seqs "$2" --seqlen 64 -o "$dir/few" --overwrite 2>&1 | grep warning
}
enough='2816 tokens (44 sequences of 64) would do'
[ "$(warnings 1 44)" = "" ] || fail "a warning for 2816 tokens"
few=$(warnings 2 12)
[ "$(grep -c . <<<"$few")" = 1 ] && [[ $few == *"768 calibration tokens are few for the 704 channels"*"$enough" ]] ||
  fail "768 tokens: '$few'"
few=$(warnings 2 10)
[ "$(grep -c . <<<"$few")" = 1 ] && [[ $few == *"640 calibration tokens are too few for the 704 channels"*"singular"*"$enough" ]] ||
  fail "640 tokens: '$few'"
finish

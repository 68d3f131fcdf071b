#!/usr/bin/env bash
# The same bit map, the same frames and the same perplexity on 1, 2, 4 and 7 ranks, with one thread and two, and when
# the sequences have to go in several waves.
. "$(dirname "$0")/../support/shell.sh"

quantize() { # NAME RANKS ARGUMENT ...
  local name=$1 ranks=$2
  shift 2
  run "$ranks" quantize "$model" --calib "$calib" --seqs 5 --seqlen 48 --bits 2.6 --trades 3 \
    --quantizer rtn -o "$dir/$name" --allocation "$dir/$name.bits" --json "$dir/$name.json" "$@"
  run "$ranks" eval "$dir/$name" --tokens "$heldout" --seqs 3 --seqlen 40 --json "$dir/$name.eval.json" "$@"
}

quantize one 1
hash=$(value "$dir/one.json" content_hash)
[ ${#hash} = 16 ] || fail "no content hash: '$hash'"
grep -q '"accepted": true' "$dir/one.json" || fail "no step was accepted: the test sees too little"
for how in "4" "7" "2 --threads 2 --activation-memory 0.001" "4@2"; do
  name=run-${how//[ .@-]/}
  ranks=${how%% *} options=${how#"${how%% *}"}
  unset SHARDBITS_RANKS_PER_NODE
  [ "$ranks" = 4@2 ] && ranks=4 && export SHARDBITS_RANKS_PER_NODE=2 # two nodes of two ranks
  # shellcheck disable=SC2086
  quantize "$name" "$ranks" $options
  [ "$(value "$dir/$name.json" content_hash)" = "$hash" ] || fail "other frames on $how: $(value "$dir/$name.json" content_hash), not $hash"
  cmp -s "$dir/$name.bits" "$dir/one.bits" || fail "another bit map on $how"
  for key in effective_bits calibration_loss; do
    [ "$(value "$dir/$name.json" $key)" = "$(value "$dir/one.json" $key)" ] || fail "another $key on $how"
  done
  for key in perplexity loss tokens; do
    [ "$(value "$dir/$name.eval.json" $key)" = "$(value "$dir/one.eval.json" $key)" ] || fail "another $key on $how"
  done
done

# The other estimators of sensitivity.
search() { # NAME RANKS ESTIMATOR ARGUMENT ...: two of them start where the costs of all widths say
  local name=$1 ranks=$2 estimator=$3 strides=1
  shift 3
  case $estimator in taylor | hessian) strides=0 ;; esac
  run "$ranks" quantize "$model" --calib "$calib" --seqs 5 --seqlen 48 --bits 2.6 --strides $strides --trades 2 \
    --quantizer rtn --sensitivity "$estimator" -o "$dir/$name" --allocation "$dir/$name.bits" "$@"
}
unset SHARDBITS_RANKS_PER_NODE
for estimator in fisher taylor hessian diagonal; do
  search "$estimator" 1 "$estimator"
  search "$estimator-waves" 3 "$estimator" --activation-memory 0.001
  cmp -s "$dir/$estimator.bits" "$dir/$estimator-waves.bits" || fail "$estimator: another bit map on 3 ranks"
  ! cmp -s "$dir/$estimator.bits" "$dir/one.bits" || fail "$estimator: the bit map of divergence"
done

# Error-compensated rounding of the same bits: sums over sequences are exact there too.
compensate() { # RANKS ARGUMENT ...
  local ranks=$1
  shift
  run "$ranks" quantize "$model" --calib "$calib" --round-seqs 5 --seqlen 48 --bits 2.6 --quantizer gptq -o "$dir/gptq" \
    --overwrite --allocation "$dir/one.bits" --json "$dir/gptq.json" "$@"
  value "$dir/gptq.json" content_hash
}
gptq=$(compensate 1)
[ "$gptq" != "$hash" ] || fail "gptq: the same frames as rounding to nearest"
for how in 3 "7 --threads 2"; do
  # shellcheck disable=SC2086
  other=$(compensate $how)
  [ "$other" = "$gptq" ] || fail "gptq: other frames on $how"
done
finish

#!/usr/bin/env bash
# Trellis codes: the same frames on any number of ranks and threads; rounding and training that are cut off go on to the same frames,
# on another number of ranks; a mix of widths is better than one width; what does not go together is refused.
. "$(dirname "$0")/../support/shell.sh"

saved=$dir/state
options=("$model" --codes trellis --bits 2.4 --calib "$calib" --seqs 6 --seqlen 48 --trades 1 --round-seqs 6 --tune-batch 2)

quantize() { # NAME RANKS ARGUMENT ...
  local name=$1 ranks=$2
  shift 2
  run "$ranks" quantize "${options[@]}" -o "$dir/$name" --overwrite --json "$dir/$name.json" "$@"
  value "$dir/$name.json" content_hash
}
hash=$(quantize one 1 --allocation "$dir/bits")
[ ${#hash} = 16 ] || fail "no content hash: '$hash'"
awk -v b="$(value "$dir/one.json" effective_bits)" 'BEGIN { exit !(b > 2.2 && b <= 2.4) }' ||
  fail "$(value "$dir/one.json" effective_bits) effective bits for a budget of 2.4"
run 2 verify "$dir/one"
grep -q '"format_version": 3' "$dir/one/manifest.json" || fail "not a folder of version 3"
for how in "2" "3 --threads 2" "5 --activation-memory 0.001"; do
  # shellcheck disable=SC2086
  other=$(quantize many $how --allocation "$dir/many.bits")
  [ "$other" = "$hash" ] || fail "other frames on $how: $other, not $hash"
  cmp -s "$dir/bits" "$dir/many.bits" || fail "another bit map on $how"
  rm -f "$dir/many.bits"
done
for states in 14 16; do
  other=$(quantize "states-$states" 2 --trellis-states $states --allocation "$dir/bits" --tune-seqs 0)
  [ "$other" != "$hash" ] || fail "2^$states states make the frames of 2^12"
done

# Passes of the folder give what its floats give.
evaluate() { # NAME RANKS
  run "$2" eval "$dir/$1" --tokens "$heldout" --seqs 12 --seqlen 64 --ref "$model" --json "$dir/$1.eval.json"
}
run 3 export "$dir/one" -o "$dir/floats" --dtype f32
evaluate one 1 && evaluate floats 2
for key in perplexity mean_kl; do
  a=$(value "$dir/one.eval.json" $key) b=$(value "$dir/floats.eval.json" $key)
  awk -v a="$a" -v b="$b" 'BEGIN { d = a - b; exit !(b > 0 && d * d <= 1e-10 * b * b) }' || fail "$key of the folder $a, of its floats $b"
done

# A mix that is worse than none does not pass.
quantize flat 2 --method rtn --quantizer gptq >/dev/null
quantize matrices 2 --method layer >/dev/null
evaluate flat 2 && evaluate matrices 2
less() { # A B: of divergence
  awk -v a="$(value "$dir/$1.eval.json" mean_kl)" -v b="$(value "$dir/$2.eval.json" mean_kl)" 'BEGIN { print a, b; exit !(a > 0 && a < b) }' ||
    fail "$1 is not better than $2"
}
less one flat
less matrices flat

# Cut off while layers are rounded, then while factors are trained.
rounding=("${options[@]}" --allocation "$dir/bits" --checkpoint "$saved")
cut_off "$saved.rounded" '"layers": [1-9]' "$dir/cut" quantize "${rounding[@]}"
refuses 2 "another bit map" quantize "${options[@]}" --checkpoint "$saved" --method rtn --quantizer gptq -o "$dir/no"
refuses 1 "$saved.rounded: " quantize "${rounding[@]}" --trellis-states 14 -o "$dir/no"
cut_off "$saved.trained" '"steps": [1-9]' "$dir/cut" quantize "${rounding[@]}"
"$mpirun" 2 "$shardbits" quantize "${rounding[@]}" -o "$dir/again" --json "$dir/again.json" >"$dir/out" 2>"$dir/err" ||
  fail "going on: $(cat "$dir/err")"
grep -q "went on from $saved.trained" "$dir/err" || fail "it trained anew: $(cat "$dir/err")"
[ "$(value "$dir/again.json" content_hash)" = "$hash" ] || fail "other frames than without interruption"
[ -z "$(find "$dir" -name 'state.*')" ] || fail "left beside a complete output: $(ls "$dir")"

# Bad input.
refused "--trellis-states is of --codes trellis" quantize "$model" --method rtn --bits 3 --trellis-states 14 -o "$out"
refused "--symmetric is of grids" quantize "$model" --method rtn --bits 3 --codes trellis --symmetric -o "$out"
cp -r "$dir/one" "$dir/newer" && sed -i 's/"format_version": 3/"format_version": 4/' "$dir/newer/manifest.json"
refused "manifest.json: .*version" eval "$dir/newer" --tokens "$heldout"
cp -r "$dir/one" "$dir/odd" && sed -i 's/"codes": "trellis-12"/"codes": "trellis-13"/' "$dir/odd/manifest.json"
refused "manifest.json: .*trellis-13" export "$dir/odd" -o "$out"
finish

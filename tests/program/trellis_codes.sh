#!/usr/bin/env bash
# Trellis codes: the same frames on any number of ranks and threads; rounding and training that are cut off go on to the same frames,
# on another number of ranks; a mix of widths is better than one width; what does not go together is refused. The model is the first
# two layers of the demo model: finding codes takes most of the time.
. "$(dirname "$0")/../support/shell.sh"

small=$dir/small
cp -r "$model" "$small" && chmod -R u+w "$small" && /usr/bin/python3 "$source/tests/program/spoil_model.py" "$small" layers 2
options=("$small" --codes trellis --bits 2.4 --reorder fused --calib "$calib" --seqs 6 --seqlen 48 --round-seqs 6 --tune-batch 2)

quantize() { # NAME RANKS ARGUMENT ...
  local name=$1 ranks=$2
  shift 2
  run "$ranks" quantize "${options[@]}" -o "$dir/$name" --overwrite --json "$dir/$name.json" "$@"
  hash=$(value "$dir/$name.json" content_hash)
}
quantize one 1 --allocation "$dir/bits"
first=$hash
[ ${#first} = 16 ] || fail "no content hash: '$first'"
awk -v b="$(value "$dir/one.json" effective_bits)" 'BEGIN { exit !(b > 2.2 && b <= 2.4) }' ||
  fail "$(value "$dir/one.json" effective_bits) effective bits for a budget of 2.4"
run 2 verify "$dir/one"
grep -q '"format_version": 3' "$dir/one/manifest.json" || fail "not a folder of version 3"
quantize three 3 --threads 2 --allocation "$dir/three.bits"
cmp -s "$dir/bits" "$dir/three.bits" || fail "another bit map on 3 ranks"
[ "$hash" = "$first" ] || fail "other frames on 3 ranks: $hash, not $first"
for how in 2 "5 --activation-memory 0.001"; do
  # shellcheck disable=SC2086
  quantize many $how --allocation "$dir/bits"
  [ "$hash" = "$first" ] || fail "other frames on $how: $hash, not $first"
done

# Passes of the folder give what its floats give.
evaluate() { # NAME RANKS
  run "$2" eval "$dir/$1" --tokens "$heldout" --seqs 12 --seqlen 64 --ref "$small" --json "$dir/$1.eval.json"
}
run 3 export "$dir/one" -o "$dir/floats" --dtype f32
evaluate one 1 && evaluate floats 2
for key in perplexity mean_kl; do
  a=$(value "$dir/one.eval.json" $key) b=$(value "$dir/floats.eval.json" $key)
  awk -v a="$a" -v b="$b" 'BEGIN { d = a - b; exit !(b > 0 && d * d <= 1e-10 * b * b) }' || fail "$key of the folder $a, of its floats $b"
done

# A mix that is worse than none does not pass; one width for all leaves some of the budget over.
quantize flat 2 --method rtn --quantizer gptq --head-bits 5 # about what the mix gives them
evaluate flat 2
awk -v a="$(value "$dir/one.eval.json" mean_kl)" -v b="$(value "$dir/flat.eval.json" mean_kl)" \
  'BEGIN { print "divergence of the mix " a ", of one width " b; exit !(a > 0 && a < b) }' || fail "a mix that is worse than none"

# Cut off while layers are rounded, then while factors are trained.
saved=$dir/state
rounding=("${options[@]}" --allocation "$dir/bits" --checkpoint "$saved")
cut_off "$saved.rounded" '"groups": [1-9]' "$dir/cut" quantize "${rounding[@]}"
refuses 2 "another bit map" quantize "${options[@]}" --checkpoint "$saved" --method rtn --quantizer gptq -o "$dir/no"
refuses 1 "bits: made for codes of trellis-12, here they are of trellis-14" quantize "${rounding[@]}" --trellis-states 14 -o "$dir/no"
cut_off "$saved.trained" '"steps": [1-9]' "$dir/cut" quantize "${rounding[@]}"
"$mpirun" 2 "$shardbits" quantize "${rounding[@]}" -o "$dir/again" --json "$dir/again.json" >"$dir/out" 2>"$dir/err" ||
  fail "going on: $(cat "$dir/err")"
grep -q "went on from $saved.trained" "$dir/err" || fail "it trained anew: $(cat "$dir/err")"
[ "$(value "$dir/again.json" content_hash)" = "$first" ] || fail "other frames than without interruption"
[ -z "$(find "$dir" -name 'state.*')" ] || fail "left beside a complete output: $(ls "$dir")"

# Bad input.
cp -r "$dir/one" "$dir/newer" && sed -i 's/"format_version": [0-9]*/"format_version": 99/' "$dir/newer/manifest.json"
refused "manifest.json: .*version" eval "$dir/newer" --tokens "$heldout"
cp -r "$dir/one" "$dir/odd" && sed -i 's/"codes": "trellis-12"/"codes": "trellis-13"/' "$dir/odd/manifest.json"
refused "manifest.json: .*trellis-13" export "$dir/odd" -o "$out"
wrong=2
refused "trellis-states is of --codes trellis" quantize "$small" --method rtn --bits 3 --trellis-states 14 -o "$out"
refused "symmetric is of grids" quantize "$small" --method rtn --bits 3 --codes trellis --symmetric -o "$out"
finish

#!/usr/bin/env bash
# Compensated rounding that is cut off goes on with the next layer, and training of scales after it with the next step, on another number
# of ranks, to the same frames; layers and scales of anything else, and damaged ones, are refused; nothing of them is left when the
# output is complete.
. "$(dirname "$0")/../support/shell.sh"

saved=$dir/state
rounded=$saved.rounded
options=("$model" --method rtn --bits 2.25 --quantizer gptq --refine 1 --calib "$calib" --round-seqs 12 --seqlen 64
  --tune-batch 2)
left() { [ -n "$(find "$dir" -name "state.*")" ]; }

run 2 quantize "${options[@]}" -o "$dir/whole" --json "$dir/whole.json"
cut_off "$rounded" '"groups": [1-9]' "$dir/cut" quantize "${options[@]}" --checkpoint "$saved"
cp "$rounded" "$dir/good" && cp "$rounded.layers" "$dir/good.layers"

"$mpirun" 2 "$shardbits" quantize "${options[@]}" --checkpoint "$saved" -o "$dir/again" --json "$dir/again.json" >"$dir/out" \
  2>"$dir/err" || fail "going on: $(cat "$dir/err")"
grep -q "went on from $rounded, [1-9] of 5 layers" "$dir/err" || fail "it did not go on: $(cat "$dir/err")"
[ "$(value "$dir/whole.json" content_hash)" = "$(value "$dir/again.json" content_hash)" ] || fail "other frames than without interruption"
left && fail "left beside a complete output: $(ls "$dir")"

restore() { cp "$dir/good" "$rounded" && cp "$dir/good.layers" "$rounded.layers"; }
refused() { # RANKS FILE TEXT ARGUMENT ...
  local ranks=$1 file=$2 text=$3
  shift 3
  refuses "$ranks" "$file: .*$text" quantize "${options[@]}" "$@" --checkpoint "$saved" -o "$dir/no"
  [ ! -e "$dir/no" ] || fail "$text: an output"
}
restore
refused 2 "$rounded" "layers rounded with another --refine: 1 there, 3 here" --refine 3
refused 1 "$rounded" "another calibration" --seed 5
refused 1 "$rounded" "another bit map" --bits 3.25
refused 1 "$rounded" "another --grid" --grid fitted
size=$(stat -c %s "$rounded.layers")
printf '\x55' | dd of="$rounded.layers" bs=1 seek=6000 conv=notrunc status=none # in the first layer, behind the checksums
refused 3 "$rounded.layers" "layer 0 is damaged; remove $rounded"
restore && truncate -s 5000 "$rounded.layers"
refused 2 "$rounded.layers" ""
restore && rm "$rounded.layers"
refused 2 "$rounded.layers" "cannot be opened"
restore && head -c 100 "$dir/good" >"$rounded"
refused 1 "$rounded" "line"
echo '{"format": "something"}' >"$rounded"
refused 1 "$rounded" "not rounded layers of shardbits"
[ "$size" -gt 100000 ] || fail "the test damages too little"

# training: the rounded layers are all there
rm -f "$rounded"*
trained=$saved.trained
cut_off "$trained" '"steps": [1-5],' "$dir/cut" quantize "${options[@]}" --checkpoint "$saved"
cp "$trained.scales" "$dir/good.scales"
refused 2 "$trained" "scales trained with another --tune-rate: 0.01 there, 0.02" --tune-rate 0.02
refused 1 "$trained" "another --tune-batch: 2 there, 3 here" --tune-batch 3
refused 2 "$trained" "another calibration (--calib, --tune-seqs" --tune-seqs 10
cp "$trained" "$dir/good.trained"
sed -i 's/"steps": [0-9]*/"steps": 7/' "$trained"
refused 1 "$trained" "damaged: its checksum does not fit"
/usr/bin/python3 "$source/tests/program/reseal.py" "$trained"
refused 3 "$trained" "damaged: it has 7 steps done, training takes 6"
cp "$dir/good.trained" "$trained"
truncate -s 4000 "$trained.scales"
refused 2 "$trained.scales" ""
cp "$dir/good.scales" "$trained.scales"
half=$(sed -n 's/.*"half": \([01]\).*/\1/p' "$trained")
printf '\x55' | dd of="$trained.scales" bs=1 seek=$((half * $(stat -c %s "$trained.scales") / 2 + 5000)) conv=notrunc status=none
refused 3 "$trained.scales" "damaged; remove $trained to train anew"
cp "$dir/good.scales" "$trained.scales"
"$mpirun" 2 "$shardbits" quantize "${options[@]}" --checkpoint "$saved" -o "$dir/third" --json "$dir/third.json" >"$dir/out" \
  2>"$dir/err" || fail "going on training: $(cat "$dir/err")"
grep -q "went on from $rounded, 5 of 5 layers" "$dir/err" || fail "it rounded anew: $(cat "$dir/err")"
grep -q "went on from $trained, [1-5] of 6 steps" "$dir/err" || fail "it trained anew: $(cat "$dir/err")"
[ "$(value "$dir/whole.json" content_hash)" = "$(value "$dir/third.json" content_hash)" ] || fail "other scales than without interruption"
left && fail "left beside a complete output: $(ls "$dir")"
finish

#!/usr/bin/env bash
# A search that is cut off goes on from its checkpoint, on another number of ranks, to the same bits; a checkpoint of anything
# else is refused by name of what differs.
. "$(dirname "$0")/../support/shell.sh"

saved=$dir/search
options=("$model" --calib "$calib" --bits 2.5 --seqs 16 --seqlen 64 --trades 8 --check-seqs 8 --quantizer rtn)
hash_of_run() { value "$1" content_hash; }

run 2 quantize "${options[@]}" -o "$dir/whole" --json "$dir/whole.json"
cut_off "$saved" '"steps": [2-9]' "$dir/cut" quantize "${options[@]}" --checkpoint "$saved"

"$mpirun" 2 "$shardbits" quantize "${options[@]}" --checkpoint "$saved" -o "$dir/again" --json "$dir/again.json" >"$dir/out" \
  2>"$dir/err" || fail "going on: $(cat "$dir/err")"
grep -q "went on from $saved, [1-9]" "$dir/err" || fail "it did not go on: $(cat "$dir/err")"
[ "$(hash_of_run "$dir/whole.json")" = "$(hash_of_run "$dir/again.json")" ] || fail "another result than without interruption"
[ "$(value "$dir/whole.json" calibration_loss)" = "$(value "$dir/again.json" calibration_loss)" ] || fail "another loss"

# a finished search is simply taken up
run 3 quantize "${options[@]}" --checkpoint "$saved" -o "$dir/third" --json "$dir/third.json"
[ "$(hash_of_run "$dir/whole.json")" = "$(hash_of_run "$dir/third.json")" ] || fail "another result from a finished search"

refused() { # TEXT MODEL ARGUMENT ...
  local text=$1
  shift
  refuses 1 "$saved: .*$text" quantize "$@" --checkpoint "$saved" -o "$dir/no"
  [ ! -e "$dir/no" ] || fail "$text: an output"
}
refused "another calibration (" "${options[@]}" --seed 5
refused "another budget" "${options[@]}" --bits 2.75
refused "another choice of widths of embedding and LM head" "${options[@]}" --embed-bits 6 --head-bits 6
refused "another block size" "${options[@]}" --block 64x128
refused "another --sensitivity" "${options[@]}" --sensitivity taylor
refused "another --grid" "${options[@]}" --grid plain
cp "$saved" "$dir/good"
edit() { sed -i "$1" "$2" && /usr/bin/python3 "$source/tests/program/reseal.py" "$2"; }
edit 's/"device": "[^"]*"/"device": "another"/' "$saved"
refused "another --device: another there, " "${options[@]}"
edit 's/"compute": "f32"/"compute": "bf16"/' "$dir/good" && cp "$dir/good" "$saved"
refused "another --compute: bf16 there, f32 here" "${options[@]}"
edit 's/"compute": "bf16"/"compute": "f32"/' "$saved"
refused "another order of channels" "${options[@]}" --reorder none
refused "another model" "$source/tests/golden/gqa-tied" --calib "$source/tests/golden/gqa-tied/tokens.bin" --bits 2.5 --seqs 2 \
  --seqlen 16
edit 's/"program": "[^"]*"/"program": "0.0.1"/' "$saved"
refused "another program version: 0.0.1 there" "${options[@]}"
sed 's/"version": [0-9]*/"version": 0/' "$saved" >"$saved.new" && mv "$saved.new" "$saved"
refused "version 0, this program reads [0-9]*; give it the same, or another --checkpoint" "${options[@]}"
head -c 300 "$saved" >"$saved.new" && mv "$saved.new" "$saved"
refused "line" "${options[@]}"
echo '{"format": "something"}' >"$saved"
refused "not a search of shardbits" "${options[@]}"
finish

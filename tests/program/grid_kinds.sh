#!/usr/bin/env bash
# Kinds of grids and types of scales: the same frames on any number of ranks through search, rounding and training, channels in place and
# reordered; folders that the reader of docs/format.md reads, with scales of 8 bits and of 6 where they are promised; checkpoints and bit maps of
# another kind are refused.
. "$(dirname "$0")/../support/shell.sh"

content_hash() { value "$dir/$1.json" content_hash; }
# made NAME RANKS MODEL ARGUMENT ...: the same on each number of ranks, and read back
made() {
  local name=$1 all=$2 of=$3 first='' ranks
  shift 3
  for ranks in $all; do
    run "$ranks" quantize "$of" "$@" -o "$dir/$name" --overwrite --json "$dir/$name.json"
    [ "${first:=$(content_hash "$name")}" = "$(content_hash "$name")" ] || fail "$name: other frames on $ranks ranks"
  done
  run 1 verify "$dir/$name"
  run 2 export "$dir/$name" -o "$dir/f32" --dtype f32 --overwrite
  /usr/bin/python3 "$source/tests/program/read_format.py" "$source/docs/format.md" "$dir/$name" "$dir/f32" ||
    fail "$name: the reader of docs/format.md finds other weights"
}
says() { grep -q "\"$2\": \"$3\"" "$dir/$1/manifest.json" || fail "$1: its manifest does not say $2 $3"; }
loss_of() {
  run "$2" eval "$dir/$1" --tokens "$tiny_tokens" --token-dtype u16 --seqs 3 --seqlen 40 --json "$dir/eval.json"
  value "$dir/eval.json" loss
}

tokens=(--calib "$tiny_tokens" --token-dtype u16 --seqs 3 --seqlen 32 --round-seqs 3 --tune-seqs 3 --block 32x16)
whole=("${tokens[@]}" --strides 1 --trades 1 --embed-bits 4)
made signed "1 2 3" "$tiny" "${whole[@]}" --bits 4.4 --grid-kind signed --reorder indexed
made signed-bf16 "3 1" "$tiny" "${whole[@]}" --bits 4.4 --grid-kind signed --scale-type bf16 --reorder fused
made grid-bf16 "2" "$tiny" "${whole[@]}" --bits 3.8 --min-bits 1 --scale-type bf16 --reorder none
made by-width "1 3" "$tiny" "${whole[@]}" --bits 3.6 --min-bits 1 --grid-kind by-width --reorder fused
made symmetric-bf16 "2" "$tiny" "${tokens[@]}" --bits 3.4 --min-bits 1 --symmetric --scale-type bf16 --method layer --quantizer rtn
made grid-6bit "1 3" "$tiny" "${whole[@]}" --bits 3.8 --min-bits 1 --scale-type 6bit --reorder fused
made symmetric-6bit "2" "$tiny" "${tokens[@]}" --bits 3.4 --min-bits 1 --symmetric --scale-type 6bit --method layer --quantizer rtn
says signed symmetry signed
says grid-6bit scales 6bit
grep -q '"format_version": 4' "$dir/grid-6bit/manifest.json" || fail "grid-6bit: another format version"
says signed codes signed-grid
says signed-bf16 scales bf16
says grid-bf16 symmetry asymmetric
grep -q '"scales"' "$dir/signed/manifest.json" && fail "signed: scales that are not fp16 are promised"
"$shardbits" inspect "$dir/grid-6bit" | grep -q "blocks of .*32 x 16, asymmetric, scales of 6 bits" || fail "inspect: not its scales"
"$shardbits" inspect "$dir/signed-bf16" | grep -q "blocks of .*32 x 16, signed, scales within bf16" || fail "inspect: not its grids"
[ "$(loss_of signed 1)" = "$(loss_of signed 3)" ] || fail "signed: another loss on 3 ranks"
[ "$(loss_of f32 1)" = "$(loss_of symmetric-6bit 2)" ] || fail "symmetric-6bit: another loss after export"

# What was begun with another kind does not go on.
saved=$dir/search
run 2 quantize "$tiny" "${whole[@]}" --bits 4.4 --grid-kind signed -o "$dir/a" --checkpoint "$saved" --allocation "$dir/bits"
for other in "--min-bits 2" "--symmetric" "--grid-kind signed --scale-type bf16"; do
  # shellcheck disable=SC2086
  refuses 1 "$saved: .*another kind of codes (.*): signed-grid there" quantize "$tiny" "${whole[@]}" --bits 4.4 $other \
    --checkpoint "$saved" -o "$out"
done
refused "made for codes of signed-grid, here they are of grid; .*--grid-kind" quantize "$tiny" "${whole[@]}" --bits 4.4 --allocation \
  "$dir/bits" -o "$out"
run 1 quantize "$tiny" "${whole[@]}" --bits 4.4 --grid-kind signed --scale-type bf16 -o "$dir/b" --allocation "$dir/bits"

wrong=2
refuses 1 "--grid-kind signed has at least 2 bits" quantize "$tiny" --method rtn --bits 3 --min-bits 1 --grid-kind signed -o "$out"
refuses 1 "--symmetric and --grid-kind signed contradict" quantize "$tiny" --method rtn --bits 3 --symmetric --grid-kind signed -o "$out"
refuses 1 "--scale-type 6bit has no sign" quantize "$tiny" --method rtn --bits 3 --grid-kind signed --scale-type 6bit -o "$out"
refuses 1 "--scale-type is of grids" quantize "$tiny" --method rtn --bits 3 --codes trellis --scale-type bf16 -o "$out"
finish

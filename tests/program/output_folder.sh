#!/usr/bin/env bash
# An output folder read back: by verify, by eval and export on other numbers of ranks, through a saved bit map, and by the
# reader in docs/format.md, which knows nothing of this program.
. "$(dirname "$0")/../support/shell.sh"

run 3 quantize "$model" --calib "$calib" --seqs 2 --seqlen 32 --bits 2.8 --trades 0 --quantizer rtn -o "$dir/made" \
  --allocation "$dir/bits" --json "$dir/made.json"
run 2 verify "$dir/made" --json "$dir/verify.json"
[ "$(value "$dir/verify.json" content_hash)" = "$(value "$dir/made.json" content_hash)" ] || fail "verify: another content hash"
[ "$(value "$dir/verify.json" frames)" = "$(value "$dir/made.json" frames)" ] || fail "verify: another number of frames"

run 2 quantize "$model" --calib "$calib" --seqs 2 --seqlen 32 --bits 2.8 --quantizer rtn -o "$dir/again" --allocation "$dir/bits" \
  --json "$dir/again.json"
[ "$(value "$dir/again.json" content_hash)" = "$(value "$dir/made.json" content_hash)" ] || fail "--allocation: other frames"
refuses 2 "bits: these bits take 2.[78][0-9]* effective bits a weight, more than --bits 2.5" quantize "$model" --calib "$calib" --seqs 2 \
  --seqlen 32 --bits 2.5 --quantizer rtn -o "$dir/not" --allocation "$dir/bits"

# In float32 nothing is lost: the exported folder is the same model.
run 2 export "$dir/made" -o "$dir/f32" --dtype f32 --file-size 0.004
run 4 export "$dir/made" -o "$dir/f32-4" --dtype f32 --file-size 0.004
[ "$(find "$dir/f32" -name '*.safetensors' | wc -l)" -gt 2 ] || fail "export --file-size: not several files"
diff -r "$dir/f32" "$dir/f32-4" || fail "export: other files on 4 ranks"
for name in made f32; do
  run 2 eval "$dir/$name" --tokens "$heldout" --seqs 4 --seqlen 64 --json "$dir/$name.eval.json"
done
[ "$(value "$dir/f32.eval.json" loss)" = "$(value "$dir/made.eval.json" loss)" ] || fail "export: another loss"
run 1 eval "$dir/made" --tokens "$heldout" --seqs 4 --seqlen 64 --ref "$dir/f32" --json "$dir/ref.json"
[ "$(value "$dir/ref.json" mean_kl)" = 0.0 ] || fail "KL divergence to itself is $(value "$dir/ref.json" mean_kl)"
[ "$(value "$dir/ref.json" top1_agreement)" = 1.0 ] || fail "top-1 agreement with itself is not 1"

run 1 export "$dir/made" -o "$dir/bf16"
/usr/bin/python3 "$source/tests/program/read_format.py" "$source/docs/format.md" "$dir/made" "$dir/f32" "$dir/bf16" ||
  fail "the reader of docs/format.md finds other weights"

# Trellis codes: of every length of states, of mixed widths and of one, in blocks whose sides are and are not multiples of a tile's and of a
# run's, in the order of channels that indexed stores.
trellis() { # NAME MODEL ARGUMENT ...
  local name=$1 of=$2
  shift 2
  run 3 quantize "$of" "$@" --codes trellis -o "$dir/$name" --json "$dir/t.json"
  run 1 verify "$dir/$name" --json "$dir/verify.json"
  [ "$(value "$dir/verify.json" content_hash)" = "$(value "$dir/t.json" content_hash)" ] || fail "$name: another content hash"
  run 2 export "$dir/$name" -o "$dir/$name-f32" --dtype f32
  /usr/bin/python3 "$source/tests/program/read_format.py" "$source/docs/format.md" "$dir/$name" "$dir/$name-f32" ||
    fail "$name: the reader of docs/format.md finds other weights"
}
trellis whole "$model" --bits 2.2 --method rtn
trellis ragged "$tiny" --bits 20 --method rtn --block 20x27 --trellis-states 14
trellis mixed "$tiny" --bits 8 --method table --quantizer rtn --block 24x16 --trellis-states 16 --reorder indexed --calib "$tiny_tokens" \
  --token-dtype u16 --seqs 2 --seqlen 32
finish

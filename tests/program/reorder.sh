#!/usr/bin/env bash
# Reordered channels: the same orders and frames on 1, 4 and 7 ranks, folders that read back, and models that are still
# the same models.
. "$(dirname "$0")/../support/shell.sh"

quantize() { # NAME RANKS MODE ARGUMENT ...
  local name=$1 ranks=$2 mode=$3
  shift 3
  run "$ranks" quantize "$model" --calib "$calib" --seqs 5 --seqlen 48 --bits 2.6 --sensitivity fisher --strides 1 --trades 0 \
    --quantizer rtn --block 64x64 --reorder "$mode" -o "$dir/$name" --overwrite --json "$dir/$name.json" "$@"
}
hash() { value "$dir/$1.json" content_hash; }
loss() { # FOLDER RANKS
  run "$2" eval "$1" --tokens "$heldout" --seqs 3 --seqlen 40 --json "$dir/eval.json"
  value "$dir/eval.json" loss
}

quantize none 1 none
for mode in fused indexed; do
  quantize $mode 1 $mode
  [ "$(hash $mode)" != "$(hash none)" ] || fail "$mode: nothing was reordered"
  for how in "4 --threads 2 --activation-memory 0.001" "7"; do
    # shellcheck disable=SC2086
    quantize other ${how%% *} $mode ${how#"${how%% *}"}
    [ "$(hash other)" = "$(hash $mode)" ] || fail "$mode: other frames on $how"
  done
  quantize abs 2 $mode --reorder-score abs
  [ "$(hash abs)" != "$(hash $mode)" ] || fail "$mode: --reorder-score makes no difference"

  run 3 verify "$dir/$mode" --json "$dir/verify.json"
  [ "$(value "$dir/verify.json" content_hash)" = "$(hash $mode)" ] || fail "$mode: verify: another content hash"
  before=$(loss "$dir/$mode" 1)
  [ "$(loss "$dir/$mode" 3)" = "$before" ] || fail "$mode: another loss on 3 ranks"
  run 2 export "$dir/$mode" -o "$dir/$mode-f32" --dtype f32
  run 3 export "$dir/$mode" -o "$dir/$mode-bf16" --file-size 0.004
  [ "$(loss "$dir/$mode-f32" 2)" = "$before" ] || fail "$mode: another loss after export"
  /usr/bin/python3 "$source/tests/program/read_format.py" "$source/docs/format.md" "$dir/$mode" "$dir/$mode-f32" \
    "$dir/$mode-bf16" || fail "$mode: the reader of docs/format.md finds other weights"

  quantize gptq 3 $mode --quantizer gptq --round-seqs 5
  gptq=$(hash gptq)
  if [ $mode = indexed ]; then
    quantize gptq 1 $mode --quantizer gptq --round-seqs 5
    [ "$(hash gptq)" = "$gptq" ] || fail "$mode: gptq: other frames on 1 rank"
  fi
  [ "$gptq" != "$(hash $mode)" ] || fail "$mode: gptq: the same frames as rounding to nearest"
  echo "$mode: loss $before, with gptq $(loss "$dir/gptq" 2)"
done

# What is stored of orders counts: 2.6 bits are kept with them, and the index is the difference between the sums.
/usr/bin/python3 - "$dir" <<'PYTHON' || fail "effective bits do not count the orders"
import json, sys
made = {m: json.load(open(f"{sys.argv[1]}/{m}.json")) for m in ("none", "fused", "indexed")}
manifest = json.load(open(f"{sys.argv[1]}/indexed/manifest.json"))
orders = [t for t in manifest["tensors"] if t["kind"] == "order"]
weights = sum(t["shape"][0] * t["shape"][1] for t in manifest["tensors"] if t["kind"] == "quantized" and ".layers." in t["name"])
stored = sum(-(-t["shape"][0] * (-(-t["shape"][0] // 64) - 1).bit_length() // 8) for t in orders)
assert len(orders) == 5 * 11 and stored > 0, len(orders)
for m, report in made.items():
    assert report["effective_bits"] <= 2.6, (m, report["effective_bits"])
    extra = report["quantized_bytes"] * 8 - report["effective_bits"] * weights
    assert abs(extra) < 16, (m, extra)
code = made["indexed"]["quantized_bytes"] - stored
assert code < made["indexed"]["quantized_bytes"] <= 2.6 * weights / 8
print(f"orders take {8 * stored / weights:.4f} bits a weight")
PYTHON

# An order that is damaged, or names a channel twice.
/usr/bin/python3 "$source/tests/program/spoil_order.py" "$dir/indexed" "$dir/spoilt" || fail "the test is wrong"
for command in "verify $dir/spoilt" "eval $dir/spoilt --tokens $heldout" "export $dir/spoilt -o $dir/not"; do
  for ranks in 1 3; do
    # shellcheck disable=SC2086
    refuses $ranks "model.layers.0.self_attn.q_proj.weight.rows: block 0 has more than its 64 channels" $command
  done
done
[ ! -e "$dir/not" ] || fail "export left something of a bad folder"
finish

#!/usr/bin/env bash
# Bit maps that belong to reordered channels, and shardbits reorder, which writes the reordered model as a folder.
. "$(dirname "$0")/../support/shell.sh"

quantize() { # NAME RANKS MODE ARGUMENT ...
  local name=$1 ranks=$2 mode=$3
  shift 3
  run "$ranks" quantize "$model" --calib "$calib" --seqs 5 --seqlen 48 --bits 2.6 --trades 0 --quantizer rtn \
    --block 64x64 --reorder "$mode" -o "$dir/$name" --overwrite --json "$dir/$name.json" "$@"
}
hash() { value "$dir/$1.json" content_hash; }

# A bit map with its orders: used again without calibration, refused for another mode.
for mode in fused indexed; do
  quantize saved 2 $mode --grid plain --allocation "$dir/$mode.bits"
  [ "$(value "$dir/saved.json" reorder)" = $mode ] || fail "$mode: not in the report"
  run 3 quantize "$model" --bits 2.6 --block 64x64 --reorder $mode --grid plain --allocation "$dir/$mode.bits" \
    -o "$dir/again" --overwrite --json "$dir/again.json"
  [ "$(hash again)" = "$(hash saved)" ] || fail "$mode: --allocation: other frames"
  for other in none fused indexed; do
    [ $other = $mode ] && continue
    if "$mpirun" 2 "$shardbits" quantize "$model" --bits 2.6 --block 64x64 --reorder $other --grid plain \
      --allocation "$dir/$mode.bits" -o "$dir/not" --quiet >"$dir/out" 2>"$dir/err"; then
      fail "a bit map of $mode was taken for $other"
    fi
    grep -q "shardbits: .*$mode.bits: made with --reorder $mode, not $other" "$dir/err" || fail "$other: $(head -3 "$dir/err")"
  done
done

# The reordered model as a folder: the same model, the same files on any ranks, and what quantize makes of it is what
# --reorder fused makes of the source.
reorder() { # NAME RANKS ARGUMENT ...
  local name=$1 ranks=$2
  shift 2
  run "$ranks" reorder "$model" --calib "$calib" --seqs 5 --seqlen 48 --bits 2.6 --block 64x64 --grid plain -o "$dir/$name" \
    --json "$dir/$name.json" "$@"
}
reorder sorted 1
reorder sorted-3 3 --no-shares
reorder pieces 2 --no-shares --file-size 0.004
diff -r "$dir/sorted" "$dir/sorted-3" || fail "reorder: other files on 3 ranks"
[ "$(find "$dir/pieces" -name '*.safetensors' | wc -l)" -gt 1 ] || fail "reorder --file-size: one file"
cmp -s "$dir/sorted/config.json" "$model/config.json" || fail "reorder: another config.json"
cmp -s "$dir/sorted/model.safetensors" "$model/model.safetensors" && fail "reorder: nothing was reordered"
for folder in sorted pieces; do
  run 2 eval "$dir/$folder" --tokens "$heldout" --seqs 4 --seqlen 64 --ref "$model" --json "$dir/eval.json"
  /usr/bin/python3 - "$dir/eval.json" <<'PYTHON' || fail "reorder: $folder is another model"
import json, sys
report = json.load(open(sys.argv[1]))
assert abs(report["loss"] / report["ref_perplexity"] - report["loss"] / report["perplexity"]) < 1e-5, report
assert abs(report["mean_kl"]) < 1e-6 and report["top1_agreement"] > 0.99, report
PYTHON
done
run 2 quantize "$dir/sorted" --calib "$calib" --seqs 5 --seqlen 48 --bits 2.6 --trades 0 --quantizer rtn --block 64x64 \
  --grid plain --reorder none -o "$dir/of-sorted" --json "$dir/of-sorted.json"
quantize inside 2 fused --grid plain
[ "$(hash of-sorted)" = "$(hash inside)" ] || fail "reorder, then quantize: other frames than --reorder fused"

# What it tells: more is gathered, most with any order, and the map holds every block of a layer.
/usr/bin/python3 - "$dir/sorted.json" <<'PYTHON' || fail "what reorder tells is wrong"
import json, sys
report = json.load(open(sys.argv[1]))
share, maps = report["top_tenth"], report["maps"]
kinds = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "all"]
assert [list(share[m]) for m in ("none", "fused", "indexed")] == [kinds] * 3
assert all(0 < x < 1 for m in share.values() for x in m.values())
assert share["none"]["all"] < share["fused"]["all"] and share["none"]["all"] < share["indexed"]["all"], share
for m in maps.values():
    assert list(m) == kinds[:-1]
    assert [len(m["down_proj"]), len(m["down_proj"][0])] == [4, 11]
    assert all(x >= 0 for k in m.values() for row in k for x in row)
print({m: round(x["all"], 3) for m, x in share.items()})
PYTHON

# Refused before any work.
refused() { # TEXT ARGUMENT ...; exit code $wrong, or 1
  local text=$1
  shift
  refuses 2 "$text" "$@"
  [ ! -e "$dir/not" ] || fail "$*: left something"
}
refused "can have .* effective bits a weight .scales, zero points and stored orders count." quantize "$model" \
  --calib "$calib" --bits 8.4 --reorder indexed -o "$dir/not"
wrong=2 refused "expected one of none, fused, indexed" quantize "$model" --calib "$calib" --bits 3 --reorder sideways -o "$dir/not"
wrong=2 refused "calib TOKENS is needed" quantize "$model" --bits 3 --method rtn --grid plain --reorder fused -o "$dir/not"
wrong=2 refused "has layers 0 to 4" reorder "$model" --calib "$calib" --map-layer 5 -o "$dir/not"
refused "replacing it would remove .*, which this run needs" reorder "$model" --calib "$calib" -o "$model"
refused "replacing it would remove" reorder "$dir/sorted" --calib "$calib" -o "$dir/sorted" --overwrite
[ -e "$dir/sorted/model.safetensors" ] || fail "a model was replaced by itself"

finish
